#include "tangram/model/lora.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "support/expect_error.hpp"
#include "support/model_fixture.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"
#include "tangram/jacobian/jacobian_factors.hpp"
#include "tangram/jacobian/selection.hpp"

namespace tangram {
namespace {

using testing::ModelFixture;
using testing::test_data;

std::vector<ParameterId> linear_weights(const Program& program) {
    std::vector<ParameterId> ids;
    const auto factors = factors_of(program);
    for (ParameterId p = 0; p < factors.size(); ++p)
        if (factors[p].size() == 1 && factors[p].front().kind == Factor::Kind::outer) ids.push_back(p);
    return ids;
}

/// Rows x rows from gradients multiplied out whole.
template <class Real>
std::vector<double> kernel(const JacobianFactors<Real>& factors, const Program& program,
                           const std::vector<ParameterId>& parameters, Index outputs) {
    std::vector<std::vector<double>> J;
    for (Index e = 0; e < std::ssize(factors.examples()); ++e)
        for (Index c = 0; c < outputs; ++c) {
            J.emplace_back();
            for (const ParameterId p : parameters) {
                std::vector<Real> g(static_cast<std::size_t>(program.parameters()[p].size()));
                factors.multiply_out(p, 0, std::ssize(g), e, c, g.data());
                J.back().insert(J.back().end(), g.begin(), g.end());
            }
        }
    std::vector<double> G;
    for (const auto& a : J)
        for (const auto& b : J) G.push_back(std::inner_product(a.begin(), a.end(), b.begin(), 0.0));
    return G;
}

double relative_error(const std::vector<double>& found, const std::vector<double>& expected) {
    double difference = 0, norm = 0;
    EXPECT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
        difference += std::pow(found[i] - expected[i], 2);
        norm += expected[i] * expected[i];
    }
    return std::sqrt(difference / norm);
}

template <class Real>
void check_case(const nlohmann::json& given, double tolerance) {
    const auto folder = test_data() / "models" / given["model"].get<std::string>();
    const ModelFixture fixture{folder, read_json(folder / "fixture.json", testing::Unrecorded())};
    const Program base = fixture.program();
    const Program program = with_lora(base, linear_weights(base), given["rank"], given["alpha"]);
    const bool trained = given["trained"];
    const Weights weights(folder, testing::Unrecorded());
    InitialWeights source{.file = &weights};
    std::vector<ParameterId> parameters;
    for (ParameterId p = 0; p < program.parameters().size(); ++p) {
        const Parameter& parameter = program.parameters()[p];
        if (!is_lora(parameter)) continue;
        if (trained || is_lora_b(parameter)) parameters.push_back(p);
        const std::string module = parameter.name.substr(0, parameter.name.rfind(".lora_")) + ".weight";
        const nlohmann::json& values = given[is_lora_b(parameter) ? "B" : "A"];
        if (values.contains(module)) source.given[parameter.name] = values[module].get<std::vector<double>>();
    }
    const DataSet all = fixture.data();
    Network<Real> network(program, source, fixture.vocabulary_ids());
    const std::size_t examples = given["outputs"].size();
    std::vector<Index> chosen(examples);
    std::iota(chosen.begin(), chosen.end(), Index{0});
    const JacobianFactors<Real> factors(network, all, chosen,
                                        KernelOutputs(KernelOutput::logits, network.labels()), parameters);
    for (std::size_t i = 0; i < factors.logits().size(); ++i) {
        const double expected = given["outputs"][i / 2][i % 2];
        EXPECT_TRUE(std::abs(factors.logits()[i] - expected) <= tolerance * (1 + std::abs(expected)));
    }
    std::vector<double> expected;
    for (const auto& row : given["kernel"])
        for (const auto& entry : row) expected.push_back(entry);
    const double error = relative_error(kernel(factors, program, parameters, network.labels()), expected);
    // J J^T errs by twice what J does.
    EXPECT_TRUE(error <= 2 * tolerance) << given["model"] << " rank " << given["rank"] << ": " << error;
}

TEST(Lora, KernelsAreThoseOfPyTorch) {
    // Factors and outputs as every Jacobian's: 1e-10 and 2e-5.
    const nlohmann::json cases = read_json(test_data() / "models" / "lora.json", testing::Unrecorded());
    ASSERT_EQ(cases.size(), 6u);
    for (const nlohmann::json& given : cases) {
        check_case<double>(given, 1e-10);
        check_case<float>(given, 2e-5);
    }
}

TEST(Lora, WithoutAnAdapterOutputsStayAndAHasNoGradient) {
    const auto folder = test_data() / "models" / "llama-odd";
    const ModelFixture fixture{folder, read_json(folder / "fixture.json", testing::Unrecorded())};
    const Program base = fixture.program();
    const Program program = with_lora(base, linear_weights(base), 2, 4);
    const DataSet data = fixture.data();
    Network<float> plain(base, Weights(folder, testing::Unrecorded()), {3, 17}),
        adapted(program, Weights(folder, testing::Unrecorded()), {3, 17});
    std::vector<ParameterId> A;
    for (ParameterId p = 0; p < program.parameters().size(); ++p)
        if (is_lora(program.parameters()[p]) && !is_lora_b(program.parameters()[p])) A.push_back(p);
    ASSERT_EQ(A.size(), linear_weights(base).size());
    const KernelOutputs outputs(KernelOutput::margin, 2);
    const JacobianFactors<float> before(plain, data, {0, 1, 2}, outputs, {}),
        with(adapted, data, {0, 1, 2}, outputs, A);
    EXPECT_EQ(before.logits(), with.logits());
    for (const double entry : kernel(with, program, A, 1)) EXPECT_EQ(entry, 0.0);
}

TEST(Lora, OnAverageItIsTheWeightsOwnKernel) {
    // E <df/dB, df/dB'> = (alpha/r)^2 times the selected weights' kernel, as A^T A is the identity on average
    // [theory: M, d]. The mean over seeds strays by its standard error, five of which no entry passes by
    // chance.
    const auto folder = test_data() / "models" / "llama-odd";
    const ModelFixture fixture{folder, read_json(folder / "fixture.json", testing::Unrecorded())};
    const Program base = fixture.program();
    const std::vector<ParameterId> selected = linear_weights(base);
    const DataSet data = fixture.data();
    const Weights weights(folder, testing::Unrecorded());
    const KernelOutputs outputs(KernelOutput::margin, 2);
    Network<double> plain(base, weights, {3, 17});
    const JacobianFactors<double> exact(plain, data, {0, 1, 2}, outputs, selected);
    const std::vector<double> expected = kernel(exact, base, selected, 1);
    constexpr Index rank = 3, seeds = 400;
    const double alpha = 6;
    const Program program = with_lora(base, selected, rank, alpha);
    std::vector<ParameterId> B;
    for (ParameterId p = 0; p < program.parameters().size(); ++p)
        if (is_lora_b(program.parameters()[p])) B.push_back(p);
    std::vector<double> sums(expected.size(), 0.0), squares(expected.size(), 0.0);
    for (Index seed = 0; seed < seeds; ++seed) {
        const InitialWeights source{.file = &weights, .lora_seed = static_cast<std::uint64_t>(seed)};
        Network<double> network(program, source, {3, 17});
        const JacobianFactors<double> factors(network, data, {0, 1, 2}, outputs, B);
        const std::vector<double> G = kernel(factors, program, B, 1);
        for (std::size_t i = 0; i < G.size(); ++i) {
            sums[i] += G[i];
            squares[i] += G[i] * G[i];
        }
    }
    const double n = seeds, scale = std::pow(alpha / rank, 2);
    for (std::size_t i = 0; i < sums.size(); ++i) {
        const double mean = sums[i] / n, error = std::sqrt((squares[i] / n - mean * mean) / n);
        EXPECT_TRUE(std::abs(mean - scale * expected[i]) <= 5 * error)
            << i << ": " << mean << " against " << scale * expected[i];
        EXPECT_TRUE(error <= 0.2 * std::abs(scale * expected[0]));
    }
}

TEST(InitialValues, AreDrawnFromNamesAndPositionsAlone) {
    const Parameter matrix{"a.weight", {200, 300}, ParameterKind::mlp},
        other{"b.weight", {200, 300}, ParameterKind::mlp}, bias{"a.bias", {7}, ParameterKind::mlp},
        norm{"ln.weight", {7}, ParameterKind::norm}, shift{"ln.bias", {7}, ParameterKind::norm};
    const InitialWeights source{.seed = 3, .deviation = 0.05};
    const std::vector<double> x = source.values<double>(matrix);
    double mean = 0, square = 0, fourth = 0;
    for (const double value : x) {
        mean += value / 60000;
        square += value * value / 60000;
        fourth += std::pow(value / 0.05, 4) / 60000;
    }
    // Five standard errors of 60 000 normal numbers: of the mean, the variance (2/n) and the fourth moment
    // (96/n).
    EXPECT_NEAR(mean, 0, 5 * 0.05 / std::sqrt(60000.0));
    EXPECT_NEAR(square, 0.0025, 5 * 0.0025 * std::sqrt(2 / 60000.0));
    EXPECT_NEAR(fourth, 3, 5 * std::sqrt(96 / 60000.0));
    EXPECT_EQ(x, source.values<double>(matrix));
    EXPECT_NE(x, source.values<double>(other));
    EXPECT_NE(x, (InitialWeights{.seed = 4, .deviation = 0.05}.values<double>(matrix)));
    EXPECT_EQ(source.values<float>(bias), std::vector<float>(7, 0.0F));
    EXPECT_EQ(source.values<float>(norm), std::vector<float>(7, 1.0F));
    EXPECT_EQ(source.values<float>(shift), std::vector<float>(7, 0.0F));
}

TEST(Adapter, SettingsThatAreNotSupportedAreNamed) {
    const testing::TemporaryFolder folder;
    const nlohmann::json plain{{"peft_type", "LORA"}, {"r", 4}, {"lora_alpha", 8}, {"bias", "none"}};
    const auto read = [&](const nlohmann::json& change) {
        nlohmann::json settings = plain;
        settings.update(change);
        return read_adapter_settings(folder.write("adapter_config.json", settings.dump()),
                                     testing::Unrecorded());
    };
    const AdapterSettings settings = read(nlohmann::json::object());
    EXPECT_EQ(settings.rank, 4);
    EXPECT_EQ(settings.alpha, 8);
    EXPECT_EQ(settings.scale(), 2);
    EXPECT_EQ(read({{"use_rslora", true}}).scale(), 4);
    EXPECT_TRUE(read({{"lora_dropout", 0.1},
                      {"fan_in_fan_out", true},
                      {"target_modules", {"q_proj"}},
                      {"modules_to_save", nullptr},
                      {"rank_pattern", nlohmann::json::object()},
                      {"init_lora_weights", true}})
                    .notes.empty());
    EXPECT_EQ(read({{"zeta", 1}, {"eta", 1}}).notes.size(), 1U);
    for (const auto& [key, value] : {std::pair<const char*, nlohmann::json>{"use_dora", true},
                                     {"lora_bias", true},
                                     {"trainable_token_indices", {1, 2}},
                                     {"rank_pattern", {{"q_proj", 2}}},
                                     {"alpha_pattern", {{"q_proj", 2}}},
                                     {"init_lora_weights", "pissa"},
                                     {"bias", "all"},
                                     {"peft_type", "IA3"},
                                     {"modules_to_save", {"score"}},
                                     {"r", 0}})
        testing::expect_error(ExitStatus::input,
                              key == std::string("r") ? ErrorKind::out_of_range : ErrorKind::unsupported,
                              {"adapter_config.json", key}, [&, &name = key, &entry = value] {
                                  read({{name, entry}});
                              });
}

}  // namespace
}  // namespace tangram
