#include "tangram/rates/sample_bias.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "unit/rates/gaussian_sample.hpp"
#include "unit/rates/normal.hpp"
#include "unit/rates/symmetric_eigenpairs.hpp"

namespace tangram {
namespace {

using testing::Normal;

std::vector<Index> ranks_up_to(Index last) {
    std::vector<Index> ranks(static_cast<std::size_t>(last));
    std::iota(ranks.begin(), ranks.end(), Index{1});
    return ranks;
}

TEST(SampleBias, IsThatOfGaussianSamples) {
    // Mean levels of 16 samples of n = 400: one varies by sqrt(2/n) = 7 % at a spike, the mean by 1.8 %, less
    // beyond; at a = 1.05 the levels at rank 20 lie 35 % above the law's, and the first order in 1/n says 60
    // %.
    const Index n = 400;
    for (const double a : {1.05, 2.0}) {
        const testing::Population truth = testing::power_law_population(600, a);
        std::vector<double> mean(20, 0.0);
        Normal normal(31);
        for (int draw = 0; draw < 16; ++draw) {
            const std::vector<double> l = testing::spectrum(testing::gaussian_gram(truth, n, normal));
            for (std::size_t k = 0; k < 20; ++k) mean[k] += std::log(l[k]) / 16;
        }
        double behind = truth.rest;
        for (std::size_t k = 30; k < 600; ++k) behind += truth.leading[k];
        const auto law = [&](double k) { return -a * std::log(k); };
        const Population population = population_of(law, {}, 30, behind, n);
        const std::vector<RankBias> found = sample_bias(population, n, ranks_up_to(24));
        ASSERT_EQ(found.size(), 24u);
        for (std::size_t k = 4; k < 20; ++k) {
            // The level whose rank is k + 1, between its neighbours'.
            std::size_t i = 0;
            while (found[i + 1].rank < static_cast<double>(k + 1)) ++i;
            const auto level = [&](std::size_t j) { return law(static_cast<double>(j + 1)) + found[j].bias; };
            const double share =
                (static_cast<double>(k + 1) - found[i].rank) / (found[i + 1].rank - found[i].rank);
            EXPECT_NEAR(level(i) + share * (level(i + 1) - level(i)), mean[k], 0.05) << a << " " << k + 1;
        }
        if (a < 1.5) {
            EXPECT_GT(mean[19] - law(20), 0.25);
        }
    }
}

TEST(SampleBias, KeepsTheTraceAndKnowsNoScale) {
    const auto law = [](double k) { return -1.2 * std::log(k); };
    const Population one = population_of(law, {}, 20, 3.0, 400);
    double trace = one.rest;
    for (std::size_t j = 0; j < one.values.size(); ++j) trace += one.values[j] * one.counts[j];
    double leading = 0;
    for (int k = 1; k <= 20; ++k) leading += std::pow(k, -1.2);
    EXPECT_NEAR(trace, leading + 3.0, 1e-12);
    // So few behind that the law has too many.
    const Population fewer = population_of(law, {}, 20, 1.0, 400);
    trace = 0;
    for (std::size_t j = 0; j < fewer.values.size(); ++j) trace += fewer.values[j] * fewer.counts[j];
    EXPECT_EQ(fewer.rest, 0);
    EXPECT_NEAR(trace, leading + 1.0, 1e-12);
    const auto scaled_law = [&](double k) { return law(k) + std::log(1e9); };
    const auto ranks = ranks_up_to(25);
    const std::vector<RankBias> plain = sample_bias(one, 400, ranks),
                                scaled = sample_bias(population_of(scaled_law, {}, 20, 3e9, 400), 400, ranks);
    for (std::size_t i = 0; i < ranks.size(); ++i) {
        EXPECT_NEAR(scaled[i].bias, plain[i].bias, 1e-10);
        EXPECT_NEAR(scaled[i].rank, plain[i].rank, 1e-8);
    }
    // A spike alone: l = lam (1 + (1/n) sum of the others over their distance), here to 1/n of itself.
    const Population spike{{1.0, 0.01}, {1, 5000}, 0};
    EXPECT_NEAR(sample_bias(spike, 1000, std::vector<Index>{1}).front().bias, std::log1p(50 / 0.99 / 1000),
                2e-3);
    EXPECT_TRUE(population_of([](double) { return 0.0; }, {}, 20, std::nullopt, 400).values.empty());
}

}  // namespace
}  // namespace tangram
