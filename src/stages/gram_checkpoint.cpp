#include "gram_checkpoint.hpp"

#include <cmath>

#include "tangram/parallel/collective_error.hpp"

namespace tangram {

void write_matrices(const StageCheckpoint& checkpoint, const KernelMatrices& matrices, bool finished) {
    const MPI_Comm comm = matrices.grid().comm().get();
    std::map<std::string, std::vector<double>> vectors;
    std::map<std::string, const DistributedMatrix*> named;
    collectively(comm, [&] {
        vectors["known_rows"] = {static_cast<double>(matrices.known_rows)};
        for (std::size_t f = 0; f < matrices.formulas.size(); ++f) {
            const FormulaMatrices& of = matrices.formulas[f];
            const std::string place = std::to_string(f);
            vectors["traces" + place] = of.tile_traces;
            vectors["test_diagonal" + place] = of.test_diagonal;
            named["gram" + place] = &of.gram;
            if (of.cross) named["cross" + place] = &*of.cross;
            for (std::size_t g = 0; g < of.groups.size(); ++g)
                named["group" + std::to_string(g)] = &of.groups[g];
        }
    });
    // Between units each of these numbers stands on one rank, zero elsewhere: the sum is exact.
    for (auto& [name, values] : vectors)
        if (!finished && name != "known_rows") sum_over_ranks(comm, values);
    checkpoint.write(matrices.units_done, std::move(vectors), named);
}

bool read_matrices(const StageCheckpoint& checkpoint, KernelMatrices& matrices, Index slices, Log& log) {
    std::map<std::string, DistributedMatrix*> named;
    for (std::size_t f = 0; f < matrices.formulas.size(); ++f) {
        FormulaMatrices& of = matrices.formulas[f];
        const std::string place = std::to_string(f);
        named["gram" + place] = &of.gram;
        if (of.cross) named["cross" + place] = &*of.cross;
        for (std::size_t g = 0; g < of.groups.size(); ++g) named["group" + std::to_string(g)] = &of.groups[g];
    }
    const auto accept = [&](const CheckpointState& state) {
        const auto needs = [&](bool holds, const std::string& what) {
            if (!holds) checkpoint.refuse(what);
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
    };
    const auto found = checkpoint.read(named, accept, log);
    if (!found) return false;
    for (std::size_t f = 0; f < matrices.formulas.size(); ++f) {
        const std::string place = std::to_string(f);
        matrices.formulas[f].tile_traces = found->vectors.at("traces" + place);
        matrices.formulas[f].test_diagonal = found->vectors.at("test_diagonal" + place);
    }
    matrices.units_done = found->units_done;
    matrices.known_rows = static_cast<Index>(found->vectors.at("known_rows").front());
    return true;
}

}  // namespace tangram
