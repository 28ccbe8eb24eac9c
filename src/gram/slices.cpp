#include "slices.hpp"

#include <algorithm>

#include "tangram/arithmetic.hpp"
#include "tangram/jacobian/sketch.hpp"

namespace tangram {

namespace {

std::vector<ParameterId> with_parameters_of(const Slice& slice, std::vector<ParameterId> parameters) {
    for (const Segment& segment : slice.segments) parameters.push_back(segment.parameter);
    std::sort(parameters.begin(), parameters.end());
    parameters.erase(std::unique(parameters.begin(), parameters.end()), parameters.end());
    return parameters;
}

std::vector<Slice> slices_of_one(const Program& program, const std::vector<ParameterId>& parameters,
                                 const std::vector<ContractionChoice>& choices, Index components,
                                 Index sketch_dimension) {
    std::vector<Slice> slices;
    Index room = 0;  // parameters that the last slice can still take
    for (std::size_t s = 0; s < parameters.size(); ++s) {
        const Parameter& parameter = program.parameters()[parameters[s]];
        const bool sketched = choices[s].chosen == Contraction::sketched;
        const Contraction contraction = sketched ? Contraction::multiply_out : choices[s].chosen;
        const Index size = sketched
                               ? sketch_shape(parameter.shape[0], parameter.shape[1], sketch_dimension).size()
                           : contraction == Contraction::matching_rows ? parameter.shape[1]
                                                                       : parameter.size();
        for (Index component = 0; component < components; ++component)
            for (Index first = 0; first < size;) {
                Index most = size;
                if (contraction == Contraction::matching_rows) most = arithmetic::matching_columns;
                if (contraction == Contraction::multiply_out) {
                    // A piece that is cut short by the slice's end is a whole number of products deep.
                    if (room < std::min(size - first, arithmetic::product_depth) || slices.empty() ||
                        slices.back().contraction != contraction) {
                        slices.push_back({.contraction = contraction, .segments = {}});
                        room = arithmetic::slice_depth;
                    }
                    most = size - first <= room
                               ? size - first
                               : room / arithmetic::product_depth * arithmetic::product_depth;
                    room -= most;
                } else {
                    slices.push_back({.contraction = contraction, .segments = {}});
                }
                const Index last = std::min(size, first + most);
                const auto share = static_cast<double>(last - first);
                slices.back().pair_flops += contraction == Contraction::multiply_out ? 2 * share
                                            : contraction == Contraction::factors
                                                ? choices[s].in_factors
                                                : choices[s].matching * share / static_cast<double>(size);
                slices.back().segments.push_back(
                    {s, parameters[s], component, first, last, component == components - 1 && last == size});
                first = last;
            }
    }
    return slices;
}

}  // namespace

std::vector<Slice> slices_of(const Program& program, const std::vector<ParameterId>& parameters,
                             const std::vector<KernelFormula>& formulas, Index components,
                             Index sketch_dimension) {
    std::vector<Slice> all;
    for (std::size_t f = 0; f < formulas.size(); ++f)
        for (Slice& slice :
             slices_of_one(program, parameters, formulas[f].choices, components, sketch_dimension)) {
            slice.place = f;
            slice.formula = formulas[f].formula;
            all.push_back(std::move(slice));
        }
    const auto first_tensor = [](const Slice& slice) { return slice.segments.front().selected; };
    std::ranges::stable_sort(all, {}, first_tensor);
    return all;
}

std::vector<SliceGroup> groups_of(const std::vector<Slice>& slices,
                                  const std::function<bool(const std::vector<ParameterId>&)>& fits) {
    std::vector<SliceGroup> groups;
    for (Index u = 0; u < std::ssize(slices); ++u) {
        const Slice& slice = slices[static_cast<std::size_t>(u)];
        std::vector<ParameterId> together;
        if (!groups.empty()) together = with_parameters_of(slice, groups.back().parameters);
        if (groups.empty() || !fits(together))
            groups.push_back({u, u + 1, with_parameters_of(slice, {})});
        else
            groups.back() = {groups.back().first, u + 1, std::move(together)};
    }
    return groups;
}

}  // namespace tangram
