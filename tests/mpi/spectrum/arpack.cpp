#include "support/arpack.hpp"

#include <cmath>
#include <numeric>

#include "mpi/gram/problem.hpp"
#include "mpi/spectrum/known_matrices.hpp"
#include "support/mpi_test.hpp"

namespace tangram {
namespace {

using testing::arpack_pairs;
using testing::ArpackPairs;
using testing::known_matrix;
using testing::Problem;

/// Products with every entry.
SymmetricOperator operator_of(Index n, const std::function<double(Index i, Index j)>& entry) {
    std::vector<double> G;
    for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < n; ++j) G.push_back(entry(i, j));
    return {MPI_COMM_WORLD, n, [n, G](const std::vector<double>& X, Index vectors) {
                std::vector<double> Y(X.size(), 0.0);
                for (Index i = 0; i < n; ++i)
                    for (Index j = 0; j < n; ++j)
                        for (Index v = 0; v < vectors; ++v)
                            Y[static_cast<std::size_t>(i * vectors + v)] +=
                                G[static_cast<std::size_t>(i * n + j)] *
                                X[static_cast<std::size_t>(j * vectors + v)];
                return Y;
            }};
}

/// H diag(w) H of the reflection H = I - (2/n) 1 1^T: a dense matrix of the eigenvalues w.
SymmetricOperator reflected(const std::vector<double>& w) {
    const auto n = static_cast<double>(w.size());
    const double sum = std::accumulate(w.begin(), w.end(), 0.0);
    return operator_of(std::ssize(w), [&](Index i, Index j) {
        const double a = w[static_cast<std::size_t>(i)], b = w[static_cast<std::size_t>(j)];
        return (i == j ? a : 0) - 2 / n * (a + b) + 4 / (n * n) * sum;
    });
}
template <class Value>
std::vector<double> values_of(Index n, Value&& value) {
    std::vector<double> w;
    for (Index k = 0; k < n; ++k) w.push_back(value(static_cast<double>(k)));
    return w;
}

/// Eigenvalues of both, and of simple ones the vectors.
/// @param basis  ARPACK's
/// @param norm   ||G||, where it is not that of the eigenvalues found
void expect_arpacks(const SymmetricOperator& G, Index k, Index basis, const LanczosSettings& settings = {},
                    double norm = 0) {
    const LeadingPairs ours = leading_pairs(G, k, settings);
    const ArpackPairs theirs = arpack_pairs(G, k, basis);
    const double largest = std::max({norm, std::abs(ours.values.front()), std::abs(ours.values.back())});
    // What leading_pairs() promises; ARPACK stops at 2^-53 of each eigenvalue, and its sums round.
    const auto n = static_cast<double>(G.rows);
    const double tolerance = (std::max(1e-12, 10 * n * 0x1p-52) + 10 * n * 0x1p-52) * largest;
    double worst = 0;
    for (std::size_t j = 0; j < ours.values.size(); ++j) {
        const double off = std::abs(ours.values[j] - theirs.values[j]);
        worst = !(off <= worst) ? off : worst;
    }
    EXPECT_TRUE(worst <= tolerance) << worst / largest << " of the largest, " << tolerance / largest;
    if (testing::world_rank() != 0) return;
    // sin(angle) <= residual / gap (Davis, Kahan), the gap to the other eigenvalues; of both together.
    for (Index j = 0; j + 1 < k; ++j) {
        const auto at = static_cast<std::size_t>(j);
        const double above = j == 0 ? INFINITY : ours.values[at - 1] - ours.values[at],
                     gap = std::min(above, ours.values[at] - ours.values[at + 1]) - 2 * tolerance;
        const double* const v = ours.vectors.data() + j * G.rows;
        const double* const u = theirs.vectors.data() + j * G.rows;
        const double cosine = std::inner_product(v, v + G.rows, u, 0.0);
        double square = 0;
        for (Index i = 0; i < G.rows; ++i) square += std::pow(v[i] - cosine * u[i], 2);
        EXPECT_TRUE(gap <= 0 || std::sqrt(square) <= 2 * tolerance / gap)
            << "vector " << j << ": " << std::sqrt(square) << ", " << 2 * tolerance / gap;
    }
}

// The whole Krylov space: only so does a method of single vectors find every copy.
TEST(Arpack, AgreesOnMultipleEigenvalues) {
    for (const char* const name : {"K x I", "every example twice", "seven equal ones", "five kinds, rank 5",
                                   "identity", "graded", "diagonal of both signs"})
        for (const Index k : {1, 8, 35}) {
            SCOPED_TRACE(std::string(name) + ", k = " + std::to_string(k));
            const testing::Known& known = known_matrix(name);
            expect_arpacks(operator_of(60, [&](Index i, Index j) { return known.entry(60, i, j); }), k, 60,
                           {}, std::abs(testing::descending_eigenvalues(known, 60).back()));
        }
}

// Restarted, both: powers and exponentials, clusters of five whose members differ by 1e-7, 300 orders.
TEST(Arpack, AgreesOnSpectraThatFallAndCluster) {
    constexpr Index n = 160;
    const LanczosSettings restarted{4, 44};
    const std::vector<std::vector<double>> spectra{
        values_of(n, [](double k) { return std::pow(k + 1, -1.5); }),
        values_of(n, [](double k) { return std::exp(-k / 5); }),
        values_of(n, [](double k) { return 1 / (1 + std::floor(k / 5)) + 1e-7 * (5 - std::fmod(k, 5)); }),
        values_of(n, [](double k) { return std::pow(10, -300 * k / n); }),
        values_of(n, [](double k) { return k < 30 ? -1 / (1 + k) : 1e-3 * (n - k); })};
    for (std::size_t s = 0; s < spectra.size(); ++s) {
        SCOPED_TRACE("spectrum " + std::to_string(s));
        const double least = std::abs(std::ranges::min(spectra[s]));
        expect_arpacks(reflected(spectra[s]), 10, 40, restarted, least);
        expect_arpacks(reflected(spectra[s]), 10, 40, {}, least);
    }
}

// J (J^T x) of a network, as matrix = "free" has it: gradients of float32 and of float64, the operator's own
// sums on both sides.
TEST(Arpack, AgreesOnTheJacobianOperator) {
    std::vector<Problem> problems{{.parameters = {"attention"}},
                                  {.output = KernelOutput::logits},
                                  {.model = "llama-tied", .output = KernelOutput::trace}};
    for (Problem& problem : problems) {
        SCOPED_TRACE(std::string(problem.model) + " " + name(problem.output));
        problem.examples = problem.output == KernelOutput::logits ? 20 : 40;
        const auto judge = [](auto& J) {
            const SymmetricOperator G{
                MPI_COMM_WORLD, J.rows(),
                [&](const std::vector<double>& X, Index vectors) { return J.product(X, vectors); }};
            expect_arpacks(G, 8, 28);
        };
        testing::with_operator<float>(problem, MPI_COMM_WORLD, judge);
        testing::with_operator<double>(problem, MPI_COMM_WORLD, judge);
    }
}

}  // namespace
}  // namespace tangram
