#include "checkpoint.hpp"

#include "tangram/io/checkpoint.hpp"

namespace tangram {

GramCheckpoint::GramCheckpoint(const std::filesystem::path& output, std::string inputs)
    : output_(output), inputs_(std::move(inputs)) {}

void GramCheckpoint::write(const KernelMatrices& matrices) const {
    // Between units each of these numbers stands on one rank, zero elsewhere: the sum is exact.
    CheckpointState state{inputs_, matrices.units_done, {}};
    state.vectors["known_rows"] = {static_cast<double>(matrices.known_rows)};
    std::map<std::string, const DistributedMatrix*> named;
    for (std::size_t f = 0; f < matrices.formulas.size(); ++f) {
        const FormulaMatrices& of = matrices.formulas[f];
        const std::string place = std::to_string(f);
        for (const auto& [name, values] :
             {std::pair{"traces", &of.tile_traces}, std::pair{"test_diagonal", &of.test_diagonal}}) {
            std::vector<double>& sum = state.vectors[name + place] = *values;
            sum_over_ranks(matrices.grid().comm().get(), sum);
        }
        named["gram" + place] = &of.gram;
        if (of.cross) named["cross" + place] = &*of.cross;
        for (std::size_t g = 0; g < of.groups.size(); ++g) named["group" + std::to_string(g)] = &of.groups[g];
    }
    write_checkpoint(output_, state, named);
}

bool GramCheckpoint::read(KernelMatrices& matrices) const {
    const ProcessGrid& grid = matrices.grid();
    const std::optional<CheckpointState> state = read_checkpoint(output_, grid.comm().get());
    if (!state || state->fingerprint != inputs_) return false;
    const auto restore = [&](const std::string& name, DistributedMatrix& matrix) {
        matrix = read_checkpoint_matrix(output_, name, grid, matrix.rows(), matrix.columns(), matrix.block());
    };
    for (std::size_t f = 0; f < matrices.formulas.size(); ++f) {
        FormulaMatrices& of = matrices.formulas[f];
        const std::string place = std::to_string(f);
        restore("gram" + place, of.gram);
        if (of.cross) restore("cross" + place, *of.cross);
        for (std::size_t g = 0; g < of.groups.size(); ++g) restore("group" + std::to_string(g), of.groups[g]);
        of.tile_traces = state->vectors.at("traces" + place);
        of.test_diagonal = state->vectors.at("test_diagonal" + place);
    }
    matrices.units_done = state->units_done;
    matrices.known_rows = static_cast<Index>(state->vectors.at("known_rows").front());
    return true;
}

}  // namespace tangram
