#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "support/model_fixture.hpp"
#include "support/unrecorded.hpp"
#include "tangram/error.hpp"
#include "tangram/jacobian/jacobian_factors.hpp"
#include "tangram/jacobian/selection.hpp"
#include "tangram/model/lora.hpp"
#include "unit/jacobian/gradient.hpp"

namespace tangram {
namespace {

using testing::gradient;

using testing::ModelFixture;
using testing::test_data;

std::vector<ParameterId> all_of(const Program& program) {
    std::vector<ParameterId> ids(program.parameters().size());
    std::iota(ids.begin(), ids.end(), ParameterId{0});
    return ids;
}

std::vector<Index> every_example(const DataSet& data) {
    std::vector<Index> examples(static_cast<std::size_t>(data.examples()));
    std::iota(examples.begin(), examples.end(), Index{0});
    return examples;
}

ModelFixture small_model(const std::string& name) {
    const auto folder = test_data() / "models" / name;
    return {folder, read_json(folder / "fixture.json", testing::Unrecorded())};
}

/// Largest relative Frobenius error over examples and outputs, of the whole gradient, and of single tensors
/// against the larger of their norm and 1e-6 of the whole (some true gradients are exactly zero).
template <class Real>
std::pair<double, double> errors_against_fixture(const std::string& name) {
    const ModelFixture fixture = small_model(name);
    const DataSet data = fixture.data();
    Network<Real> network(fixture.program(), Weights(fixture.folder, testing::Unrecorded()),
                          fixture.vocabulary_ids());
    const Program program = network.program();
    const JacobianFactors<Real> factors(network, data, every_example(data),
                                        KernelOutputs(KernelOutput::logits, network.labels()),
                                        all_of(program));
    const Weights reference(fixture.folder / "gradients.safetensors", testing::Unrecorded());
    const Index outputs = network.labels();
    double worst_whole = 0, worst_tensor = 0;
    Index compared = 0;
    for (Index e = 0; e < data.examples(); ++e)
        for (Index c = 0; c < outputs; ++c) {
            std::vector<double> differences, norms;
            for (ParameterId p = 0; p < program.parameters().size(); ++p) {
                const Parameter& parameter = program.parameters()[p];
                const std::string key = "example" + std::to_string(e) + "." + parameter.name;
                const TensorView* const tensor = reference.find(key);
                if (tensor == nullptr) throw std::runtime_error(key + " is not in the fixture");
                const std::vector<double> expected = reference.read<double>(*tensor);
                const std::vector<Real> found = gradient(factors, parameter.size(), p, e, c);
                double difference = 0, norm = 0;
                for (Index i = 0; i < parameter.size(); ++i) {
                    // The file holds a transposed tensor's gradient as it holds the tensor.
                    const Index stored = !parameter.transposed ? i
                                                               : i % parameter.shape[1] * parameter.shape[0] +
                                                                     i / parameter.shape[1];
                    const double r = expected[static_cast<std::size_t>(c * parameter.size() + stored)];
                    difference += std::pow(static_cast<double>(found[static_cast<std::size_t>(i)]) - r, 2);
                    norm += r * r;
                    ++compared;
                }
                differences.push_back(difference);
                norms.push_back(norm);
            }
            const double whole = std::reduce(norms.begin(), norms.end());
            worst_whole =
                std::max(worst_whole, std::sqrt(std::reduce(differences.begin(), differences.end()) / whole));
            for (std::size_t p = 0; p < norms.size(); ++p)
                worst_tensor =
                    std::max(worst_tensor, std::sqrt(differences[p] / std::max(norms[p], 1e-12 * whole)));
            // NaN must not hide in std::max.
            for (const double difference : differences) EXPECT_TRUE(difference >= 0);
            const double output = factors.logits()[static_cast<std::size_t>(e * outputs + c)];
            const double expected = fixture.reference["examples"][static_cast<std::size_t>(e)]["outputs"]
                                                     [static_cast<std::size_t>(c)];
            EXPECT_TRUE(std::abs(output - expected) <=
                        (sizeof(Real) == 4 ? 2e-5 : 1e-12) * (1 + std::abs(expected)));
        }
    EXPECT_GT(compared, 0);
    return {worst_whole, worst_tensor};
}

class Fixtures : public ::testing::TestWithParam<const char*> {};

TEST_P(Fixtures, GradientsInDoubleAgreeTo1em10) {
    const auto [whole, tensor] = errors_against_fixture<double>(GetParam());
    RecordProperty("largest_error", fmt::format("{:.1e}", tensor));
    EXPECT_TRUE(whole <= 1e-10) << whole;
    EXPECT_TRUE(tensor <= 1e-10) << tensor;
}

TEST_P(Fixtures, GradientsInFloatAgreeTo2em5) {
    const auto [whole, tensor] = errors_against_fixture<float>(GetParam());
    RecordProperty("largest_error", fmt::format("{:.1e}", tensor));
    EXPECT_TRUE(whole <= 2e-5) << whole;
    EXPECT_TRUE(tensor <= 2e-5) << tensor;
}

TEST(Loss, GradientIsThatOfTheCrossEntropy) {
    // d/dtheta of log sum_k exp(z_k) - z_y is sum_c (p_c - [c = y]) dz_c/dtheta: the logits' own gradients,
    // which the fixtures vouch for, combined here; a tied table, so that the head's rows count too.
    const ModelFixture fixture = small_model("llama-tied");
    DataSet data = fixture.data();
    for (std::size_t e = 0; e < data.labels.size(); ++e) data.labels[e] = static_cast<std::int32_t>(e % 2);
    Network<double> network(fixture.program(), Weights(fixture.folder, testing::Unrecorded()),
                            fixture.vocabulary_ids());
    const Program program = network.program();
    const Index labels = network.labels();
    ASSERT_GE(labels, 2);
    const JacobianFactors<double> logits(network, data, every_example(data),
                                         KernelOutputs(KernelOutput::logits, labels), all_of(program)),
        loss(network, data, every_example(data), KernelOutputs(KernelOutput::loss, labels), all_of(program));
    double worst = 0, largest = 0;
    for (Index e = 0; e < data.examples(); ++e) {
        std::vector<double> p;
        double sum = 0;
        for (Index c = 0; c < labels; ++c) {
            p.push_back(std::exp(logits.logits()[static_cast<std::size_t>(e * labels + c)]));
            sum += p.back();
        }
        for (double& value : p) value /= sum;
        p[static_cast<std::size_t>(data.labels[static_cast<std::size_t>(e)])] -= 1;
        for (ParameterId t = 0; t < program.parameters().size(); ++t) {
            const Index size = program.parameters()[t].size();
            const std::vector<double> found = gradient(loss, size, t, e, 0);
            std::vector<double> expected(found.size(), 0.0);
            for (Index c = 0; c < labels; ++c) {
                const std::vector<double> g = gradient(logits, size, t, e, c);
                for (std::size_t i = 0; i < g.size(); ++i)
                    expected[i] += p[static_cast<std::size_t>(c)] * g[i];
            }
            for (std::size_t i = 0; i < found.size(); ++i) {
                worst = std::max(worst, std::abs(found[i] - expected[i]));
                largest = std::max(largest, std::abs(expected[i]));
            }
        }
    }
    EXPECT_GT(largest, 0);
    EXPECT_TRUE(worst <= 1e-13 * largest * static_cast<double>(labels)) << worst << " of " << largest;
}

INSTANTIATE_TEST_SUITE_P(
    SmallModels, Fixtures,
    ::testing::Values("llama-odd", "llama-tied", "neo-odd", "gpt2-odd", "gpt2-scaled", "neox-parallel",
                      "neox-serial", "mistral-odd", "qwen2-odd", "llama3-odd", "bert-odd", "roberta-odd",
                      "bert-classifier", "qwen3-odd", "olmo2-odd", "olmo3-odd", "smollm3-odd", "phi3-odd",
                      "phi-odd", "starcoder2-odd", "stablelm-odd", "stablelm-parallel", "granite-odd",
                      "gemma-odd", "gemma2-odd", "gemma3-text", "gemma3-odd", "opt-odd", "opt-behind",
                      "distilbert-odd", "modernbert-odd", "electra-odd", "electra-trained", "llama-trained",
                      "granite-trained", "gpt2-trained", "bert-trained", "roberta-trained",
                      "distilbert-trained", "modernbert-trained", "modernbert-mean-trained"),
    [](const auto& parameters) {
        std::string name = parameters.param;
        std::replace(name.begin(), name.end(), '-', '_');
        return name;
    });

/// Outputs, gradient norm per tensor and the 18 x 18 kernel of a trained model against its stored reference.
void check_trained_model(const ModelFixture& fixture) {
    const DataSet data = fixture.data();
    Network<double> network(fixture.program(), Weights(fixture.folder, testing::Unrecorded()),
                            fixture.vocabulary_ids());
    const Program program = network.program();
    const JacobianFactors<double> factors(network, data, every_example(data),
                                          KernelOutputs(KernelOutput::logits, network.labels()),
                                          all_of(program));
    const Index outputs = network.labels(), rows = data.examples() * outputs;
    std::vector<std::vector<double>> jacobian(static_cast<std::size_t>(rows));
    for (Index row = 0; row < rows; ++row) {
        const auto& example = fixture.reference["examples"][static_cast<std::size_t>(row / outputs)];
        const auto c = static_cast<std::size_t>(row % outputs);
        const double whole = example["grad_norm_per_output"][c];
        EXPECT_NEAR(factors.logits()[static_cast<std::size_t>(row)], example["outputs"][c].get<double>(),
                    1e-11);
        for (ParameterId p = 0; p < program.parameters().size(); ++p) {
            const Parameter& parameter = program.parameters()[p];
            const auto g = gradient(factors, parameter.size(), p, row / outputs, row % outputs);
            const double norm = std::sqrt(std::inner_product(g.begin(), g.end(), g.begin(), 0.0));
            const double expected = example["grad_norm_per_tensor"][parameter.name][c];
            EXPECT_TRUE(std::abs(norm - expected) <= 1e-10 * std::max(expected, 1e-6 * whole))
                << parameter.name << ": " << norm << " against " << expected;
            auto& row_of = jacobian[static_cast<std::size_t>(row)];
            row_of.insert(row_of.end(), g.begin(), g.end());
        }
    }
    double worst = 0;
    for (std::size_t i = 0; i < jacobian.size(); ++i)
        for (std::size_t j = 0; j < jacobian.size(); ++j) {
            const double found =
                std::inner_product(jacobian[i].begin(), jacobian[i].end(), jacobian[j].begin(), 0.0);
            const double expected = fixture.reference["ntk"][i][j];
            const double scale = std::sqrt(fixture.reference["ntk"][i][i].get<double>() *
                                           fixture.reference["ntk"][j][j].get<double>());
            EXPECT_TRUE(std::abs(found - expected) <= 1e-11 * scale) << i << ", " << j;
            worst = std::max(worst, std::abs(found - expected) / scale);
        }
    ::testing::Test::RecordProperty("largest_error", std::to_string(worst));
}

TEST(TrainedModels, NeoMiniAgreesWithItsReference) {
    check_trained_model({test_data() / "neo-mini",
                         read_json(test_data() / "models" / "neo-mini-fixture.json", testing::Unrecorded())});
}

/// Every architecture with every output and selection, from PyTorch's gradients of the logits alone: margin
/// and loss are combinations of them, and LoRA's B has the gradient (alpha/rank) dF/dW A^T by the chain rule.
template <class Real>
double largest_error(const std::string& name, KernelOutput output, const std::string& selection) {
    const ModelFixture fixture = small_model(name);
    DataSet data = fixture.data();
    const Program base = fixture.program();
    const Index labels = std::ssize(fixture.vocabulary_ids());
    for (std::size_t e = 0; e < data.labels.size(); ++e)
        data.labels[e] = static_cast<std::int32_t>(static_cast<Index>(e) % labels);
    const Weights weights(fixture.folder, testing::Unrecorded()),
        reference(fixture.folder / "gradients.safetensors", testing::Unrecorded());
    const bool lora = selection == "lora";
    std::vector<ParameterId> chosen = select_parameters(base, {lora ? "attention" : selection});
    const auto factors_by = factors_of(base);
    if (lora)
        std::erase_if(chosen,
                      [&](ParameterId p) { return factors_by[p].front().kind != Factor::Kind::outer; });
    constexpr Index rank = 3;
    constexpr double alpha = 6;
    const Program program = lora ? with_lora(base, chosen, rank, alpha) : base;
    Network<Real> network(program, InitialWeights{.file = &weights}, fixture.vocabulary_ids());
    // The parameters in the program, beside those in the checkpoint.
    std::vector<ParameterId> found_in;
    std::vector<std::vector<double>> A;
    for (const ParameterId p : chosen) {
        const std::string& full = base.parameters()[p].name;
        const std::string module = full.substr(0, full.rfind('.'));
        for (ParameterId q = 0; q < program.parameters().size(); ++q) {
            const std::string& candidate = program.parameters()[q].name;
            if (candidate == (lora ? module + ".lora_B.weight" : full)) found_in.push_back(q);
            if (candidate == module + ".lora_A.weight")
                A.emplace_back(network.weights(q).begin(), network.weights(q).end());
        }
    }
    EXPECT_EQ(found_in.size(), chosen.size());
    const JacobianFactors<Real> factors(network, data, every_example(data), KernelOutputs(output, labels),
                                        found_in);
    double difference = 0, norm = 0;
    for (Index e = 0; e < data.examples(); ++e) {
        const auto& example = fixture.reference["examples"][static_cast<std::size_t>(e)];
        const auto logits = example["outputs"].get<std::vector<double>>();
        double sum = 0;
        for (const double z : logits) sum += std::exp(z);
        for (Index pass = 0; pass < shape(output, labels).passes(); ++pass) {
            std::vector<double> seeds;
            for (Index c = 0; c < labels; ++c) {
                const double p = std::exp(logits[static_cast<std::size_t>(c)]) / sum;
                const bool own = c == data.labels[static_cast<std::size_t>(e)];
                seeds.push_back(output == KernelOutput::margin   ? (c == 1 ? 1.0 : -1.0)
                                : output == KernelOutput::logits ? (c == pass ? 1.0 : 0.0)
                                                                 : p - (own ? 1.0 : 0.0));
            }
            for (std::size_t i = 0; i < chosen.size(); ++i) {
                const Parameter& parameter = base.parameters()[chosen[i]];
                const Index size = parameter.size(), d_out = parameter.shape[0],
                            d_in = parameter.shape.back();
                const std::vector<double> all = reference.read<double>(
                    reference.at("example" + std::to_string(e) + "." + parameter.name));
                std::vector<double> expected(static_cast<std::size_t>(size), 0.0);
                for (Index k = 0; k < size; ++k) {
                    const Index stored = parameter.transposed ? k % d_in * d_out + k / d_in : k;
                    for (Index c = 0; c < labels; ++c)
                        expected[static_cast<std::size_t>(k)] +=
                            seeds[static_cast<std::size_t>(c)] *
                            all[static_cast<std::size_t>(c * size + stored)];
                }
                if (lora) {
                    std::vector<double> of_b(static_cast<std::size_t>(d_out * rank), 0.0);
                    for (Index o = 0; o < d_out; ++o)
                        for (Index r = 0; r < rank; ++r)
                            for (Index k = 0; k < d_in; ++k)
                                of_b[static_cast<std::size_t>(o * rank + r)] +=
                                    alpha / static_cast<double>(rank) *
                                    expected[static_cast<std::size_t>(o * d_in + k)] *
                                    A[i][static_cast<std::size_t>(r * d_in + k)];
                    expected = of_b;
                }
                const auto found = gradient(factors, std::ssize(expected), found_in[i], e, pass);
                for (std::size_t k = 0; k < expected.size(); ++k) {
                    difference += std::pow(static_cast<double>(found[k]) - expected[k], 2);
                    norm += expected[k] * expected[k];
                }
            }
        }
    }
    EXPECT_GT(norm, 0);
    return std::sqrt(difference / norm);
}

TEST_P(Fixtures, EveryOutputAndSelection) {
    const std::string name = GetParam();
    for (const KernelOutput output : {KernelOutput::margin, KernelOutput::logits, KernelOutput::loss}) {
        if (output == KernelOutput::margin && small_model(name).vocabulary_ids().size() != 2) continue;
        for (const char* selection : {"all", "attention", "lora"}) {
            const double in_double = largest_error<double>(name, output, selection),
                         in_float = largest_error<float>(name, output, selection);
            const std::string what = tangram::name(output) + "_" + selection;
            EXPECT_TRUE(in_double <= 1e-10) << what << " " << in_double;
            EXPECT_TRUE(in_float <= 2e-5) << what << " " << in_float;
            RecordProperty(
                what, std::to_string(in_double * 1e16) + "e-16 " + std::to_string(in_float * 1e8) + "e-8");
        }
    }
}

TEST(KeyBias, HasNoGradientWhereSoftmaxDoesNotSeeIt) {
    for (const char* model :
         {"bert-odd", "roberta-odd", "gpt2-odd", "neox-parallel", "qwen2-odd", "phi-odd", "stablelm-odd"}) {
        const ModelFixture fixture = small_model(model);
        const DataSet data = fixture.data();
        Network<double> network(fixture.program(), Weights(fixture.folder, testing::Unrecorded()),
                                fixture.vocabulary_ids());
        const Program program = network.program();
        const JacobianFactors<double> factors(network, data, every_example(data),
                                              KernelOutputs(KernelOutput::logits, network.labels()),
                                              all_of(program));
        Index zero = 0, others = 0;
        for (ParameterId p = 0; p < program.parameters().size(); ++p) {
            const Parameter& parameter = program.parameters()[p];
            if (parameter.kind != ParameterKind::attention || parameter.shape.size() != 1) continue;
            const auto g = gradient(factors, parameter.size(), p, 1, 0);
            for (Index i = 0; i < parameter.size(); ++i) {
                const bool idle = std::ranges::any_of(
                    parameter.idle, [&](const auto& range) { return i >= range.first && i < range.second; });
                EXPECT_TRUE(!idle || g[static_cast<std::size_t>(i)] == 0.0) << model << " " << parameter.name;
                zero += idle ? 1 : 0;
                others += !idle && g[static_cast<std::size_t>(i)] != 0 ? 1 : 0;
            }
        }
        // Per layer all key biases; of NeoX, Phi and StableLM those that do not turn; of Qwen2 none.
        const std::map<std::string, Index> expected{{"bert-odd", 2 * 12},   {"roberta-odd", 2 * 12},
                                                    {"gpt2-odd", 2 * 12},   {"neox-parallel", 2 * 3 * 6},
                                                    {"qwen2-odd", 0},       {"phi-odd", 2 * 2},
                                                    {"stablelm-odd", 2 * 2}};
        EXPECT_EQ(zero, expected.at(model)) << model;
        EXPECT_GT(others, 0) << model;
    }
}

TEST(TrainedModels, BertMiniAgreesWithItsReference) {
    const auto models = testing::shared_models();
    if (!models) GTEST_SKIP() << "TANGRAM_MODELS is not set: bert-mini is not compared";
    nlohmann::json reference = read_json(*models / "fixtures" / "bert-mini.json", testing::Unrecorded());
    for (auto& example : reference["examples"]) {
        const auto ids = example["ids"].get<std::vector<std::int32_t>>();
        example["read"] = std::find(ids.begin(), ids.end(), 4) - ids.begin();  // [MASK]
    }
    check_trained_model({*models / "bert-mini", reference});
}

TEST(TrainedModels, Stories260kAgreesWithItsReference) {
    const auto models = testing::shared_models();
    if (!models) GTEST_SKIP() << "TANGRAM_MODELS is not set: stories260k is not compared";
    check_trained_model({*models / "stories260k",
                         read_json(*models / "fixtures" / "stories260k.json", testing::Unrecorded())});
}

TEST(Output, MarginAndSumAndTraceAreCombinationsOfTheLogits) {
    const ModelFixture fixture = small_model("neo-odd");
    const DataSet data = fixture.data();
    const std::vector<std::int32_t> labels{fixture.vocabulary_ids()[0], fixture.vocabulary_ids()[1]};
    Network<double> network(fixture.program(), Weights(fixture.folder, testing::Unrecorded()), labels);
    const Program program = network.program();
    const auto ids = all_of(program);
    const JacobianFactors<double> logits(network, data, every_example(data),
                                         KernelOutputs(KernelOutput::logits, network.labels()), ids);
    const JacobianFactors<double> margin(network, data, every_example(data),
                                         KernelOutputs(KernelOutput::margin, network.labels()), ids);
    const JacobianFactors<double> sum(network, data, every_example(data),
                                      KernelOutputs(KernelOutput::sum, network.labels()), ids);
    const JacobianFactors<double> trace(network, data, every_example(data),
                                        KernelOutputs(KernelOutput::trace, network.labels()), ids);
    for (const ParameterId p : ids)
        for (Index e = 0; e < data.examples(); ++e) {
            const Index size = program.parameters()[p].size();
            const auto g0 = gradient(logits, size, p, e, 0), g1 = gradient(logits, size, p, e, 1);
            const auto m = gradient(margin, size, p, e, 0), s = gradient(sum, size, p, e, 0);
            const auto t = gradient(trace, size, p, e, 1);
            for (std::size_t i = 0; i < m.size(); ++i) {
                // A backward pass is linear; only rounding of its sums differs.
                const double scale = 1e-12 * (1 + std::abs(g0[i]) + std::abs(g1[i]));
                ASSERT_NEAR(m[i], g1[i] - g0[i], scale);
                ASSERT_NEAR(s[i], (g0[i] + g1[i]) / std::sqrt(2.0), scale);
                ASSERT_NEAR(t[i], g1[i] / std::sqrt(2.0), scale);
            }
        }
}

TEST(Selection, TakesKindsAndPatternsAndNamesWhatSelectsNothing) {
    const Program program = small_model("neo-odd").program();
    std::size_t parts = 0;
    for (const char* kind : {"attention", "mlp", "norm", "embedding"})
        parts += select_parameters(program, {kind}).size();
    EXPECT_EQ(parts, program.parameters().size());
    EXPECT_EQ(select_parameters(program, {"all"}).size(), program.parameters().size());
    EXPECT_EQ(select_parameters(program, {"transformer.h.1.*"}).size(), 13U);
    for (const auto& [pattern, help] :
         {std::pair{"transformer.h.9.*", "transformer.h.9.*"}, std::pair{"h.1.*", "\"*h.1.*\" selects 13"}})
        try {
            select_parameters(program, {"attention", pattern});
            ADD_FAILURE() << "a pattern that selects nothing was taken";
        } catch (const Error& e) {
            EXPECT_EQ(e.status(), ExitStatus::study);
            EXPECT_EQ(e.kind(), ErrorKind::unknown_name);
            EXPECT_NE(std::string(e.what()).find(help), std::string::npos) << e.what();
        }
}

}  // namespace
}  // namespace tangram
