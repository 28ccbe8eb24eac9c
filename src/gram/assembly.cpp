#include "tangram/gram/assembly.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "message_trial.hpp"
#include "slice_on_its_way.hpp"
#include "tangram/gram/assembly_cost.hpp"
#include "tangram/gram/product_back_end.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/parallel_for.hpp"
#include "tile_products.hpp"

namespace tangram {

namespace {

/// Adds the seconds of its life to a total.
class Stopwatch {
  public:
    explicit Stopwatch(double& total) : total_(&total), start_(Clock::now()) {}
    ~Stopwatch() { *total_ += std::chrono::duration<double>(Clock::now() - start_).count(); }
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;

  private:
    using Clock = std::chrono::steady_clock;
    double* total_;
    Clock::time_point start_;
};

/// This rank's part of an assembly. Its functions are collective over the grid: what fails on one rank is
/// thrown on all.
template <class Real>
class Assembly {
  public:
    /// Collective in that it is made within collectively().
    /// @param back_end_memory  of the back end that has least, over the ranks
    /// @param messages         that slices travel in
    Assembly(const KernelInputs<Real>& inputs, KernelMatrices& matrices,
             const std::function<void(const AssemblyProgress&)>& in_pass, double back_end_memory,
             const Communicator& messages)
        : inputs_(&inputs),
          matrices_(&matrices),
          in_pass_(&in_pass),
          comm_(&matrices.grid().comm()),
          slices_(inputs.network.program(), inputs.parameters, inputs.formulas,
                  {matrices.formulas.front().gram.rows() +
                       (inputs.test == nullptr ? 0 : kernel_rows(*inputs.test, inputs.outputs).back()),
                   inputs.outputs.components(), inputs.sketch_dimension}),
          sets_(sets_of(inputs, matrices.grid(), matrices.formulas.front().gram.block())),
          products_(inputs, matrices, sets_, comm_->rank()),
          on_their_way_{SliceOnItsWay<Real>(messages), SliceOnItsWay<Real>(messages)} {
        if (matrices.units_done > slices_.count())
            throw Error(ExitStatus::output, ErrorKind::contradiction,
                        fmt::format("{} slices are said to be added, there are {}", matrices.units_done,
                                    slices_.count()));
        if (inputs.back_end == nullptr) return;
        const AssemblyCost cost =
            AssemblyShape::of<Real>(inputs.network.program(), inputs.network.label_ids(), inputs)
                .cost(matrices.grid().rows(), matrices.grid().columns(), inputs.factor_bytes);
        beside_factors_ = cost.back_end_whole(back_end_memory);
        products_.let_back_end_take([&](Contraction of) { return cost.back_end_takes(of, back_end_memory); });
    }

    Assembly(const Assembly&) = delete;
    Assembly& operator=(const Assembly&) = delete;
    ~Assembly() {
        if (inputs_->back_end != nullptr) inputs_->back_end->forget_factors();
    }

    Index slices() const { return slices_.count(); }
    void keep_own_sums() { products_.keep_own_sums(); }

    /// The same on every rank: the largest share decides.
    std::vector<SliceGroup> groups() const {
        const PassedRows own = own_rows();
        const PassedRows most{max_over_ranks(comm_->get(), own.examples),
                              max_over_ranks(comm_->get(), own.tokens),
                              max_over_ranks(comm_->get(), own.reads)};
        return collectively(comm_->get(), [&] {
            const FactorBytes bytes(inputs_->network.program(),
                                    {most, backward_passes(inputs_->train, inputs_->outputs),
                                     inputs_->outputs.passes(), static_cast<Index>(sizeof(Real))},
                                    inputs_->sketch());
            return groups_of(slices_, bytes, inputs_->factor_bytes);
        });
    }

