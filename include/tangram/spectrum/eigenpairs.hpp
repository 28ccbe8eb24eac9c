#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tangram/error.hpp"
#include "tangram/parallel/distributed_matrix.hpp"

namespace tangram {

/// `lanczos` is of matrices that are known by their products (leading_pairs.hpp), the others of formed ones;
/// `cusolver` is the registered one (whole_solver.hpp).
enum class Solver { automatic, lapack, scalapack_dc, scalapack_mrrr, elpa1, elpa2, cusolver, lanczos };

/// A solver by spectrum.solver's name: "auto", "lapack", "scalapack-dc", "scalapack-mrrr", "elpa1", "elpa2",
/// "cusolver".
/// @throws Error(study) with the names at hand, for unknown names, for ELPA's where the build has none, for
///         "cusolver" where no device is in use, and for "lanczos", which solves no formed matrix
Solver solver_by_name(std::string_view name);
std::string name(Solver solver);
/// The solvers of formed matrices that there are, without `automatic`.
std::vector<Solver> solvers();

/// How far vectors are from eigenvectors: of every column v_j of V, with r_j = G v_j - w_j v_j.
struct VectorChecks {
    std::vector<double> squares;  ///< ||r_j||^2
    std::vector<double> along;    ///< v_j^T r_j
    std::vector<double> lengths;  ///< v_j^T v_j
    double overlap = 0;           ///< max_ij |V^T V - I|_ij
    std::string left_to_ranks;    ///< why the ranks checked what a device has found; empty: they did not
};

struct Eigenpairs {
    std::vector<double> values;                ///< N or the k largest, descending, equal on every rank
    std::optional<DistributedMatrix> vectors;  ///< N x N or k, laid out as G; column j belongs to values[j]
    Solver solver;                             ///< never automatic
    std::string reason;                        ///< why this solver
    std::optional<VectorChecks> checks = {};   ///< where eigenpairs() has checked these vectors itself
};

/// Up to this n LAPACK takes a fifth of a second on any number of ranks, no grid is too large for it, and
/// `automatic` takes no other.
inline constexpr Index always_in_one_piece = 1000;

/// How a solver of all ranks has the matrix laid out while it works.
struct SolverLayout {
    Index block = 0;    ///< 0: the measured one; lowered where a rank would own nothing
    int grid_rows = 0;  ///< of all ranks; 0: the measured ones, or G's
};

/// The solver of this machine's cores that `auto` stands for, from measurements that are stored in the
/// source, and why. Local.
/// @param cores  that LAPACK has on the first rank's host: ranks there times threads of each
std::pair<Solver, std::string> choose_solver(Index n, int ranks, int cores, bool vectors);

/// Block and grid of a solver of all ranks, complete: what is asked for, else what was measured to be the
/// fastest at the nearest size; G's grid where none was measured on as many ranks, or on that one a rank
/// would own nothing. The block is at most n over the grid's longer side (docs/libraries.md, Small problems).
/// Local.
/// @param grid_rows  of the grid that G is on
SolverLayout solver_layout(Solver solver, Index n, int ranks, bool vectors, const SolverLayout& asked,
                           int grid_rows);

/// What messages call a matrix, and the status of what is wrong with it: "F.h5: /kernel/gram", output.
struct MatrixName {
    std::string text = "the matrix";
    ExitStatus status = ExitStatus::input;
};

/// Largest |G_ij - G_ji| / max |G| of a matrix that counts as symmetric in float64.
inline constexpr double symmetry_tolerance = 1e-12;

/// Replaces somebody else's G by the mean of G and its transpose. Collective over G's grid.
/// @param tolerance  on |G_ij - G_ji| / max |G|
/// @return the largest of these before; 0 leaves G's bits as they are
/// @throws Error(matrix.status) on every rank where G is not square, holds a non-finite entry or is further
///         off symmetry, naming the first such entry in column order
double make_symmetric(DistributedMatrix& G, double tolerance, const MatrixName& matrix);

/// Eigenvalues and eigenvectors of a symmetric matrix, G = V diag(w) V^T. Collective over G's grid.
/// @param G  N x N, block-cyclic with square blocks, both triangles set
/// @param layout  the solver's own, by solver_layout(); G's and V's stay what they are.
///         Problems too small for the grid (N < 2 max(rows, columns)) are solved by LAPACK, and `solver` and
///         `reason` say so. `cusolver`, named or by `automatic` from 1000 rows on, takes what finds room on
///         the first rank's device; what does not is solved as by `automatic` without one, and `reason` says
///         so.
/// @param count  0: all; k: the k largest. The vectors of up to N/2 are computed alone by lapack (dsyevr) and
///         by ELPA (the smallest of -G); their residual and orthogonality are always checked, and their sums
///         against the trace and norm of G. ScaLAPACK computes all: pdsyevd cannot else, and pdsyevr 2.2.1
///         gives wrong vectors and info = 0 (docs/libraries.md, Some eigenpairs)
/// @return V's columns have their first component of at least 0.6 of the largest magnitude positive. The same
///         bits on the same grid; eigenvalues to 1e-12 w_1 on another.
/// @throws Error on every rank: matrix.status if G is not square, holds a non-finite entry or is not
///         symmetric (|G_ij - G_ji| > 1e-12 max |G|), naming the first such entry in column order; study if
///         count is more than N or a size exceeds 32 bits (the message says how many ranks suffice), before
///         anything is allocated; numerical where the squares of G's entries may add up to infinity, and with
///         the solver's info where it did not converge, its result is not finite, or trace and Frobenius norm
///         are not G's; elpa2's vectors are checked in full, because its two-stage reduction fails silently
///         on some smooth kernels
/// lapack works on the first rank; from 1000 rows on with the BLAS threads and cores of all ranks of its
/// host; cusolver's matrix goes through the first rank's memory, too. Memory per rank, in local matrices, G
/// included: scalapack-dc 6 (3 and a workspace of 3), scalapack-mrrr 5, elpa1 5, elpa2 5; lapack: three whole
/// matrices on the first rank with vectors, one without, one and N x k for k vectors alone; cusolver one
/// whole matrix on the first rank. On one rank both find all vectors in the memory that these stand in.
Eigenpairs eigenpairs(const DistributedMatrix& G, Solver solver, bool vectors,
                      const SolverLayout& layout = {}, const MatrixName& matrix = {}, Index count = 0);

/// Loads the libraries of the device that this solver may turn to, so that no clock counts them.
/// Collective over G's grid.
void prepare_solver(const DistributedMatrix& G, Solver solver);

/// Doubles that pdsyevd takes on a p x q grid, at least: the bound of docs/libraries.md (Workspace), above
/// its own query. 64-bit. Local.
Index pdsyevd_workspace(Index n, Index nb, int grid_rows, int grid_columns);
/// Doubles that pdsyevr takes for all eigenvectors on a p x q grid, by its documentation. 64-bit. Local.
Index pdsyevr_workspace(Index n, Index nb, int grid_rows, int grid_columns);

/// Throws Error(study) where that workspace does not fit into ScaLAPACK's 32-bit integers, naming
/// the number of ranks that would do. Allocates nothing. Local.
/// @param block  lowered where a rank would own nothing
void check_scalapack_size(Index n, int grid_rows, int grid_columns,
                          Index (*workspace)(Index, Index, int, int), Index block = 64);
/// The same for LAPACK on one rank. Local.
void check_lapack_size(Index n, bool vectors);
/// The solver that takes the place of one of all ranks where the grid is too large for the problem: LAPACK
/// where a rank might own nothing, n < 2 max(rows, columns) (docs/libraries.md, Small problems); else the
/// same. Local.
Solver solver_on_grid(Solver solver, Index n, int grid_rows, int grid_columns);
/// The check of these two that belongs to a solver of the CPU. Local.
/// @param alone  only up to half of the vectors are computed
void check_solver_size(Solver solver, Index n, int grid_rows, int grid_columns, Index block, bool vectors,
                       bool alone);

}  // namespace tangram
