#include "slices.hpp"

#include <algorithm>

#include "tangram/arithmetic.hpp"
#include "tile_contraction.hpp"

namespace tangram {

namespace {

/// The runs of one formula, tensor after tensor.
class RunsOfFormula {
  public:
    /// Cuts one component of a tensor.
    /// @param whole   all of it as a segment: what is cut, and what every piece of it holds
    void add(const ContractionKind& kind, const Cutting& cutting, const ContractionChoice& choice,
             const Segment& whole) {
        const Contraction contraction = kind.contraction();
        for (Index first = 0; first < whole.last;) {
            const Index rest = whole.last - first;
            Index most = cutting.most;
            // A piece that is cut short by the slice's end is a whole number of products deep.
            const bool joins = cutting.shares_slices && !runs.empty() &&
                               runs.back().slice.contraction == contraction &&
                               room_ >= std::min(rest, arithmetic::product_depth);
            if (!joins) {
                runs.push_back({.slice = {.contraction = contraction, .segments = {}}});
                room_ = cutting.most;
            }
            if (cutting.shares_slices) {
                most = rest <= room_ ? rest : room_ / arithmetic::product_depth * arithmetic::product_depth;
                room_ -= most;
            }
            Segment piece = whole;
            piece.first = first;
            piece.last = std::min(whole.last, first + most);
            piece.ends_parameter = whole.ends_parameter && piece.last == whole.last;
            if (piece.vocabulary) piece.delta_width = piece.depth();
            Slices::Run& run = runs.back();
            run.slice.pair_flops += kind.pair_flops(choice, piece.depth(), whole.last);
            run.slice.segments.push_back(piece);
            first = piece.last;
            if (joins || piece.depth() < cutting.most || first == whole.last) continue;
            // Whole slices follow, up to the one that ends this component.
            const Index alike = (whole.last - first - 1) / cutting.most;
            run.count += alike;
            first += alike * cutting.most;
        }
    }

    std::vector<Slices::Run> runs;

  private:
    Index room_ = 0;  // parameters that the last slice can still take
};

}  // namespace

Index Slice::depth() const {
    Index sum = 0;
    for (const Segment& segment : segments) sum += segment.depth();
    return sum;
}

Slices::Slices(const Program& program, const std::vector<ParameterId>& parameters,
               const std::vector<KernelFormula>& formulas, const TensorCuts& cuts) {
    const auto factors = factors_of(program);
    for (std::size_t f = 0; f < formulas.size(); ++f) {
        RunsOfFormula of;
        for (std::size_t s = 0; s < parameters.size(); ++s) {
            const Parameter& parameter = program.parameters()[parameters[s]];
            const ContractionChoice& choice = formulas[f].choices[s];
            const ContractionKind& kind = contraction_kind(choice.chosen);
            Cutting cutting = kind.cutting(parameter, cuts.rows);
            if (choice.chosen == Contraction::sketched)
                cutting.length =
                    sketch_shape(parameter.shape[0], parameter.shape[1], cuts.sketch_dimension).size();
            const bool vocabulary =
                choice.chosen == Contraction::factors && is_vocabulary(factors[parameters[s]]);
            if (vocabulary) cutting = {parameter.shape[0], arithmetic::vocabulary_block, false};
            Segment whole{s, parameters[s], 0, 0, cutting.length, false};
            if (parameter.shape.size() == 2) {
                whole.delta_width = parameter.shape[0];
                whole.input_width = parameter.shape[1];
            }
            whole.vocabulary = vocabulary;
            for (; whole.component < cuts.components; ++whole.component) {
                whole.ends_parameter = whole.component == cuts.components - 1;
                of.add(kind, cutting, choice, whole);
            }
        }
        for (Run& run : of.runs) {
            run.slice.place = f;
            run.slice.formula = formulas[f].formula;
            runs_.push_back(std::move(run));
        }
    }
    std::ranges::stable_sort(runs_, {}, [](const Run& run) { return run.slice.segments.front().selected; });
    Index first = 0;
    for (Run& run : runs_) {
        run.first = first;
        first += run.count;
    }
}

const Slices::Run& Slices::run_of(Index u) const {
    return *(std::ranges::upper_bound(runs_, u, {}, &Run::first) - 1);
}

Slice Slices::operator[](Index u) const {
    const Run& run = run_of(u);
    Slice slice = run.slice;
    const Index shift = (u - run.first) * slice.segments.front().depth();
    if (run.count > 1) {
        slice.segments.front().first += shift;
        slice.segments.front().last += shift;
    }
    return slice;
}

std::vector<SliceGroup> groups_of(const Slices& slices, const FactorBytes& bytes, double limit) {
    std::vector<SliceGroup> groups;
    FactorBytes::Held held;
    for (const Slices::Run& run : slices.runs()) {
        const std::size_t known = held.parameters.size();
        const auto hold = [&] {
            for (const Segment& segment : run.slice.segments) bytes.add(held, segment.parameter);
        };
        hold();
        const bool more = held.parameters.size() > known;
        if (more && (groups.empty() || static_cast<double>(held.bytes) > limit)) {
            groups.push_back({run.first, run.first, {}, 0});
            held = {};
            hold();
        }
        SliceGroup& group = groups.back();
        group.last = run.first + run.count;
        group.bytes = held.bytes;
        for (const Segment& segment : run.slice.segments) group.parameters.push_back(segment.parameter);
    }
    for (SliceGroup& group : groups) {
        std::ranges::sort(group.parameters);
        const auto repeated = std::unique(group.parameters.begin(), group.parameters.end());
        group.parameters.erase(repeated, group.parameters.end());
    }
    return groups;
}

}  // namespace tangram