    /// Forward and backward passes that leave the factors of these parameters.
    void load(const std::vector<ParameterId>& parameters) {
        const Stopwatch watch(result.jacobian_seconds);
        if (inputs_->back_end != nullptr) inputs_->back_end->forget_factors();
        const PassedRows own = own_rows();
        const Index passes = parameters.empty() ? 0 : backward_passes(inputs_->train, inputs_->outputs);
        double flops = 0;
        collectively(comm_->get(), [&] {
            flops = pass_flops(inputs_->network.program(), inputs_->parameters, own, passes);
            Index before = 0;
            for (KernelRows<Real>& set : sets_) {
                set.factors.load(kept(parameters), [&](Index done, Index) {
                    const double part =
                        static_cast<double>(before + done) / static_cast<double>(own.examples);
                    if (*in_pass_)
                        (*in_pass_)({before + done, own.examples,
                                     result.jacobian_flops + result.product_flops + part * flops,
                                     result.bytes_received});
                });
                before += std::ssize(set.factors.examples());
            }
        });
        result.jacobian_flops += flops;
        if (result.passes++ > 0) return;
        result.train_outputs = outputs(sets_[0], inputs_->train);
        if (sets_.size() > 1) result.test_outputs = outputs(sets_[1], *inputs_->test);
    }

    void send(Index u) {
        const Stopwatch watch(result.packing_seconds);
        SliceOnItsWay<Real>& slice = on_its_way(u);
        collectively(comm_->get(), [&] {
            const Slice next = slices_[u];
            slice.pack(next, sets_, products_.is_on_back_end(next.contraction) ? inputs_->back_end : nullptr);
        });
        result.bytes_received += slice.post(sets_);
    }

    void wait(Index u) {
        const Stopwatch watch(result.waiting_seconds);
        on_its_way(u).wait();
    }

    /// Adds slice u, which has arrived, while the next one travels.
    void add(Index u) {
        const Stopwatch watch(result.product_seconds);
        if (!is_on_back_end(u)) bring_home();
        collectively(comm_->get(), [&] {
            const Slice slice = slices_[u];
            products_.add(slice, on_its_way(u).packed(), [&] { on_its_way(u + 1).advance(); });
            result.product_flops += products_.flops(slice);
        });
    }

    /// Local; called between collective calls, so it allocates nothing.
    bool is_on_back_end(Index u) const {
        return products_.is_on_back_end(slices_.run_of(u).slice.contraction);
    }

    /// All sums are in the matrices.
    void bring_home() { store_sums(*matrices_, inputs_->back_end); }

    AssemblyProgress progress(Index done) const {
        return {done, slices(), result.jacobian_flops + result.product_flops, result.bytes_received};
    }

    AssemblyResult result;

  private:
    static std::vector<KernelRows<Real>> sets_of(const KernelInputs<Real>& inputs, const ProcessGrid& grid,
                                                 Index tile_rows) {
        std::vector<const DataSet*> data{&inputs.train};
        if (inputs.test != nullptr) data.push_back(inputs.test);
        std::vector<RowTiles> tiles;
        for (const DataSet* const of : data)
            tiles.emplace_back(inputs.network.program(), inputs.network.label_ids(), *of, inputs.outputs,
                               tile_rows);
        std::vector<KernelRows<Real>> sets;
        for (RowTiles& rows : shared_on(grid.rows(), grid.columns(), std::move(tiles))) {
            HeldFactors<Real> factors(inputs.network, *data[sets.size()], inputs.outputs,
                                      rows.examples_of(grid.comm().rank()));
            sets.push_back({std::move(rows), std::move(factors)});
        }
        return sets;
    }

    /// Factors that passes may leave on the back end's device: of what is formed there alone.
    KeptParameters kept(const std::vector<ParameterId>& parameters) const {
        if (inputs_->back_end == nullptr) return {parameters, inputs_->sketch()};
        std::vector<ParameterId> staying;
        for (std::size_t s = 0; s < inputs_->parameters.size(); ++s)
            if (std::ranges::all_of(inputs_->formulas, [&](const KernelFormula& of) {
                    const Contraction chosen = of.choices[s].chosen;
                    return is_multiplied_out(chosen) ||
                           (chosen == Contraction::factors && products_.is_on_back_end(chosen));
                }))
                staying.push_back(inputs_->parameters[s]);
        std::ranges::sort(staying);
        return {parameters, inputs_->sketch(), inputs_->back_end->factor_memory(beside_factors_), staying};
    }

