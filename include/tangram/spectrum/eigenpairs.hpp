#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tangram/parallel/distributed_matrix.hpp"

namespace tangram {

enum class Solver { automatic, lapack, scalapack_dc, scalapack_mrrr, elpa1, elpa2 };

/// A solver by the contract's name: "auto", "lapack", "scalapack-dc", "scalapack-mrrr", "elpa1", "elpa2".
/// @throws Error(study) with the names of this build
Solver solver_by_name(std::string_view name);
std::string name(Solver solver);
/// The solvers that this build has, without `automatic`.
std::vector<Solver> solvers();

struct Eigenpairs {
    std::vector<double> values;                ///< N, descending, equal on every rank
    std::optional<DistributedMatrix> vectors;  ///< N x N, laid out as G; column j belongs to values[j]
    Solver solver;                             ///< never automatic
    std::string reason;                        ///< why this solver
};

/// The solver that `auto` stands for, from measurements that are stored in the source, and why. Local.
std::pair<Solver, std::string> choose_solver(Index n, int ranks, bool vectors);

/// Eigenvalues and eigenvectors of a symmetric matrix, G = V diag(w) V^T. Collective over G's grid.
/// @param G  N x N, block-cyclic with square blocks, both triangles set; consumed
/// @param block  the solver's own block; 0: chosen so that every rank owns something (lesson 2)
/// @throws Error on every rank: input or numerical if G is not square, holds a non-finite entry or is not symmetric
///         (|G_ij - G_ji| > 1e-12 max |G|); study if a size exceeds 32 bits (the message says how many ranks suffice);
///         numerical with the solver's info where it did not converge
/// Memory per rank: up to four local matrices and the workspace; lapack: the whole matrix on one rank.
Eigenpairs eigenpairs(DistributedMatrix G, Solver solver, bool vectors, Index block = 0);

/// Doubles that pdsyevd's workspace takes on a p x q grid: the larger of its documented query and lesson 1's bound.
/// In 64-bit arithmetic. Local.
Index pdsyevd_workspace(Index n, Index nb, int grid_rows, int grid_columns);

/// Throws Error(study) where a workspace of this many doubles or a local matrix does not fit into ScaLAPACK's 32-bit
/// integers (lesson 3), naming the number of ranks that would do. Local.
void check_scalapack_size(Index n, Index workspace, int ranks);

}  // namespace tangram
