#include "tangram/model/token_softmax.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tangram/arithmetic.hpp"
#include "tangram/random.hpp"

namespace tangram {
namespace {

/// A vocabulary of two whole blocks and some tokens, and more rows than go along at once.
constexpr Index vocabulary = 2 * arithmetic::vocabulary_block + 77, width = 3, rows = 37;

std::vector<double> drawn(std::uint64_t seed, Index count) {
    std::vector<double> values;
    for (Index i = 0; i < count; ++i) values.push_back(random::normal(seed, i));
    return values;
}

TEST(TokenSoftmax, AgreesWithItsDefinitionOverSeveralBlocks) {
    const std::vector<double> table = drawn(1, vocabulary * width), features = drawn(2, rows * width);
    std::vector<std::int32_t> tokens;
    std::vector<double> scales;
    for (Index r = 0; r < rows; ++r) {
        tokens.push_back(static_cast<std::int32_t>(r * 1000 % vocabulary));
        scales.push_back(r % 3 == 0 ? -1.0 : 0.5);
    }
    const TokenSoftmax<double> softmax(
        {reinterpret_cast<const std::byte*>(table.data()), DType::F64, width, 1}, vocabulary, width);
    std::vector<double> log_p(rows, NAN), partitions(rows, NAN), by_features(rows * width, 1.0),
        anew(rows * width, NAN), slopes(rows * 200, NAN);
    softmax.log_probabilities(features.data(), tokens, log_p.data(), partitions.data());
    softmax.feature_slopes(features.data(), tokens, scales, partitions.data(), true, by_features.data());
    softmax.feature_slopes(features.data(), tokens, scales, partitions.data(), false, anew.data());
    // Over the end of the first block.
    const RowRange some{arithmetic::vocabulary_block - 100, arithmetic::vocabulary_block + 100};
    softmax.slopes(features.data(), tokens, scales, partitions.data(), some, slopes.data());
    // Sums of some 10^4 terms of size one, rounded in float64 here and in long double there.
    constexpr double tolerance = 1e-12;
    for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r) {
        std::vector<long double> z(static_cast<std::size_t>(vocabulary), 0.0L);
        long double sum = 0, expected[width] = {};
        for (std::size_t v = 0; v < z.size(); ++v) {
            for (std::size_t i = 0; i < 3; ++i)
                z[v] += static_cast<long double>(features[3 * r + i]) * table[3 * v + i];
            sum += std::exp(z[v]);
        }
        const auto token = static_cast<std::size_t>(tokens[r]);
        EXPECT_NEAR(log_p[r], static_cast<double>(z[token] - std::log(sum)), tolerance);
        EXPECT_NEAR(partitions[r], static_cast<double>(std::log(sum)), tolerance);
        for (std::size_t v = 0; v < z.size(); ++v) {
            const long double slope = scales[r] * ((v == token ? 1.0L : 0.0L) - std::exp(z[v]) / sum);
            for (std::size_t i = 0; i < 3; ++i) expected[i] += slope * table[3 * v + i];
            const Index column = static_cast<Index>(v) - some.first;
            if (column < 0 || column >= 200) continue;
            EXPECT_NEAR(slopes[200 * r + static_cast<std::size_t>(column)], static_cast<double>(slope),
                        tolerance);
        }
        for (std::size_t i = 0; i < 3; ++i) {
            EXPECT_NEAR(anew[3 * r + i], static_cast<double>(expected[i]), tolerance);
            EXPECT_NEAR(by_features[3 * r + i], 1 + static_cast<double>(expected[i]), tolerance);
        }
    }
}

}  // namespace
}  // namespace tangram
