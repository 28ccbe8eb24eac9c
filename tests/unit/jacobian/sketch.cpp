#include "tangram/jacobian/sketch.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "support/model_fixture.hpp"
#include "support/unrecorded.hpp"
#include "tangram/jacobian/contraction.hpp"
#include "tangram/jacobian/factor_bytes.hpp"
#include "tangram/jacobian/jacobian_factors.hpp"

namespace tangram {
namespace {

using testing::ModelFixture;
using testing::test_data;

TEST(SketchShape, IsSquareWhereTheSidesAllowIt) {
    struct {
        Index d_out, d_in, k, out, in;
    } const cases[] = {
        {768, 768, 4096, 64, 64},  {768, 3072, 1000, 31, 32}, {3072, 64, 8192, 128, 64},
        {64, 3072, 8192, 64, 128}, {64, 64, 4095, 63, 64},    {64, 64, 4096, 64, 64},
        {64, 64, 9999, 64, 64},    {2, 50, 100, 2, 50},       {50, 2, 100, 50, 2},
        {50, 2, 99, 49, 2},        {768, 768, 1, 1, 1},       {768, 768, 3, 1, 3},
    };
    for (const auto& c : cases) {
        const SketchShape shape = sketch_shape(c.d_out, c.d_in, c.k);
        EXPECT_EQ(shape.out, c.out) << c.d_out << " " << c.d_in << " " << c.k;
        EXPECT_EQ(shape.in, c.in) << c.d_out << " " << c.d_in << " " << c.k;
    }
    for (Index d_out = 1; d_out < 30; d_out += 4)
        for (Index d_in = 1; d_in < 30; d_in += 3)
            for (Index k = 1; k < 1000; ++k) {
                const SketchShape shape = sketch_shape(d_out, d_in, k);
                ASSERT_TRUE(shape.out >= 1 && shape.out <= d_out && shape.in >= 1 && shape.in <= d_in);
                ASSERT_LE(shape.size(), k);
                ASSERT_TRUE(k < d_out * d_in || shape.size() == d_out * d_in);
            }
}

TEST(RandomSign, IsTheSameOnEveryMachine) {
    // From another implementation, in Python's integers.
    std::string signs;
    for (Index row = 0; row < 4; ++row)
        for (Index column = 0; column < 8; ++column)
            signs += random_sign(7, "h.0.weight", SketchSide::in, row, column) > 0 ? '+' : '-';
    EXPECT_EQ(signs, "-----++++--+-+-+----+++-++-----+");
}

TEST(RandomSign, IsBalancedAndDiffersBySeedTensorAndSide) {
    const auto sum_of_products = [](auto a, auto b) {
        int sum = 0;
        for (Index row = 0; row < 100; ++row)
            for (Index column = 0; column < 100; ++column) sum += a(row, column) * b(row, column);
        return sum;
    };
    const auto signs = [](std::uint64_t seed, const char* tensor, SketchSide side) {
        return [=](Index row, Index column) { return random_sign(seed, tensor, side, row, column); };
    };
    const auto first = signs(1, "a", SketchSide::out);
    const auto one = [](Index, Index) { return 1; };
    const auto turned = [&](Index row, Index column) { return first(column, row); };
    const auto next_row = [&](Index row, Index column) { return first(row + 1, column); };
    // Standard deviation of the sum of 10^4 signs: 100. Of the turned, those on the diagonal are equal.
    EXPECT_LE(std::abs(sum_of_products(first, one)), 500);
    EXPECT_LE(std::abs(sum_of_products(first, next_row)), 500);
    EXPECT_LE(std::abs(sum_of_products(first, turned) - 100), 800);
    EXPECT_LE(std::abs(sum_of_products(first, signs(2, "a", SketchSide::out))), 500);
    EXPECT_LE(std::abs(sum_of_products(first, signs(1, "b", SketchSide::out))), 500);
    EXPECT_LE(std::abs(sum_of_products(first, signs(1, "a", SketchSide::in))), 500);
}

/// The linear weights of a model, and its gradients whole and sketched.
struct Sketched {
    ModelFixture fixture;
    DataSet data;
    Network<double> network;
    std::vector<Index> examples;
    std::vector<ParameterId> linear;

