#pragma once
#include <memory>
#include <span>
#include <vector>

#include "tangram/gram/assembly.hpp"

namespace tangram {

/// What an assembly needs, known before anything is allocated. Bytes are those of the rank that needs most.
struct AssemblyCost {
    double matrix_bytes = 0;      ///< its tiles of the Gram and the cross Gram matrix
    double slice_bytes = 0;       ///< two packed slices
    double factor_bytes = 0;      ///< factors held at the same time
    double pass_bytes = 0;        ///< buffers of forward and backward passes, on all threads
    double large_pass_bytes = 0;  ///< the same of arithmetic::examples_per_block examples: training's
    double received_bytes = 0;    ///< slices of other ranks, over the whole assembly
    Index slices = 0;             ///< KernelMatrices::units_done of a finished assembly
    Index passes = 1;             ///< groups of parameters, each with its forward and backward passes
    double pass_flops = 0;        ///< linear layers, all ranks, all passes
    double vocabulary_flops = 0;  ///< deltas over the vocabulary, computed again for the slices, all ranks
    double packed_entries = 0;    ///< entries that all ranks pack
    double product_flops = 0;     ///< contractions as ContractionChoice counts them, all ranks
    double imbalance = 1;         ///< product work of the busiest rank over the mean
    double pass_imbalance = 1;    ///< tokens that go through the model on the busiest rank over the mean
    /// Of a back end (product_back_end.hpp): a multiplied-out slice, one in factors, one of matching rows, 0:
    /// there is none that it takes; sums that it adds to
    double back_end_slice_bytes = 0, back_end_factor_bytes = 0, back_end_match_bytes = 0,
           back_end_sum_bytes = 0;

    /// Bytes of its memory that a back end needs: two multiplied-out slices and a tile at least.
    double back_end_least() const;
    /// Whether a back end with so many bytes of memory takes slices that are contracted in this way: always
    /// multiplied-out ones; others where there are some and two of them find room, but not in place of sums
    /// that stay there beside multiplied-out slices. Else the host adds them.
    bool back_end_takes(Contraction contraction, double memory) const;
    /// Bytes of the largest slice that a back end with so many bytes of memory takes; of its memory those of
    /// two of them and of all sums.
    double back_end_slice(double memory) const;
    double back_end_whole(double memory) const;
    /// Of the host's memory, for what is on its way to a back end and from it.
    double staged_bytes() const;
};

/// Of a matrix whose gradient is multiplied out, a slice holds so many rows, so that an example's inputs are
/// read once for all of them, as far as the slice of all rows of the kernel, test rows included, has no more
/// entries than these (128 MiB in float32; twice as many where signs stand beside them). No bit depends on
/// it, checkpoints do.
inline constexpr Index slice_matrix_rows = 32, slice_entries = Index{1} << 25;

/// Parameters of one slice of a matrix with rows of so many entries, in a kernel of so many rows, test rows
/// included: at least arithmetic::slice_depth, a multiple of product_depth. Local.
Index slice_depth_of(Index width, Index kernel_rows);

/// The tiles and slices of an assembly, which its costs follow from on any number of ranks. Local; from
/// tokens and shapes alone, in time that grows with tensors, not with parameters.
class AssemblyShape {
  public:
    /// All but the problem itself outlives the object, the problem's data sets too.
    /// @param label_ids  vocabulary ids of the outputs
    template <class Real>
    static AssemblyShape of(const Program& program, std::span<const std::int32_t> label_ids,
                            const KernelProblem& problem);
    AssemblyShape(AssemblyShape&& other) noexcept;
    ~AssemblyShape();

    /// On a grid of ranks. @param factor_bytes  KernelProblem's, in the place of the problem's own
    AssemblyCost cost(int grid_rows, int grid_columns, double factor_bytes) const;

    struct Parts;

  private:
    explicit AssemblyShape(std::unique_ptr<const Parts> parts);
    std::unique_ptr<const Parts> parts_;
};

/// Seconds of a flop in products of whole tiles, one thread, measured for about a tenth of a second. Local.
template <class Real>
double product_seconds_per_flop();

}  // namespace tangram
