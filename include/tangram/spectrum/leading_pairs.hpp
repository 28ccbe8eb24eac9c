#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "tangram/spectrum/quality.hpp"

namespace tangram {

/// A symmetric matrix that is known by its products alone.
struct SymmetricOperator {
    MPI_Comm comm;
    Index rows;  ///< N
    /// G X for X N x vectors, row-major and equal on every rank, as is the result. Collective over comm.
    std::function<std::vector<double>(const std::vector<double>& X, Index vectors)> product;
};

/// The k largest eigenvalues with their vectors, equal on every rank.
struct LeadingPairs {
    std::vector<double> values;     ///< k, descending
    std::vector<double> vectors;    ///< N x k, column-major
    std::vector<double> residuals;  ///< ||G v_j - w_j v_j||, by products of their own
    Index products = 0;             ///< vectors that G was multiplied with
    Index restarts = 0;
};

/// What decides the course of block Lanczos, and no result beyond its tolerance.
struct LanczosSettings {
    Index block = 16;  ///< vectors of a product
    Index basis = 0;   ///< most vectors that are kept, N doubles each; 0: lanczos_basis()
    std::uint64_t seed = 1;
};

/// Vectors that leading_pairs() keeps for `count` of them where it may choose: 2 count and six blocks. Local.
Index lanczos_basis(Index rows, Index count, Index block = LanczosSettings().block);

/// Where block Lanczos stands between two products: all that the rest of its course follows from, to the last
/// bit. Equal on every rank.
struct LanczosState {
    Index size = 0;                 ///< of the basis
    std::span<const double> basis;  ///< N x size, column-major
    std::vector<double> projected;  ///< V^T G V, size x size
    std::vector<double> next;       ///< the block that is multiplied next, N rows
    std::vector<double> settled;    ///< eigenvalues that have been small in residual; may be empty
    std::vector<double> found;      ///< those with which the search for further copies began; may be empty
    Index products = 0, restarts = 0;
    Index random = 0, drawn = 0;  ///< columns of `next` that are random, and random numbers drawn so far
    Index searched = 0;           ///< steps of that search
};

/// What goes on beside block Lanczos.
struct LanczosCourse {
    std::function<void(const LanczosState&)> between;  ///< called between products; may throw; collective
    std::optional<LanczosState> from;                  ///< begins there; of the same G, count and settings
};

/// The k largest eigenpairs by block Lanczos with thick restart (Wu, Simon, SIAM J. Matrix Anal. Appl. 22
/// (2000) 602) and full reorthogonalisation. Residuals are at most max(1e-12, 10 N 2^-52) w_1, what the
/// solvers of whole matrices promise. A block that lost rank is filled up with random vectors, so that an
/// invariant subspace is no end; where as many equal values were found as a block can show, and others behind
/// them, their further copies are searched for from random vectors. The basis stands whole on every rank,
/// which orthogonalises it alike: N b m flops beside the products' N b P, and the operator's bits on any
/// number of ranks are the result's. Collective over G.comm; memory per rank: basis + 4 blocks + k vectors of
/// N.
/// @throws Error(study) where count is not 1 to N, Error(numerical) where it does not converge, or a product
///         is not finite; on every rank
LeadingPairs leading_pairs(const SymmetricOperator& G, Index count, const LanczosSettings& settings = {},
                           const LanczosCourse& course = {});

/// As quality() of a formed matrix, from residuals that were computed. ||G||_F is not known: frobenius_error
/// is NaN; error bounds are the residuals themselves. Local.
/// @param diagonal  G_ii, N
Quality quality(const LeadingPairs& pairs, const std::vector<double>& diagonal, bool mixed_precision);

/// The pairs as a solver of whole matrices leaves them; without vectors where they are not wanted. Local.
Eigenpairs eigenpairs(const LeadingPairs& pairs, const ProcessGrid& grid, Index block, bool vectors);

}  // namespace tangram
