#include "unit/rates/symmetric_eigenpairs.hpp"

#include <stdexcept>
#include <utility>

extern "C" void dsyevd_(const char* jobz, const char* uplo, const int* n, double* a, const int* lda,
                        double* w, double* work, const int* lwork, int* iwork, const int* liwork, int* info);

namespace tangram::testing {
namespace {

/// A's columns become the eigenvectors where job is 'V'.
Eigen::VectorXd decompose(char job, Eigen::MatrixXd& A) {
    const int n = static_cast<int>(A.rows()), query = -1;
    Eigen::VectorXd w(A.rows());
    double length = 0;
    int integers = 0, info = 0;
    dsyevd_(&job, "L", &n, A.data(), &n, w.data(), &length, &query, &integers, &query, &info);
    const int size = static_cast<int>(length), integer_size = integers;
    std::vector<double> work(static_cast<std::size_t>(size));
    std::vector<int> integer_work(static_cast<std::size_t>(integer_size));
    dsyevd_(&job, "L", &n, A.data(), &n, w.data(), work.data(), &size, integer_work.data(), &integer_size,
            &info);
    if (info != 0) throw std::runtime_error("dsyevd failed");
    return w;
}

}  // namespace

SymmetricEigenpairs symmetric_eigenpairs(Eigen::MatrixXd A) {
    Eigen::VectorXd values = decompose('V', A);
    return {std::move(values), std::move(A)};
}

Eigen::VectorXd symmetric_eigenvalues(Eigen::MatrixXd A) { return decompose('N', A); }

std::vector<double> spectrum(const Eigen::MatrixXd& G) {
    const Eigen::VectorXd w = symmetric_eigenvalues(G).reverse() / static_cast<double>(G.rows());
    return {w.data(), w.data() + w.size()};
}

}  // namespace tangram::testing
