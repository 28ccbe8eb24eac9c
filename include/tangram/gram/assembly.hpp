#pragma once
#include <algorithm>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "tangram/jacobian/contraction.hpp"
#include "tangram/jacobian/jacobian_factors.hpp"
#include "tangram/parallel/distributed_matrix.hpp"

namespace tangram {

class ProductBackEnd;

/// What a kernel is made of, but for the weights: whatever can be planned follows from it. The data outlive
/// the object. Equal on every rank.
struct KernelProblem {
    const DataSet& train;
    const DataSet* test;  ///< nullptr: no cross Gram
    KernelOutputs outputs;
    std::vector<ParameterId> parameters;
    std::vector<KernelFormula> formulas;  ///< each gets its own matrices
    /// Bytes that the factors on a rank may take; where those of all parameters take more, forward and
    /// backward passes are repeated for groups of parameters. No bit depends on it.
    double factor_bytes = std::numeric_limits<double>::infinity();
    /// Of the parameters whose contraction is `sketched`.
    Index sketch_dimension = 0;
    std::uint64_t sketch_seed = 1;
    /// The group of each parameter, 0, 1, ...; the first formula's Gram matrix of every group is kept apart.
    /// Empty: none is.
    std::vector<std::size_t> group_of = {};
    /// Multiplies the tiles of gradients that are multiplied out; nullptr: this machine's cores do. No bit
    /// depends on it.
    ProductBackEnd* back_end = nullptr;

    /// The sketch with the parameters that it projects.
    Sketch sketch() const;
    std::size_t groups() const { return group_of.empty() ? 0 : 1 + *std::ranges::max_element(group_of); }
};

/// A kernel's description with the network that it is the kernel of, which outlives it.
template <class Real>
struct KernelInputs : KernelProblem {
    Network<Real>& network;

    /// Numbers that a gradient of the i-th parameter has where it is multiplied out, projected or not.
    Index columns(std::size_t i) const;
};

/// The matrices of one formula. N and M are the rows of the kernel on the training and test examples. Blocks
/// of arithmetic::tile_rows_of(N).
struct FormulaMatrices {
    DistributedMatrix gram;                  ///< N x N; finished: all entries. Before: see is_computed
    std::optional<DistributedMatrix> cross;  ///< M x N, test x train
    std::vector<double> test_diagonal;  ///< M, k(x, x); inside go_on a row stands on one rank, zero elsewhere
    /// Per selected parameter and row tile: the trace of the tile's part of G once the parameter was added;
    /// inside go_on each stands on one rank, zero elsewhere.
    std::vector<double> tile_traces;
    std::vector<DistributedMatrix> groups = {};  ///< N x N each; they add up to `gram` to rounding

    /// trace(G) once a selected parameter was added.
    double trace(std::size_t selected) const;
};

/// The matrices of all formulas while they are added up and when they are finished; what a checkpoint holds.
struct KernelMatrices {
    std::vector<FormulaMatrices> formulas;
    /// Slices added. -1: what is here is torn, as a device failed once some sums of a later slice were
    /// stored; some ranks alone may have it.
    Index units_done = 0;
    /// While a back end holds the sums of later slices: what is here.
    struct Stored {
        Index units;                                      ///< slices that the matrices hold
        std::vector<std::vector<double>> test_diagonals;  ///< by formula, of these slices
    };
    std::optional<Stored> stored = {};
    /// The first rows that were known before (a smaller sample's): tiles of the Gram matrices that lie wholly
    /// in these rows and columns, those on the diagonal excepted, and of the cross matrices in these columns
    /// are final and nothing is added to them.
    Index known_rows = 0;

