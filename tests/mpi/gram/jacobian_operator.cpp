#include "tangram/gram/jacobian_operator.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "mpi/gram/problem.hpp"

namespace tangram {
namespace {

using namespace testing;

/// Largest |GX - G X| over the norms of what is summed, and of the diagonal over G_ii.
void expect_products_of(const std::vector<double>& G, const Products& found, Index vectors,
                        double tolerance) {
    const auto n = static_cast<std::size_t>(std::ssize(found.X) / vectors),
               b = static_cast<std::size_t>(vectors);
    ASSERT_EQ(G.size(), n * n);
    ASSERT_EQ(found.GX.size(), n * b);
    ASSERT_EQ(found.squares.diagonal.size(), n);
    double worst = 0, trace = 0;
    for (std::size_t i = 0; i < n; ++i) {
        trace += G[i + i * n];
        const double error = std::abs(found.squares.diagonal[i] - G[i + i * n]) / G[i + i * n];
        worst = !(error <= worst) && G[i + i * n] > 0 ? error : worst;
        for (std::size_t v = 0; v < b; ++v) {
            long double sum = 0, scale = 0;
            for (std::size_t j = 0; j < n; ++j) {
                sum += static_cast<long double>(G[i + j * n]) * found.X[j * b + v];
                scale += std::sqrt(G[i + i * n] * G[j + j * n]) * std::abs(found.X[j * b + v]);
            }
            const auto off = static_cast<double>(std::abs(sum - found.GX[i * b + v]) / scale);
            worst = !(off <= worst) ? off : worst;
        }
    }
    EXPECT_TRUE(worst <= tolerance) << worst;
    double of_parameters = 0;
    for (const double of_one : found.squares.traces) of_parameters += of_one;
    EXPECT_TRUE(std::abs(of_parameters - trace) <= tolerance * trace) << of_parameters << " " << trace;
}

/// Every kind of tensor, output and formula that has a Gram matrix.
/// @param fewer  what a naive product of all but the first takes little time for
std::vector<Problem> problems(bool fewer) {
    std::vector<Problem> all;
    for (const KernelOutput output : {KernelOutput::margin, KernelOutput::logits, KernelOutput::trace})
        all.push_back({.output = output});
    all.push_back({.model = "gpt2-odd", .vocabulary = 23});
    all.push_back({.output = KernelOutput::trace});
    all.back().formulas = {Formula::signgd};
    all.push_back({.model = "llama-tied", .output = KernelOutput::logits});
    all.back().answers = true;
    for (Problem& problem : all) {
        problem.examples = fewer ? 20 : problem.output == KernelOutput::logits ? 131 : 260;
        problem.test_examples = 2;
    }
    all[0].examples = 270;  // more than a unit, and ragged
    all[0].parameters = {"attention"};
    return all;
}

TEST(JacobianOperator, MultipliesAsTheNaiveGramMatrix) {
    for (const Problem& problem : problems(true)) {
        SCOPED_TRACE(std::string(problem.model) + " " + name(problem.output));
        const Whole expected = naive(problem, problem.formulas.front());
        // float64 throughout: rounding of some thousand terms.
        expect_products_of(expected.gram, products<double>(problem, MPI_COMM_WORLD, 3), 3, 1e-13);
        // Gradients rounded to float32 (signs are those of other gradients there).
        if (problem.formulas.front() == Formula::sgd)
            expect_products_of(expected.gram, products<float>(problem, MPI_COMM_WORLD, 9), 9, 3e-5);
    }
}

TEST(JacobianOperator, HasTheSameBitsOnAnyRanksAndInGroups) {
    std::vector<Problem> some = problems(false);
    std::erase_if(some,
                  [](const Problem& p) { return p.output == KernelOutput::margin && p.vocabulary == 50; });
    for (Problem& problem : some) {
        SCOPED_TRACE(std::string(problem.model) + " " + name(problem.output));
        const Products alone = products<float>(problem, MPI_COMM_SELF, 5);
        for (const double bytes : {problem.factor_bytes, 1e5}) {
            problem.factor_bytes = bytes;
            const Products found = products<float>(problem, MPI_COMM_WORLD, 5);
            EXPECT_TRUE(found.GX == alone.GX) << bytes;
            EXPECT_TRUE(found.squares.diagonal == alone.squares.diagonal) << bytes;
            EXPECT_TRUE(found.squares.traces == alone.squares.traces) << bytes;
            EXPECT_TRUE(found.squares.outputs == alone.squares.outputs) << bytes;
        }
    }
}

TEST(JacobianOperator, LeavesTheOutputsThatAnAssemblyLeaves) {
    Problem problem{.output = KernelOutput::logits, .examples = 140, .test_examples = 2};
    const Whole whole = compute<float>(problem, ProcessGrid::most_square(MPI_COMM_WORLD));
    std::vector<double> outputs = products<float>(problem, MPI_COMM_WORLD, 1).squares.outputs;
    ASSERT_LT(outputs.size(), whole.outputs.size());
    EXPECT_TRUE(std::equal(outputs.begin(), outputs.end(), whole.outputs.begin()));
}

TEST(JacobianOperator, CostsMoreInGroups) {
    const Problem problem{.examples = 270};
    const OperatorCost whole = planned_products(problem, 1), on_two = planned_products(problem, 2);
    EXPECT_EQ(whole.groups, 1);
    EXPECT_TRUE(on_two.factor_bytes < whole.factor_bytes && on_two.piece_bytes < whole.piece_bytes);
    EXPECT_EQ(whole.vector_flops, on_two.vector_flops);
    Problem in_groups = problem;
    in_groups.factor_bytes = 1e5;
    const OperatorCost cost = planned_products(in_groups, 1);
    EXPECT_TRUE(cost.groups > 1 && cost.factor_bytes < whole.factor_bytes);
    EXPECT_EQ(cost.pass_flops, static_cast<double>(cost.groups) * whole.pass_flops);
}

}  // namespace
}  // namespace tangram
