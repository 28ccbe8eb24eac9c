#pragma once
#include <vector>

#include "tangram/parallel/distributed_matrix.hpp"

namespace tangram {

/// What a matrix and its eigenvalues share: sum w = trace G and sum w^2 = ||G||_F^2.
struct Invariants {
    double trace;
    double magnitudes;  ///< sum |G_ii|, the scale of the trace's rounding
    double squares;     ///< ||G||_F^2
    double largest_diagonal;
    /// Of scale * G. Collective over G's grid, the same bits on every rank.
    static Invariants of(const DistributedMatrix& G, double scale = 1);
    /// |sum w - trace G| / sum |G_ii|; absolute where that is zero.
    double trace_error(const std::vector<double>& w) const;
    /// |sum w^2 - ||G||_F^2| / ||G||_F^2; absolute where that is zero.
    double frobenius_error(const std::vector<double>& w) const;
    /// Of the largest of `rows` eigenvalues, descending: by how much they leave more of the trace than the
    /// others can have, none of which is above the last; in units of sum |G_ii|.
    double trace_missing(const std::vector<double>& w, Index rows) const;
    /// The same of squares: by how much they exceed ||G||_F^2, in units of it.
    double squares_beyond(const std::vector<double>& w) const;
};

}  // namespace tangram
