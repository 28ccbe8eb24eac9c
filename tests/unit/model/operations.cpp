#include "../src/model/operations.hpp"

#include <gtest/gtest.h>

namespace tangram {
namespace {

/// The bits of a row or a head, at odd widths: alone, at any place, with any neighbours (here NaN).
template <class Real>
class Operations : public ::testing::Test {
  protected:
    static constexpr Real nan = std::numeric_limits<Real>::quiet_NaN();

    static std::vector<Real> numbers(Index count, double seed) {
        std::vector<Real> x(static_cast<std::size_t>(count));
        for (std::size_t i = 0; i < x.size(); ++i)
            x[i] =
                static_cast<Real>(std::sin(seed + 0.7310585786300049 * static_cast<double>(i * (i + 1) / 2)));
        return x;
    }
    static std::vector<Real> not_numbers(Index count) {
        return std::vector<Real>(static_cast<std::size_t>(count), nan);
    }
};

using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Operations, Reals);

TYPED_TEST(Operations, LinearIsOneChainOfFusedSumsInEveryRow) {
    using Real = TypeParam;
    operations::Buffer<Real> scratch;
    for (const auto& [d_out, d_in] : {std::pair<Index, Index>{1, 1},
                                      {7, 33},
                                      {33, 7},
                                      {172, 64},
                                      {64, 172},
                                      {40, 24},
                                      {33, 300},
                                      {20, 513},
                                      {8, 256},
                                      {129, 5}}) {
        const std::vector<Real> weight = this->numbers(d_out * d_in, 1), x = this->numbers(d_in, 2),
                                bias = this->numbers(d_out, 3), dy = this->numbers(d_out, 4),
                                before = this->numbers(d_in, 5);
        std::vector<Real> y = bias, dx = before;
        for (Index o = 0; o < d_out; ++o)
            for (Index i = 0; i < d_in; ++i) {
                auto& sum = y[static_cast<std::size_t>(o)];
                sum = std::fma(x[static_cast<std::size_t>(i)], weight[static_cast<std::size_t>(o * d_in + i)],
                               sum);
            }
        for (Index i = 0; i < d_in; ++i)
            for (Index o = 0; o < d_out; ++o) {
                auto& sum = dx[static_cast<std::size_t>(i)];
                sum = std::fma(dy[static_cast<std::size_t>(o)],
                               weight[static_cast<std::size_t>(o * d_in + i)], sum);
            }
        for (const Index rows : {1, 2, 5, 8, 19})
            for (Index place = 0; place < rows; ++place) {
                std::vector<Real> in = this->not_numbers(rows * d_in), out = this->not_numbers(rows * d_out);
                std::copy(x.begin(), x.end(), in.begin() + place * d_in);
                const StoredMatrix W{reinterpret_cast<const std::byte*>(weight.data()), dtype_of<Real>, d_in,
                                     1};
                operations::linear(in.data(), rows, W, d_out, d_in, {bias.data(), 0}, out.data(), scratch);
                ASSERT_TRUE(std::equal(y.begin(), y.end(), out.begin() + place * d_out))
                    << d_out << " x " << d_in << ", row " << place << " of " << rows;
                std::copy(dy.begin(), dy.end(), out.begin() + place * d_out);
                std::copy(before.begin(), before.end(), in.begin() + place * d_in);
                operations::linear(out.data(), rows, W.transposed(), d_in, d_out, {in.data(), d_in},
                                   in.data(), scratch);
                ASSERT_TRUE(std::equal(dx.begin(), dx.end(), in.begin() + place * d_in))
                    << d_out << " x " << d_in << " backward, row " << place << " of " << rows;
            }
    }
}

TYPED_TEST(Operations, AHeadHasTheSameBitsAmongAnyNeighbours) {
    using Real = TypeParam;
    operations::HeadScratch<Real> scratch;
    struct Kind {
        Index window;
        bool causal;
        Real cap;
    };
    for (const Index size : {1, 7, 8, 33})
        for (const Index keys : {1, 7, 33, 50})
            for (const Kind& kind : {Kind{keys, true, 0}, {3, true, 0}, {3, false, Real(0.2)}})
                for (const bool read_only : {false, true}) {
                    const Index queries = read_only ? 1 : keys;
                    const auto q = this->numbers(queries * size, 1), k = this->numbers(keys * size, 2),
                               v = this->numbers(keys * size, 3), dy = this->numbers(queries * size, 4);
                    /// out, dq, dk, dv of the head that stands at `place` in rows of `stride` entries.
                    const auto run = [&](Index stride, Index place, operations::Mode mode) {
                        const auto spread = [&](const std::vector<Real>& rows, Real before) {
                            const Index count = std::ssize(rows) / size;
                            std::vector<Real> wide(static_cast<std::size_t>(count * stride), this->nan);
                            for (Index r = 0; r < count; ++r)
                                for (Index i = 0; i < size; ++i)
                                    wide[static_cast<std::size_t>(r * stride + place + i)] =
                                        before * rows[static_cast<std::size_t>(r * size + i)];
                            return wide;
                        };
                        const operations::Head<Real> head{
                            queries,     keys,    size,   read_only ? keys - 1 : 0,
                            kind.window, stride,  stride, Real(0.37),
                            kind.causal, kind.cap};
                        const auto wide_q = spread(q, 1), wide_k = spread(k, 1), wide_v = spread(v, 1),
                                   wide_dy = spread(dy, 1);
                        for (auto* const buffer : {&scratch.transposed, &scratch.packed, &scratch.weights,
                                                   &scratch.slopes, &scratch.cap_slopes})
                            std::fill(buffer->entries.begin(), buffer->entries.end(), this->nan);
                        std::vector<Real> results[] = {spread(q, this->nan), spread(q, 0), spread(k, 0),
                                                       spread(v, 0)};
                        Real* const at[] = {results[0].data() + place, results[1].data() + place,
                                            results[2].data() + place, results[3].data() + place};
                        operations::attention_forward(head, wide_q.data() + place, wide_k.data() + place,
                                                      wide_v.data() + place, at[0], scratch);
                        operations::attention_backward(head, wide_q.data() + place, wide_k.data() + place,
                                                       wide_v.data() + place, wide_dy.data() + place,
                                                       {mode, mode, mode}, at[1], at[2], at[3], scratch);
                        std::vector<Real> together;
                        for (const auto& result : results) {
                            const Index rows = std::ssize(result) / stride;
                            for (Index r = 0; r < rows; ++r)
                                for (Index i = 0; i < stride; ++i) {
                                    const Real entry = result[static_cast<std::size_t>(r * stride + i)];
                                    if (i >= place && i < place + size)
                                        together.push_back(entry);
                                    else
                                        EXPECT_TRUE(std::isnan(entry)) << "a neighbour was written";
                                }
                        }
                        return together;
                    };
                    const auto alone = run(size, 0, operations::Mode::assign);
                    for (const Real entry : alone) ASSERT_TRUE(std::isfinite(entry));
                    EXPECT_EQ(alone, run(size + 40, 3, operations::Mode::assign));
                    EXPECT_EQ(alone, run(3 * size, size, operations::Mode::add));
                }
}

TYPED_TEST(Operations, AttentionIsThatOfTheFormula) {
    using Real = TypeParam;
    constexpr Index size = 5, keys = 19;
    const auto q = this->numbers(keys * size, 1), k = this->numbers(keys * size, 2),
               v = this->numbers(keys * size, 3);
    operations::HeadScratch<Real> scratch;
    for (const bool causal : {true, false})
        for (const Index window : {Index{1}, Index{4}, keys})
            for (const double cap : {0.0, 0.3}) {
                const operations::Head<Real> head{keys, keys, size,      0,      window,
                                                  size, size, Real(0.8), causal, static_cast<Real>(cap)};
                std::vector<Real> out(q.size());
                operations::attention_forward(head, q.data(), k.data(), v.data(), out.data(), scratch);
                for (Index i = 0; i < keys; ++i) {
                    std::vector<long double> expected(size, 0);
                    long double total = 0;
                    for (Index j = 0; j < keys; ++j) {
                        const Index apart = i - j;
                        if (causal ? apart < 0 || apart >= window : apart > window || -apart > window)
                            continue;
                        long double score = 0;
                        for (Index d = 0; d < size; ++d)
                            score += static_cast<long double>(q[static_cast<std::size_t>(i * size + d)]) *
                                     static_cast<long double>(k[static_cast<std::size_t>(j * size + d)]);
                        score *= 0.8L;
                        if (cap > 0) score = cap * std::tanh(score / cap);
                        total += std::exp(score);
                        for (Index d = 0; d < size; ++d)
                            expected[static_cast<std::size_t>(d)] +=
                                std::exp(score) *
                                static_cast<long double>(v[static_cast<std::size_t>(j * size + d)]);
                    }
                    // A few roundings of numbers up to one.
                    for (Index d = 0; d < size; ++d)
                        EXPECT_NEAR(static_cast<double>(out[static_cast<std::size_t>(i * size + d)]),
                                    static_cast<double>(expected[static_cast<std::size_t>(d)] / total),
                                    20.0 * static_cast<double>(std::numeric_limits<Real>::epsilon()))
                            << "query " << i << " window " << window << " cap " << cap;
                }
            }
}

TYPED_TEST(Operations, NormsAndActivationsTreatRowsAlone) {
    using Real = TypeParam;
    operations::Buffer<Real> scratch;
    for (const Index n : {1, 7, 33, 172}) {
        const auto x = this->numbers(n, 1), w = this->numbers(n, 2), dy = this->numbers(n, 3);
        std::vector<Real> first;
        for (const Index place : {0, 1, 5, 16}) {
            std::vector<Real> in = this->not_numbers(n + 32), dx = in, y = in, slope = in;
            std::copy(x.begin(), x.end(), in.begin() + place);
            std::vector<Real> found;
            for (const bool centred : {false, true}) {
                const auto s = centred
                                   ? operations::layer_norm_statistics(in.data() + place, n, 1e-5, scratch)
                                   : operations::rms_norm_statistics(in.data() + place, n, 1e-5);
                operations::norm_backward(in.data() + place, w.data(), dy.data(), s, centred, n,
                                          operations::Mode::assign, dx.data() + place, scratch);
                found.insert(found.end(), {s.mean, s.inverse});
                found.insert(found.end(), dx.begin() + place, dx.begin() + place + n);
            }
            for (const Activation f : {Activation::silu, Activation::gelu_new}) {
                operations::activate(f, n, in.data() + place, y.data() + place, slope.data() + place);
                found.insert(found.end(), y.begin() + place, y.begin() + place + n);
                found.insert(found.end(), slope.begin() + place, slope.begin() + place + n);
            }
            for (const Real entry : found) ASSERT_TRUE(std::isfinite(entry));
            if (first.empty()) first = found;
            EXPECT_EQ(first, found) << n << " entries at " << place;
        }
    }
}

}  // namespace
}  // namespace tangram
