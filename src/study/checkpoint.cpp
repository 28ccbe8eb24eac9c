#include "checkpoint.hpp"

#include "tangram/io/checkpoint.hpp"

namespace tangram {

GramCheckpoint::GramCheckpoint(const std::filesystem::path& output, std::string inputs)
    : output_(output), inputs_(std::move(inputs)) {}

void GramCheckpoint::write(const KernelMatrices& matrices) const {
    // Between units each of these numbers stands on one rank, zero elsewhere: the sum is exact.
    std::vector<double> diagonal = matrices.test_diagonal, traces = matrices.tile_traces;
    sum_over_ranks(matrices.gram.grid().comm().get(), diagonal);
    sum_over_ranks(matrices.gram.grid().comm().get(), traces);
    std::map<std::string, const DistributedMatrix*> named{{"gram", &matrices.gram}};
    if (matrices.cross) named["cross"] = &*matrices.cross;
    write_checkpoint(
        output_, {inputs_, matrices.units_done, {{"traces", traces}, {"test_diagonal", diagonal}}}, named);
}

bool GramCheckpoint::read(KernelMatrices& matrices) const {
    const ProcessGrid& grid = matrices.gram.grid();
    const std::optional<CheckpointState> state = read_checkpoint(output_, grid.comm().get());
    if (!state || state->fingerprint != inputs_) return false;
    const auto restore = [&](const char* name, DistributedMatrix& matrix) {
        matrix = read_checkpoint_matrix(output_, name, grid, matrix.rows(), matrix.columns(), matrix.block());
    };
    restore("gram", matrices.gram);
    if (matrices.cross) restore("cross", *matrices.cross);
    matrices.tile_traces = state->vectors.at("traces");
    matrices.test_diagonal = state->vectors.at("test_diagonal");
    matrices.units_done = state->units_done;
    return true;
}

}  // namespace tangram
