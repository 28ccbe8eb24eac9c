#pragma once
#include <memory>
#include <span>
#include <string>

#include "tangram/index.hpp"

namespace tangram {

/// A whole matrix A, rows x columns, in a device's memory. Local; throws as WholeSolver::solve().
class HeldMatrix {
  public:
    virtual ~HeldMatrix() = default;
    /// C = A B. @param B  columns x count, column-major  @param C  rows x count; overwritten
    virtual void multiply(std::span<const double> B, Index count, std::span<double> C) = 0;
    /// Scalar products of `count` of A's columns, from `first` on, with those from `first` on.
    /// @param C  (columns - first) x count, column-major; overwritten
    virtual void multiply_columns(Index first, Index count, std::span<double> C) = 0;
};

/// Eigenpairs of a whole symmetric matrix elsewhere than on this machine's cores; a device implements it.
/// Local.
class WholeSolver {
  public:
    virtual ~WholeSolver() = default;
    /// What it is, for people.
    virtual std::string name() const = 0;
    /// Loads its libraries and what else a first problem would wait for, which takes longer than a small one;
    /// what is missing room() and solve() say.
    virtual void prepare() noexcept = 0;
    /// Bytes of its memory that matrix and workspace of an n x n problem take, and that are free.
    struct Room {
        double needed, free;
    };
    /// @throws Error where the device cannot say, as it has no way to solve a problem of this size
    virtual Room room(Index n, bool vectors) = 0;
    /// @param A  n x n, column-major, the lower triangle counts; overwritten, with `vectors` by orthonormal
    ///           eigenvectors, column j of w[j]
    /// @param w  n eigenvalues, ascending; overwritten
    /// @throws Error(numerical) naming the device: it fails, has too little memory, or does not converge
    virtual void solve(std::span<double> A, Index n, bool vectors, std::span<double> w) = 0;
    /// Takes a copy of A, rows x columns, column-major, until the result is destroyed, before this solver.
    /// @throws Error(numerical) naming the device, of kind no_memory where it finds no room
    virtual std::unique_ptr<HeldMatrix> hold(std::span<const double> A, Index rows, Index columns) = 0;
};

/// While it lives, eigenpairs() has Solver::cusolver: this solver, of a matrix's first rank. One in a process
/// at a time, on every rank or on none. Local.
class RegisteredWholeSolver {
  public:
    /// @param solver  outlives the object
    explicit RegisteredWholeSolver(WholeSolver& solver);
    RegisteredWholeSolver(const RegisteredWholeSolver&) = delete;
    RegisteredWholeSolver& operator=(const RegisteredWholeSolver&) = delete;
    ~RegisteredWholeSolver();
};

/// nullptr: there is none.
WholeSolver* registered_whole_solver();

/// Columns of eigenvectors that a device is given to multiply together.
inline constexpr Index columns_multiplied_together = 512;

/// Bytes of a device that an n x n problem takes, as far as a plan knows without one: LAPACK's, whose divide
/// and conquer it is (matrix and 2 n^2 of workspace with vectors; without, a few panels).
double planned_whole_solver_bytes(Index n, bool vectors);

}  // namespace tangram
