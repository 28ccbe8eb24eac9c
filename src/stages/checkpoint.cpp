#include "checkpoint.hpp"

#include <fmt/core.h>

#include <cmath>

#include "tangram/io/checkpoint.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/session/session.hpp"

namespace tangram {

GramCheckpoint::GramCheckpoint(const std::filesystem::path& output, const Inputs& inputs)
    : output_(output), inputs_("program = " + library_versions().front() + "\n" + inputs.text()) {}

void GramCheckpoint::remove_own(MPI_Comm comm) const {
    const auto inputs = checkpoint_inputs(output_, comm);
    if (inputs && !difference(*inputs, inputs_)) remove_checkpoint(output_, comm);
}

void GramCheckpoint::write(const KernelMatrices& matrices, bool finished) const {
    const MPI_Comm comm = matrices.grid().comm().get();
    CheckpointState state{inputs_, matrices.units_done, {}};
    std::map<std::string, const DistributedMatrix*> named;
    collectively(comm, [&] {
        state.vectors["known_rows"] = {static_cast<double>(matrices.known_rows)};
        for (std::size_t f = 0; f < matrices.formulas.size(); ++f) {
            const FormulaMatrices& of = matrices.formulas[f];
            const std::string place = std::to_string(f);
            state.vectors["traces" + place] = of.tile_traces;
            state.vectors["test_diagonal" + place] = of.test_diagonal;
            named["gram" + place] = &of.gram;
            if (of.cross) named["cross" + place] = &*of.cross;
            for (std::size_t g = 0; g < of.groups.size(); ++g)
                named["group" + std::to_string(g)] = &of.groups[g];
        }
    });
    // Between units each of these numbers stands on one rank, zero elsewhere: the sum is exact.
    for (auto& [name, values] : state.vectors)
        if (!finished && name != "known_rows") sum_over_ranks(comm, values);
    write_checkpoint(output_, state, named);
}

bool GramCheckpoint::read(KernelMatrices& matrices, Index slices, Log& log) const {
    std::map<std::string, DistributedMatrix*> named;
    for (std::size_t f = 0; f < matrices.formulas.size(); ++f) {
        FormulaMatrices& of = matrices.formulas[f];
        const std::string place = std::to_string(f);
        named["gram" + place] = &of.gram;
        if (of.cross) named["cross" + place] = &*of.cross;
        for (std::size_t g = 0; g < of.groups.size(); ++g) named["group" + std::to_string(g)] = &of.groups[g];
    }
    const auto found = read_checkpoint(output_, named, [&](const CheckpointState& state) {
        if (const auto other = difference(state.inputs, inputs_))
            throw Error(
                ExitStatus::output, ErrorKind::changed,
                fmt::format("{0}.checkpoint: was written by another study: {1}; `tangram run` that one to "
                            "its end, or delete {0}.checkpoint* to start this one",
                            output_.string(), *other));
        const auto needs = [&](bool holds, const std::string& what) {
            if (!holds)
                throw Error(ExitStatus::output, ErrorKind::contradiction,
                            fmt::format("{0}.checkpoint: {1} is not what this study needs; delete "
                                        "{0}.checkpoint* to start again",
                                        output_.string(), what));
        };
        const auto size = [&](const std::string& name) {
            const auto vector = state.vectors.find(name);
            return vector == state.vectors.end() ? std::size_t(-1) : vector->second.size();
        };
        needs(state.units_done >= 0 && state.units_done <= slices, "units_done");
        needs(size("known_rows") == 1, "known_rows");
        const double known = state.vectors.at("known_rows").front();
        needs(known >= 0 && known <= static_cast<double>(matrices.formulas.front().gram.rows()) &&
                  known == std::floor(known),
              "known_rows");
        for (std::size_t f = 0; f < matrices.formulas.size(); ++f)
            for (const auto& [name, values] :
                 {std::pair{"traces", &matrices.formulas[f].tile_traces},
                  std::pair{"test_diagonal", &matrices.formulas[f].test_diagonal}})
                needs(size(name + std::to_string(f)) == values->size(), name + std::to_string(f));
    });
    if (!found) return false;
    if (!found->torn.empty()) log.warn(found->torn + "; the checkpoint before it is used");
    for (std::size_t f = 0; f < matrices.formulas.size(); ++f) {
        const std::string place = std::to_string(f);
        matrices.formulas[f].tile_traces = found->state.vectors.at("traces" + place);
        matrices.formulas[f].test_diagonal = found->state.vectors.at("test_diagonal" + place);
    }
    matrices.units_done = found->state.units_done;
    matrices.known_rows = static_cast<Index>(found->state.vectors.at("known_rows").front());
    return true;
}

}  // namespace tangram
