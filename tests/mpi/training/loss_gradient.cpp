#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "mpi/training/problem.hpp"
#include "tangram/jacobian/jacobian_factors.hpp"
#include "tangram/training/parts.hpp"

namespace tangram {
namespace {

using testing::all_of;
using testing::Case;
using testing::distance;
using testing::gradient_of_batch;
using testing::norm;
using testing::Problem;

const Case gradient_cases[] = {{"neo-odd", KernelOutput::margin, Loss::squared},
                               {"neo-odd", KernelOutput::logits, Loss::cross_entropy},
                               {"llama-tied", KernelOutput::margin, Loss::cross_entropy},
                               {"qwen2-odd", KernelOutput::logits, Loss::squared, 23},
                               {"gpt2-odd", KernelOutput::margin, Loss::squared, 23},
                               {"neox-parallel", KernelOutput::margin, Loss::squared, 23},
                               {"bert-odd", KernelOutput::logits, Loss::squared, 23}};

/// Sum over examples and rows of the loss's slope times the row's gradient, from the Jacobian's factors.
template <class Real>
std::vector<double> from_jacobian(Problem<Real>& problem) {
    const KernelOutputs outputs(problem.targets.output, problem.network.labels());
    const JacobianFactors<Real> jacobian(problem.network, problem.data, all_of(problem.data), outputs,
                                         problem.parameters.parameters);
    const auto rows_per_example = static_cast<std::size_t>(problem.targets.rows()),
               labels = static_cast<std::size_t>(problem.network.labels());
    std::vector<double> sum(static_cast<std::size_t>(problem.parameters.size()), 0.0), rows(rows_per_example),
        slopes(rows);
    for (Index e = 0; e < problem.data.examples(); ++e) {
        rows_of_logits(problem.targets.output,
                       std::span(jacobian.logits()).subspan(static_cast<std::size_t>(e) * labels, labels),
                       rows);
        loss_of_example(problem.loss, problem.targets, e, rows, slopes);
        for (std::size_t p = 0; p < problem.parameters.parameters.size(); ++p) {
            const Index first = problem.parameters.offsets[p],
                        size = problem.parameters.offsets[p + 1] - first;
            std::vector<Real> g(static_cast<std::size_t>(size));
            for (std::size_t r = 0; r < rows_per_example; ++r) {
                jacobian.multiply_out(problem.parameters.parameters[p], 0, size, e, static_cast<Index>(r),
                                      g.data());
                for (std::size_t i = 0; i < g.size(); ++i)
                    sum[static_cast<std::size_t>(first) + i] +=
                        slopes[r] * static_cast<double>(g[i]) / static_cast<double>(problem.data.examples());
            }
        }
    }
    return sum;
}

TEST(LossGradient, IsTheSumOfTheExamplesGradients) {
    for (const Case& of : gradient_cases) {
        SCOPED_TRACE(of.model);
        Problem<double> exact(of);
        std::vector<double> found, found_single;
        exact(all_of(exact.data), found);
        const std::vector<double> expected = from_jacobian(exact);
        // Sums of a few hundred terms, rounded once each: 8e-16 of the norm was seen.
        EXPECT_TRUE(distance(found, expected) <= 1e-14 * norm(expected)) << distance(found, expected);
        for (std::size_t p = 0; p < exact.parameters.parameters.size(); ++p)
            for (const auto& [first, last] :
                 exact.network.program().parameters()[exact.parameters.parameters[p]].idle)
                for (Index i = first; i < last; ++i)
                    EXPECT_EQ(found[static_cast<std::size_t>(exact.parameters.offsets[p] + i)], 0.0);
        Problem<float> single(of);
        single(all_of(single.data), found_single);
        // Passes in float32: the same, 2^29 times as coarse.
        EXPECT_TRUE(distance(found_single, expected) <= 1e-5 * norm(expected))
            << distance(found_single, expected);
    }
}

TEST(LossGradient, TakesPartsOfSeveralBlocksOfManyTokens) {
    // Each of the 64 parts is 17 examples: a block of more tokens than one chain takes, and another.
    Problem<double> problem(gradient_cases[0], 20, 40);
    std::vector<Index> batch;
    for (Index e = 0; e < 64 * 17 - 8; ++e) batch.push_back(e % 20);
    std::vector<double> found;
    problem(batch, found);
    const std::vector<double> expected = from_jacobian(problem);
    EXPECT_TRUE(distance(found, expected) <= 1e-14 * norm(expected)) << distance(found, expected);
}

TEST(LossGradient, AgreesWithCentralDifferencesOfTheLoss) {
    for (const Case& of : gradient_cases) {
        SCOPED_TRACE(of.model);
        Problem<double> problem(of);
        const std::vector<Index> batch{5, 0, 36, 11, 12, 13, 20, 21, 22, 23, 24};
        std::vector<double> gradient;
        const double loss = problem(batch, gradient);
        EXPECT_NEAR(loss, problem.loss_of(batch), 1e-14 * std::abs(loss));
        // Along a direction in which every weight takes part.
        const auto shift = [&](double step) {
            for (std::size_t p = 0; p < problem.parameters.parameters.size(); ++p) {
                const auto weights = problem.network.weights(problem.parameters.parameters[p]);
                for (std::size_t i = 0; i < weights.size(); ++i)
                    weights[i] += step * std::cos(static_cast<double>(problem.parameters.offsets[p]) +
                                                  0.37 * static_cast<double>(i));
            }
        };
        double expected = 0;
        for (std::size_t p = 0; p < problem.parameters.parameters.size(); ++p)
            for (Index i = problem.parameters.offsets[p]; i < problem.parameters.offsets[p + 1]; ++i)
                expected += gradient[static_cast<std::size_t>(i)] *
                            std::cos(static_cast<double>(problem.parameters.offsets[p]) +
                                     0.37 * static_cast<double>(i - problem.parameters.offsets[p]));
        const double h = 1e-5;
        shift(h);
        const double up = problem.loss_of(batch);
        shift(-2 * h);
        const double found = (up - problem.loss_of(batch)) / (2 * h);
        // Third derivatives times h^2, and rounding 1e-16 / h: 3e-8 was seen.
        EXPECT_NEAR(found, expected, 1e-6 * norm(gradient)) << of.model;
    }
}

TEST(LossGradient, DealsABatchToPartsOfAboutAsManyTokens) {
    const DataSet data = testing::made_up(600, 50, 2, 40);
    for (const Index examples : {1, 9, 33, 64, 600}) {
        const Index parts = gradient_parts(examples);
        std::vector<Index> batch = all_of(data);
        batch.resize(static_cast<std::size_t>(examples));
        std::vector<Index> dealt = dealt_to_parts(data, batch);
        std::vector<std::size_t> tokens;
        for (Index part = 0; part < parts; ++part) {
            tokens.push_back(0);
            for (Index i = first_of_part(part, examples); i < first_of_part(part + 1, examples); ++i)
                tokens.back() += data.tokens(dealt[static_cast<std::size_t>(i)]).size();
        }
        // An example goes where there are fewest: parts differ by less than the longest. In the batch's order
        // those of 33 examples and more differ by several.
        const auto [least, most] = std::ranges::minmax(tokens);
        EXPECT_LE(most - least, 40u) << examples;
        std::ranges::sort(dealt);
        EXPECT_EQ(dealt, batch);
    }
}

TEST(LossGradient, HasTheSameBitsOnAnyNumberOfRanksAndThreads) {
    for (const Case& of : {gradient_cases[0], gradient_cases[3]})
        for (const Index examples : {3, 37, 300}) {
            Problem<float> problem(of, examples);
            std::vector<Index> batch = all_of(problem.data);
            std::ranges::reverse(batch);
            std::vector<double> together, alone;
            LossGradient<float> gradient(problem.network, problem.data, problem.targets, problem.loss,
                                         problem.parameters, MPI_COMM_WORLD);
            const double loss = gradient_of_batch(gradient, batch, together);
            EXPECT_EQ(loss, problem(batch, alone, MPI_COMM_SELF));
            EXPECT_ON_ALL_RANKS(together == alone) << examples;
            // And again, with memory that was used before.
            gradient_of_batch(gradient, batch, together);
            EXPECT_ON_ALL_RANKS(together == alone) << examples;
            // With more threads than there are pairs of parts on a rank, and with fewer.
            const int threads = omp_get_max_threads();
            for (const int more : {2, 5}) {
                if (examples > 40) break;
                omp_set_num_threads(more);
                std::vector<double> threaded;
                EXPECT_EQ(loss, problem(batch, threaded, MPI_COMM_SELF));
                EXPECT_ON_ALL_RANKS(threaded == alone) << examples << " on " << more << " threads";
            }
            omp_set_num_threads(threads);
            EXPECT_EQ(logits_of(problem.network, problem.data, MPI_COMM_WORLD),
                      logits_of(problem.network, problem.data, MPI_COMM_SELF));
        }
}

TEST(LossGradient, AddsPartsOfSeveralChainsInTheOrderOfTheTreeWhetherTheyShareABlockOrNot) {
    // In float64, whose sums round: those of float32 are nearly all exact.
    Problem<double> problem(gradient_cases[0], 37, 40);
    std::vector<Index> by_length = all_of(problem.data), batch;
    std::ranges::sort(by_length, std::ranges::greater(),
                      [&](Index example) { return problem.data.tokens(example).size(); });
    ASSERT_GT(8 * problem.data.tokens(by_length[4]).size(), 256u);  // of the least part
    for (std::size_t i = 0; i < 80; ++i) batch.push_back(by_length[i % 5]);
    std::vector<double> in_pairs, apart, of_ranks;
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    problem(batch, in_pairs, MPI_COMM_SELF);
    omp_set_num_threads(6);  // of ten parts
    problem(batch, apart, MPI_COMM_SELF);
    omp_set_num_threads(threads);
    problem(batch, of_ranks);
    EXPECT_ON_ALL_RANKS(apart == in_pairs);
    EXPECT_ON_ALL_RANKS(of_ranks == in_pairs);
}

}  // namespace
}  // namespace tangram