    PassedRows own_rows() const {
        PassedRows rows;
        for (const KernelRows<Real>& set : sets_) rows += set.factors.passed();
        return rows;
    }

    /// examples x C logits on every rank. An example with rows in two ranks' tiles counts once.
    std::vector<double> outputs(const KernelRows<Real>& set, const DataSet& data) const {
        std::vector<double> all = collectively(comm_->get(), [&] {
            const Index labels = inputs_->outputs.labels();
            std::vector<double> own(static_cast<std::size_t>(data.examples() * labels), 0.0);
            for (const Index example : set.factors.examples())
                if (set.tiles.owner(set.tiles.tile_of(set.tiles.first_row_of(example))) == comm_->rank())
                    std::copy_n(set.factors.factors().logits().begin() + set.factors.place(example) * labels,
                                labels, own.begin() + example * labels);
            return own;
        });
        sum_over_ranks(comm_->get(), all);
        return all;
    }

    SliceOnItsWay<Real>& on_its_way(Index u) { return on_their_way_[static_cast<std::size_t>(u % 2)]; }

    const KernelInputs<Real>* inputs_;
    KernelMatrices* matrices_;
    const std::function<void(const AssemblyProgress&)>* in_pass_;
    const Communicator* comm_;
    Slices slices_;
    std::vector<KernelRows<Real>> sets_;  // training, test
    TileProducts<Real> products_;
    double beside_factors_ = 0;  // bytes of a back end's memory that slices and sums take
    std::array<SliceOnItsWay<Real>, 2> on_their_way_;
};

/// The diagonal of a distributed square matrix, on every rank. Collective.
std::vector<double> diagonal(const DistributedMatrix& matrix) {
    const MPI_Comm comm = matrix.grid().comm().get();
    std::vector<double> entries = collectively(comm, [&] {
        std::vector<double> own(static_cast<std::size_t>(matrix.rows()), 0.0);
        for (Index j = 0; j < matrix.local_columns(); ++j) {
            const Index global = matrix.global_column(j);
            if (matrix.row_layout().owner(global) == matrix.grid().row())
                own[static_cast<std::size_t>(global)] =
                    matrix.data()[matrix.row_layout().to_local(global) + j * matrix.lld()];
        }
        return own;
    });
    sum_over_ranks(comm, entries);
    return entries;
}

/// Both triangles from the tiles that were computed; within a diagonal tile the lower triangle counts.
void complete(DistributedMatrix& gram) {
    const Index tiles = gram.row_layout().blocks();
    mirror_blocks(gram, [&](Index I, Index J) { return is_computed(I, J, tiles); });
    parallel_for(tiles, [&](Index tile) {
        const Index first = tile * gram.block(), size = std::min(gram.block(), gram.rows() - first);
        if (gram.row_layout().owner(first) != gram.grid().row() ||
            gram.column_layout().owner(first) != gram.grid().column())
            return;
        double* const entries = gram.data() + gram.row_layout().to_local(first) +
                                gram.column_layout().to_local(first) * gram.lld();
        for (Index j = 0; j < size; ++j)
            for (Index i = j + 1; i < size; ++i) entries[j + i * gram.lld()] = entries[i + j * gram.lld()];
    });
}

/// @throws Error(numerical) on every rank for the first square that is not finite
void check_squares(const std::vector<double>& squares, const char* matrix) {
    for (std::size_t row = 0; row < squares.size(); ++row)
        if (!std::isfinite(squares[row]))
            throw Error(ExitStatus::numerical, ErrorKind::non_finite,
                        fmt::format("row {} of the {} is not finite: the squared gradient exceeds the range "
                                    "of float32; use kernel.precision = \"double\"",
                                    row, matrix));
}

/// Sums over ranks, and of finished matrices both triangles. Collective.
void finish(FormulaMatrices& of, Formula formula, bool finished) {
    const MPI_Comm comm = of.gram.grid().comm().get();
    if (finished) {
        if (formula != Formula::asymmetric_signgd) complete(of.gram);
        for (DistributedMatrix& group : of.groups) complete(group);
        check_squares(diagonal(of.gram), "Gram matrix");
    }
    sum_over_ranks(comm, of.test_diagonal);
    sum_over_ranks(comm, of.tile_traces);
    check_squares(of.test_diagonal, "test kernel");
}

}  // namespace

void store_sums(KernelMatrices& matrices, ProductBackEnd* back_end) {
    if (!matrices.stored) return;
    const MPI_Comm comm = matrices.grid().comm().get();
    try {
        collectively(comm, [&] { back_end->finish(); });
    } catch (...) {
        give_up_sums(matrices, back_end);
        throw;
    }
    try {
        collectively(comm, [&] { back_end->store_sums(); });
    } catch (...) {
        give_up_sums(matrices, back_end);
        matrices.units_done = -1;
        throw;
    }
    matrices.stored.reset();
}

void give_up_sums(KernelMatrices& matrices, ProductBackEnd* back_end) noexcept {
    if (!matrices.stored) return;
    matrices.units_done = back_end->sums_are_torn() ? -1 : matrices.stored->units;
    back_end->drop_sums();
    for (std::size_t f = 0; f < matrices.formulas.size(); ++f)
        matrices.formulas[f].test_diagonal.swap(matrices.stored->test_diagonals[f]);
    matrices.stored.reset();
}

template <class Real>
AssemblyResult assemble(const KernelInputs<Real>& inputs, KernelMatrices& matrices,
                        const std::function<bool(const AssemblyProgress&)>& go_on,
                        const std::function<void(const AssemblyProgress&)>& in_pass) {
    const MPI_Comm comm = matrices.grid().comm().get();
    const double back_end_memory =
        inputs.back_end == nullptr ? 0 : -max_over_ranks(comm, -inputs.back_end->memory());
    // A device that fails while MPI reads its memory would leave the others waiting: MPI ends them all.
    const Communicator messages(comm);
    const bool reached = inputs.back_end != nullptr && inputs.back_end->messages_reach_it();
    if (reached) TANGRAM_MPI(MPI_Comm_set_errhandler(messages.get(), MPI_ERRORS_ARE_FATAL));
    if (messages.size() > 1 && !any_rank(comm, !reached)) try_messages(messages, *inputs.back_end);
    std::optional<Assembly<Real>> made;
    collectively(comm, [&] { made.emplace(inputs, matrices, in_pass, back_end_memory, messages); });
    Assembly<Real>& assembly = *made;
    assembly.keep_own_sums();
    const std::vector<SliceGroup> groups = assembly.groups();
    if (matrices.units_done == assembly.slices()) assembly.load({});
    try {
        bool stopped = false;
        for (const SliceGroup& group : groups) {
            if (group.last <= matrices.units_done || stopped) continue;
            assembly.bring_home();  // whoever stops in a pass finds them there
            assembly.load(group.parameters);
            assembly.send(matrices.units_done);
            while (matrices.units_done < group.last && !stopped) {
                const Index u = matrices.units_done;
                assembly.wait(u);
                // A back end goes on adding while the next one is packed.
                const bool first_added = assembly.is_on_back_end(u), last = u + 1 == group.last;
                if (!first_added && !last) assembly.send(u + 1);
                assembly.add(u);
                ++matrices.units_done;
                if (first_added && !last) assembly.send(u + 1);
                stopped = !go_on(assembly.progress(matrices.units_done));  // the next slice arrives, unused
            }
        }
        assembly.bring_home();
    } catch (...) {
        give_up_sums(matrices, inputs.back_end);
        throw;
    }
    for (std::size_t f = 0; f < matrices.formulas.size(); ++f)
        finish(matrices.formulas[f], inputs.formulas[f].formula, matrices.units_done == assembly.slices());
    return std::move(assembly.result);
}

template AssemblyResult assemble<float>(const KernelInputs<float>&, KernelMatrices&,
                                        const std::function<bool(const AssemblyProgress&)>&,
                                        const std::function<void(const AssemblyProgress&)>&);
template AssemblyResult assemble<double>(const KernelInputs<double>&, KernelMatrices&,
                                         const std::function<bool(const AssemblyProgress&)>&,
                                         const std::function<void(const AssemblyProgress&)>&);

}  // namespace tangram