    bool knows(Index tile) const { return (tile + 1) * formulas.front().gram.block() <= known_rows; }
    const ProcessGrid& grid() const { return formulas.front().gram.grid(); }
};

/// Brings home the sums that a back end holds, so that the matrices hold units_done slices. Collective over
/// the matrices' grid. @param back_end  nullptr: there are none
/// @throws Error(numerical) on every rank where a device fails, as give_up_sums() or, where some were stored
/// already, with units_done = -1
void store_sums(KernelMatrices& matrices, ProductBackEnd* back_end);
/// Forgets the sums that a back end holds: the matrices hold the units_done slices that were stored, or are
/// torn (-1) where it stored some within a slice. Local; on every rank.
void give_up_sums(KernelMatrices& matrices, ProductBackEnd* back_end) noexcept;

/// Row offsets of the kernel: example e has rows [offsets[e], offsets[e+1]); n + 1 of them. Local.
std::vector<Index> kernel_rows(const DataSet& data, const KernelOutputs& outputs);

/// Zero matrices on the grid: one set for each formula, groups in the first. Local.
KernelMatrices empty_matrices(const ProcessGrid& grid, Index train_rows, Index test_rows,
                              std::size_t parameters, std::size_t formulas = 1, std::size_t groups = 0);

/// Which of the tiles (I, J) and (J, I) of `tiles` x `tiles` is computed; the other is copied from it at the
/// end. Every row and column has half of its tiles computed, give or take one, so that the ranks of any grid
/// have equal work; the choice does not depend on the grid.
bool is_computed(Index tile_row, Index tile_column, Index tiles);

/// How far an assembly is, and the work that this rank has done for it so far.
struct AssemblyProgress {
    Index done, of;  ///< slices that were added; within a pass, this rank's examples
    double flops;    ///< of passes, as pass_flops() counts them, and of products, as ContractionChoice does
    double bytes_received;  ///< slices of other ranks
};

/// What the assembly leaves beside the matrices.
struct AssemblyResult {
    /// Logits of the label words, or scores of answers, at the initial weights, examples x C, equal on every
    /// rank; 0 for answers of other tasks.
    std::vector<double> train_outputs, test_outputs;
    /// Seconds of this rank: forward and backward passes; packing slices; waiting for slices; products.
    double jacobian_seconds = 0, packing_seconds = 0, waiting_seconds = 0, product_seconds = 0;
    double bytes_received = 0;  ///< slices of other ranks, this rank
    double jacobian_flops = 0;  ///< of the linear layers, this rank
    double product_flops = 0;   ///< as ContractionChoice counts them, this rank
    Index passes = 0;           ///< groups of parameters, each with its forward and backward passes
};

/// Adds slice after slice of the Jacobian to the matrices: G = J J^T, cross = J_test J^T, or with signs as
/// the formula has it. Collective over the matrices' grid. The bits are those that arithmetic.hpp fixes, on
/// any grid. Every rank holds the factors of its share of the row tiles; a slice of all rows that a rank's
/// tiles need travels while the one before it is multiplied and added. Tiles are spread over the rank's
/// OpenMP threads. What fails on one rank before or between its messages is thrown on all of them.
/// @param go_on    collective; called after every unit; false stops. The matrices may then be stored, behind
///                 store_sums(), and handed to a later call, on any grid, which goes on after units_done.
/// @param in_pass  local; called between blocks of the forward and backward passes. An Error that it throws
///                 on any rank leaves the assembly on every rank, with matrices as go_on last saw them.
/// @return matrices.units_done == units means finished, and both triangles are set
/// @throws Error(numerical) on every rank, naming example and tensor of a non-finite gradient, or the device
/// that failed: then the matrices hold the units_done slices that they held when sums were stored last
/// Memory per rank beside the matrices: factors of its rows, two slices of (N/p + N/q + M/p) rows, one tile
/// per thread.
template <class Real>
AssemblyResult assemble(const KernelInputs<Real>& inputs, KernelMatrices& matrices,
                        const std::function<bool(const AssemblyProgress&)>& go_on,
                        const std::function<void(const AssemblyProgress&)>& in_pass = {});

extern template AssemblyResult assemble<float>(const KernelInputs<float>&, KernelMatrices&,
                                               const std::function<bool(const AssemblyProgress&)>&,
                                               const std::function<void(const AssemblyProgress&)>&);
extern template AssemblyResult assemble<double>(const KernelInputs<double>&, KernelMatrices&,
                                                const std::function<bool(const AssemblyProgress&)>&,
                                                const std::function<void(const AssemblyProgress&)>&);

}  // namespace tangram