    explicit Sketched(const std::string& model)
        : fixture{test_data() / "models" / model,
                  read_json(test_data() / "models" / model / "fixture.json", testing::Unrecorded())},
          data(fixture.data()),
          network(fixture.program(), Weights(fixture.folder, testing::Unrecorded()),
                  fixture.vocabulary_ids()),
          examples(static_cast<std::size_t>(data.examples())) {
        std::iota(examples.begin(), examples.end(), Index{0});
        const auto factors = factors_of(network.program());
        for (ParameterId p = 0; p < factors.size(); ++p)
            if (factors[p].size() == 1 && factors[p][0].kind == Factor::Kind::outer) linear.push_back(p);
    }
    JacobianFactors<double> factors(Sketch sketch) {
        return {network, data, examples, KernelOutputs(KernelOutput::logits, network.labels()),
                KeptParameters(linear, std::move(sketch))};
    }
    const Parameter& parameter(ParameterId p) { return network.program().parameters()[p]; }
};

std::vector<double> gradient(const JacobianFactors<double>& factors, Index size, ParameterId p, Index example,
                             Index pass) {
    std::vector<double> out(static_cast<std::size_t>(size), NAN);
    for (Index first = 0; first < size; first += 97)
        factors.multiply_out(p, first, std::min(size, first + 97), example, pass, out.data() + first);
    return out;
}

TEST(Sketch, GradientsAreThoseOfTheWholeOnesProjected) {
    for (const char* model : {"llama-odd", "neo-odd"}) {
        Sketched s(model);
        const auto whole = s.factors({});
        Index projected_sides = 0, whole_sides = 0;
        for (const Index k : {Index{1}, Index{30}, Index{500}}) {
            const Sketch sketch{k, 5, s.linear};
            const auto sketched = s.factors(sketch);
            for (const ParameterId p : s.linear) {
                const Index d_out = s.parameter(p).shape[0], d_in = s.parameter(p).shape[1];
                const SketchShape shape = sketch_shape(d_out, d_in, k);
                const auto matrix = [&](SketchSide side, Index d, Index count) {
                    std::vector<double> S;
                    for (Index row = 0; row < d; ++row)
                        for (Index column = 0; column < count; ++column)
                            S.push_back(count == d ? (row == column ? 1.0 : 0.0)
                                                   : random_sign(5, s.parameter(p).name, side, row, column) /
                                                         std::sqrt(static_cast<double>(count)));
                    return S;
                };
                const auto S_out = matrix(SketchSide::out, d_out, shape.out),
                           S_in = matrix(SketchSide::in, d_in, shape.in);
                (shape.out < d_out ? projected_sides : whole_sides) += 1;
                (shape.in < d_in ? projected_sides : whole_sides) += 1;
                for (const Index example : {Index{0}, s.data.examples() - 1}) {
                    const auto G = gradient(whole, s.parameter(p).size(), p, example, 1);
                    const auto found = gradient(sketched, shape.size(), p, example, 1);
                    double norm = 0;
                    for (const double g : G) norm += g * g;
                    for (Index a = 0; a < shape.out; ++a)
                        for (Index b = 0; b < shape.in; ++b) {
                            double sum = 0;
                            for (Index i = 0; i < d_out; ++i)
                                for (Index j = 0; j < d_in; ++j)
                                    sum += S_out[static_cast<std::size_t>(i * shape.out + a)] *
                                           G[static_cast<std::size_t>(i * d_in + j)] *
                                           S_in[static_cast<std::size_t>(j * shape.in + b)];
                            ASSERT_TRUE(std::abs(found[static_cast<std::size_t>(a * shape.in + b)] - sum) <=
                                        1e-12 * std::sqrt(norm))
                                << model << " " << s.parameter(p).name << " " << k;
                        }
                }
            }
        }
        EXPECT_GT(projected_sides, 10);
        EXPECT_GT(whole_sides, 2);
    }
}

TEST(Sketch, ProductsAreUnbiased) {
    Sketched s("neo-odd");
    const auto whole = s.factors({});
    constexpr int seeds = 1000;
    struct Statistics {
        long double exact = 0, sum = 0, squares = 0;
    };
    std::vector<Statistics> statistics;
    const auto product = [](const std::vector<double>& a, const std::vector<double>& b) {
        long double sum = 0;
        for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<long double>(a[i]) * b[i];
        return sum;
    };
    for (const ParameterId p : s.linear)
        statistics.push_back({product(gradient(whole, s.parameter(p).size(), p, 0, 0),
                                      gradient(whole, s.parameter(p).size(), p, 1, 0))});
    for (int seed = 0; seed < seeds; ++seed) {
        const auto sketched = s.factors({40, static_cast<std::uint64_t>(seed), s.linear});
        for (std::size_t i = 0; i < s.linear.size(); ++i) {
            const Parameter& parameter = s.parameter(s.linear[i]);
            const Index size = sketch_shape(parameter.shape[0], parameter.shape[1], 40).size();
            const long double error = product(gradient(sketched, size, s.linear[i], 0, 0),
                                              gradient(sketched, size, s.linear[i], 1, 0)) -
                                      statistics[i].exact;
            statistics[i].sum += error;
            statistics[i].squares += error * error;
        }
    }
    Index not_zero = 0;
    for (std::size_t i = 0; i < s.linear.size(); ++i) {
        const long double standard_error = std::sqrt(statistics[i].squares) / seeds;
        not_zero += standard_error > 0 ? 1 : 0;
        EXPECT_TRUE(std::abs(statistics[i].sum / seeds) <= 5 * standard_error)
            << s.parameter(s.linear[i]).name;
    }
    EXPECT_GT(not_zero, 5);
}

TEST(Sketch, TakesLinearWeightsWhoseFlopsItHalves) {
    Sketched s("neo-odd");
    std::vector<ParameterId> all(s.network.program().parameters().size());
    std::iota(all.begin(), all.end(), ParameterId{0});
    Index in_factors = 0;
    for (const double tokens : {1.0, 3.0, 12.0}) {
        const auto exact = choose_contractions(s.network.program(), all, tokens);
        for (const Index k : {Index{30}, Index{400}, Index{1600}}) {
            const auto chosen = choose_contractions(s.network.program(), all, tokens, k);
            Index sketched = 0;
            for (const ParameterId p : all) {
                const bool linear = std::find(s.linear.begin(), s.linear.end(), p) != s.linear.end();
                const std::vector<Index>& shape = s.parameter(p).shape;
                const bool takes =
                    linear && 4.0 * static_cast<double>(sketch_shape(shape[0], shape[1], k).size()) <=
                                  std::min(exact[p].multiplied_out, exact[p].in_factors);
                EXPECT_EQ(chosen[p].chosen, takes ? Contraction::sketched : exact[p].chosen)
                    << s.parameter(p).name;
                sketched += takes ? 1 : 0;
                in_factors += takes && exact[p].chosen == Contraction::factors ? 1 : 0;
            }
            if (tokens == 12) {
                EXPECT_EQ(sketched > 0, k < 1600);
            }
        }
    }
    EXPECT_GT(in_factors, 0);
    // 64 x 64 at one token: 8192 flops multiplied out, 2 (64 + 64) + 24 = 280 in factors; at four 4480.
    Program program;
    const Value in = program.embedding(program.parameter("table", {5, 64}, ParameterKind::embedding));
    const ParameterId weight = program.parameter("weight", {64, 64}, ParameterKind::mlp);
    program.label_logits(program.at_reads(program.linear(in, weight, std::nullopt)), 0);
    const auto choice = [&](double tokens, Index k) {
        return choose_contractions(program, {weight}, tokens, k).front().chosen;
    };
    EXPECT_EQ(choice(1, 64), Contraction::sketched);
    EXPECT_EQ(choice(1, 100), Contraction::factors);
    EXPECT_EQ(choice(4, 1024), Contraction::sketched);
    EXPECT_EQ(choice(4, 2048), Contraction::factors);
    EXPECT_EQ(choice(40, 2048), Contraction::sketched);
    EXPECT_EQ(choice(40, 3000), Contraction::multiply_out);
    EXPECT_EQ(name(Contraction::sketched), "sketch");
}

TEST(Sketch, TakesLessMemoryThanTheWholeFactors) {
    Sketched s("neo-odd");
    const auto bytes = [&](const Sketch& sketch) {
        return FactorBytes(s.network.program(), {{1000, 10000, 1000}, 1, 1, sizeof(double)}, sketch)
            .of(s.linear);
    };
    EXPECT_LT(bytes({16, 1, s.linear}), bytes({}) / 2);
    EXPECT_EQ(bytes({100000, 1, s.linear}), bytes({}));
}

}  // namespace
}  // namespace tangram
