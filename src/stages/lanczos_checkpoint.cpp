#include "lanczos_checkpoint.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "tangram/arithmetic.hpp"
#include "tangram/io/checkpoint.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/session/session.hpp"

namespace tangram {

namespace {

constexpr Index LanczosState::*numbers[] = {&LanczosState::size, &LanczosState::products,
                                            &LanczosState::restarts, &LanczosState::random,
                                            &LanczosState::drawn};
constexpr std::pair<const char*, std::vector<double> LanczosState::*> vectors[] = {
    {"projected", &LanczosState::projected},
    {"next", &LanczosState::next},
    {"settled", &LanczosState::settled}};

}  // namespace

LanczosCheckpoint::LanczosCheckpoint(const std::filesystem::path& output, const Inputs& inputs, Index rows,
                                     Index basis)
    : base_(output.string() + ".spectrum"),
      inputs_("program = " + library_versions().front() + "\n" + inputs.text()),
      rows_(rows),
      basis_(basis) {}

void LanczosCheckpoint::write(const LanczosState& state, const ProcessGrid& grid) const {
    CheckpointState small;
    std::optional<DistributedMatrix> basis;
    collectively(grid.comm().get(), [&] {
        small = {inputs_, state.products, {}};
        for (const auto number : numbers)
            small.vectors["numbers"].push_back(static_cast<double>(state.*number));
        for (const auto& [name, vector] : vectors)
            if (!(state.*vector).empty()) small.vectors[name] = state.*vector;
        basis.emplace(grid, rows_, basis_, arithmetic::tile_rows);
        for (Index j = 0; j < basis->local_columns() && basis->global_column(j) < state.size; ++j)
            for (Index i = 0; i < basis->local_rows(); ++i)
                basis->data()[i + j * basis->lld()] = state.basis[static_cast<std::size_t>(
                    basis->global_row(i) + basis->global_column(j) * rows_)];
    });
    write_checkpoint(base_, small, {{"basis", &*basis}});
}

std::optional<StoredLanczos> LanczosCheckpoint::read(const ProcessGrid& grid, Log& log) const {
    const MPI_Comm comm = grid.comm().get();
    DistributedMatrix basis =
        collectively(comm, [&] { return DistributedMatrix(grid, rows_, basis_, arithmetic::tile_rows); });
    const auto found = read_checkpoint(base_, {{"basis", &basis}}, [&](const CheckpointState& state) {
        if (const auto other = difference(state.inputs, inputs_))
            throw Error(ExitStatus::output, ErrorKind::changed,
                        fmt::format("{0}.checkpoint: was written by another study: {1}; run that one to its "
                                    "end, or delete {0}.checkpoint* to start this one",
                                    base_.string(), *other));
        if (!state.vectors.contains("numbers") || state.vectors.at("numbers").size() != std::size(numbers))
            throw Error(ExitStatus::output, ErrorKind::contradiction,
                        fmt::format("{0}.checkpoint: is not what this study needs; delete {0}.checkpoint* to "
                                    "start again",
                                    base_.string()));
    });
    if (!found) return std::nullopt;
    if (!found->torn.empty()) log.warn(found->torn + "; the checkpoint before it is used");
    StoredLanczos stored{gather(basis, 0), {}};
    broadcast(comm, stored.basis, 0);
    collectively(comm, [&] {
        for (std::size_t i = 0; i < std::size(numbers); ++i)
            stored.state.*numbers[i] = static_cast<Index>(found->state.vectors.at("numbers")[i]);
        for (const auto& [name, vector] : vectors)
            if (const auto at = found->state.vectors.find(name); at != found->state.vectors.end())
                stored.state.*vector = at->second;
        const Index used = std::clamp<Index>(stored.state.size, 0, basis_);
        stored.state.basis = std::span(stored.basis).first(static_cast<std::size_t>(rows_ * used));
    });
    return stored;
}

void LanczosCheckpoint::remove(MPI_Comm comm) const { remove_checkpoint(base_, comm); }

}  // namespace tangram
