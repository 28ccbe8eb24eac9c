#include "lanczos_checkpoint.hpp"

#include <algorithm>

#include "tangram/arithmetic.hpp"
#include "tangram/parallel/collective_error.hpp"

namespace tangram {

namespace {

constexpr Index LanczosState::*numbers[] = {&LanczosState::size,     &LanczosState::products,
                                            &LanczosState::restarts, &LanczosState::random,
                                            &LanczosState::drawn,    &LanczosState::searched};
constexpr std::pair<const char*, std::vector<double> LanczosState::*> vectors[] = {
    {"projected", &LanczosState::projected},
    {"next", &LanczosState::next},
    {"settled", &LanczosState::settled},
    {"found", &LanczosState::found}};

}  // namespace

void write_lanczos(const StageCheckpoint& checkpoint, const LanczosState& state, Index rows, Index basis,
                   const ProcessGrid& grid) {
    std::map<std::string, std::vector<double>> small;
    std::optional<DistributedMatrix> matrix;
    collectively(grid.comm().get(), [&] {
        for (const auto number : numbers) small["numbers"].push_back(static_cast<double>(state.*number));
        for (const auto& [name, vector] : vectors)
            if (!(state.*vector).empty()) small[name] = state.*vector;
        matrix.emplace(grid, rows, basis, arithmetic::tile_rows);
        for (Index j = 0; j < matrix->local_columns() && matrix->global_column(j) < state.size; ++j)
            for (Index i = 0; i < matrix->local_rows(); ++i)
                matrix->data()[i + j * matrix->lld()] = state.basis[static_cast<std::size_t>(
                    matrix->global_row(i) + matrix->global_column(j) * rows)];
    });
    checkpoint.write(state.products, std::move(small), {{"basis", &*matrix}});
}

std::optional<StoredLanczos> read_lanczos(const StageCheckpoint& checkpoint, Index rows, Index basis,
                                          const ProcessGrid& grid, Log& log) {
    const MPI_Comm comm = grid.comm().get();
    DistributedMatrix matrix =
        collectively(comm, [&] { return DistributedMatrix(grid, rows, basis, arithmetic::tile_rows); });
    const auto accept = [&](const CheckpointState& state) {
        const auto at = state.vectors.find("numbers");
        if (at == state.vectors.end() || at->second.size() != std::size(numbers))
            checkpoint.refuse("numbers");
    };
    const auto found = checkpoint.read({{"basis", &matrix}}, accept, log);
    if (!found) return std::nullopt;
    StoredLanczos stored{gather(matrix, 0), {}};
    broadcast(comm, stored.basis, 0);
    collectively(comm, [&] {
        for (std::size_t i = 0; i < std::size(numbers); ++i)
            stored.state.*numbers[i] = static_cast<Index>(found->vectors.at("numbers")[i]);
        for (const auto& [name, vector] : vectors)
            if (const auto at = found->vectors.find(name); at != found->vectors.end())
                stored.state.*vector = at->second;
        const Index used = std::clamp<Index>(stored.state.size, 0, basis);
        stored.state.basis = std::span(stored.basis).first(static_cast<std::size_t>(rows * used));
    });
    return stored;
}

}  // namespace tangram
