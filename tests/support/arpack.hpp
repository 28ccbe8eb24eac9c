#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "tangram/parallel/collective_error.hpp"
#include "tangram/spectrum/leading_pairs.hpp"

/// ARPACK's own, in Fortran; integers are 32-bit.
extern "C" {
void dsaupd_(int* ido, const char* bmat, const int* n, const char* which, const int* nev, const double* tol,
             double* resid, const int* ncv, double* v, const int* ldv, int* iparam, int* ipntr, double* workd,
             double* workl, const int* lworkl, int* info);
void dseupd_(const int* rvec, const char* howmny, const int* select, double* d, double* z, const int* ldz,
             const double* sigma, const char* bmat, const int* n, const char* which, const int* nev,
             const double* tol, double* resid, const int* ncv, double* v, const int* ldv, int* iparam,
             int* ipntr, double* workd, double* workl, const int* lworkl, int* info);
}

namespace tangram::testing {

struct ArpackPairs {
    std::vector<double> values;   ///< k, descending
    std::vector<double> vectors;  ///< N x k, column-major, on the first rank
    Index products = 0;           ///< of one vector each
};

/// The k < N largest eigenpairs of a symmetric operator by ARPACK's implicitly restarted Lanczos (Lehoucq,
/// Sorensen, Yang, ARPACK Users' Guide, 1998). On the first rank; the others take part in the products.
/// Collective over G.comm.
/// @param basis      vectors that are kept, k < basis <= N; all N find every copy of a multiple eigenvalue
/// @param tolerance  on residuals, in units of their eigenvalues; 0: 2^-53
/// @throws Error(numerical) on every rank with ARPACK's info
inline ArpackPairs arpack_pairs(const SymmetricOperator& G, Index k, Index basis, double tolerance = 0) {
    const int n = narrow(G.rows, "rows"), nev = narrow(k, "values"), ncv = narrow(basis, "basis"),
              lworkl = ncv * (ncv + 8), all = 1;
    const double unused = 0;
    const auto size = [](Index count) { return static_cast<std::size_t>(count); };
    int ido = 0, info = 0, iparam[11] = {1, 0, 10000, 1, 0, 0, 1}, ipntr[11] = {}, rank = 0;
    std::vector<double> resid(size(n)), V(size(G.rows * basis)), workd(size(3 * G.rows)), workl(size(lworkl));
    MPI_Comm_rank(G.comm, &rank);
    ArpackPairs found;
    while (true) {
        if (rank == 0)
            dsaupd_(&ido, "I", &n, "LA", &nev, &tolerance, resid.data(), &ncv, V.data(), &n, iparam, ipntr,
                    workd.data(), workl.data(), &lworkl, &info);
        MPI_Bcast(&ido, 1, MPI_INT, 0, G.comm);
        if (ido != -1 && ido != 1) break;
        std::vector<double> x(size(n));
        if (rank == 0) std::copy_n(workd.begin() + ipntr[0] - 1, n, x.begin());
        broadcast(G.comm, x, 0);
        const std::vector<double> y = G.product(x, 1);
        if (rank == 0) std::ranges::copy(y, workd.begin() + ipntr[1] - 1);
        ++found.products;
    }
    found.values.resize(size(k));
    collectively(G.comm, [&] {
        const auto check = [&](const char* routine) {
            if (info != 0)
                throw Error(ExitStatus::numerical, ErrorKind::library,
                            std::string(routine) + ": info = " + std::to_string(info));
        };
        if (rank != 0) return;
        check("dsaupd");
        const std::vector<int> select(size(ncv), 1);
        found.vectors.resize(size(G.rows * k));
        dseupd_(&all, "A", select.data(), found.values.data(), found.vectors.data(), &n, &unused, "I", &n,
                "LA", &nev, &tolerance, resid.data(), &ncv, V.data(), &n, iparam, ipntr, workd.data(),
                workl.data(), &lworkl, &info);
        check("dseupd");
        // Ascending.
        std::ranges::reverse(found.values);
        for (Index j = 0; j < k / 2; ++j)
            std::swap_ranges(found.vectors.begin() + j * n, found.vectors.begin() + (j + 1) * n,
                             found.vectors.begin() + (k - 1 - j) * n);
    });
    broadcast(G.comm, found.values, 0);
    return found;
}

}  // namespace tangram::testing
