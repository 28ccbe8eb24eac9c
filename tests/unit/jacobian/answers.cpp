#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "support/expect_error.hpp"
#include "support/model_fixture.hpp"
#include "support/unrecorded.hpp"
#include "tangram/jacobian/jacobian_factors.hpp"
#include "unit/jacobian/gradient.hpp"

namespace tangram {
namespace {

using testing::gradient;

/// Answers of one to three tokens behind two texts: a fixture of PyTorch's
/// (tools/reference/head_fixtures.py).
struct Answers {
    std::filesystem::path folder;
    nlohmann::json examples;
    DataSet data;

    explicit Answers(const std::string& model)
        : folder(testing::test_data() / "models" / model),
          examples(read_json(folder / "answers.json", testing::Unrecorded())["examples"]) {
        for (const auto& example : examples) {
            std::vector<std::int32_t> ids;
            std::vector<Index> ends{0};
            for (const auto& answer : example["answers"]) {
                for (const auto& token : answer) ids.push_back(token.get<std::int32_t>());
                ends.push_back(std::ssize(ids));
            }
            data.append(example["ids"].get<std::vector<std::int32_t>>(), 1, data.examples());
            data.append_answers(ids, ends);
        }
    }
    Program program(bool mean) const {
        Program program = program_of(Config(folder / "config.json", testing::Unrecorded()));
        program.score_answers(mean);
        return program;
    }
    template <class Real>
    Network<Real> network(bool mean) const {
        return {program(mean), Weights(folder, testing::Unrecorded()), {}};
    }
};

template <class Real>
JacobianFactors<Real> factors_of_all(Network<Real>& network, const DataSet& data,
                                     const KernelOutputs& outputs) {
    std::vector<ParameterId> parameters(network.program().parameters().size());
    std::iota(parameters.begin(), parameters.end(), ParameterId{0});
    std::vector<Index> examples(static_cast<std::size_t>(data.examples()));
    std::iota(examples.begin(), examples.end(), Index{0});
    return {network, data, examples, outputs, parameters};
}

/// What a gradient sums over answers: their coefficients.
std::vector<double> coefficients(KernelOutput output, Index pass, const std::vector<double>& scores) {
    if (output == KernelOutput::margin) return {-1, 1};
    if (output == KernelOutput::logits) return {pass == 0 ? 1.0 : 0.0, pass == 1 ? 1.0 : 0.0};
    const double half = 1 / std::sqrt(2.0);
    if (output == KernelOutput::trace) return {pass == 0 ? half : 0.0, pass == 1 ? half : 0.0};
    if (output == KernelOutput::sum) return {half, half};
    const double p1 = 1 / (1 + std::exp(scores[0] - scores[1]));
    return {1 - p1, p1 - 1};  // cross-entropy at label 1
}

/// Largest error of scores, and of tensors' gradients relative to the larger of their norm and 1e-6 of the
/// whole.
template <class Real>
double largest_error_of_answers(const std::string& model, KernelOutput output, bool mean) {
    const Answers fixture(model);
    Network<Real> network = fixture.network<Real>(mean);
    const JacobianFactors<Real> factors = factors_of_all(network, fixture.data, KernelOutputs(output, 2));
    const Weights reference(fixture.folder / "answers.safetensors", testing::Unrecorded());
    double worst = 0;
    for (Index e = 0; e < fixture.data.examples(); ++e) {
        std::vector<double> scores, share;
        for (Index c = 0; c < 2; ++c) {
            share.push_back(mean ? 1 / static_cast<double>(fixture.data.answer(e, c).size()) : 1.0);
            scores.push_back(
                share.back() *
                fixture.examples[static_cast<std::size_t>(e)]["outputs"][static_cast<std::size_t>(c)]
                    .get<double>());
            const double found = factors.logits()[static_cast<std::size_t>(2 * e + c)];
            worst = std::max(worst, std::abs(found - scores.back()) / std::abs(scores.back()));
        }
        for (Index pass = 0; pass < shape(output, 2).passes(); ++pass) {
            const std::vector<double> of = coefficients(output, pass, scores);
            std::vector<double> differences, norms;
            for (ParameterId p = 0; p < network.program().parameters().size(); ++p) {
                const Parameter& parameter = network.program().parameters()[p];
                const std::vector<double> expected = reference.read<double>(
                    reference.at("example" + std::to_string(e) + "." + parameter.name));
                const std::vector<Real> found = gradient(factors, parameter.size(), p, e, pass);
                double difference = 0, norm = 0;
                for (std::size_t i = 0; i < found.size(); ++i) {
                    const double entry =
                        of[0] * share[0] * expected[i] + of[1] * share[1] * expected[found.size() + i];
                    difference += std::pow(static_cast<double>(found[i]) - entry, 2);
                    norm += entry * entry;
                }
                EXPECT_TRUE(difference >= 0) << parameter.name;  // NaN must not hide in std::max
                differences.push_back(difference);
                norms.push_back(norm);
            }
            const double whole = std::reduce(norms.begin(), norms.end());
            EXPECT_GT(whole, 0);
            for (std::size_t p = 0; p < norms.size(); ++p)
                worst = std::max(worst, std::sqrt(differences[p] / std::max(norms[p], 1e-12 * whole)));
        }
    }
    return worst;
}

TEST(Answers, ScoresAndGradientsAgreeWithPyTorch) {
    // The head apart, tied to the token table, behind a cap, and with a divisor.
    for (const char* model : {"llama3-odd", "qwen2-odd", "gemma2-odd", "granite-odd"})
        for (const KernelOutput output : {KernelOutput::margin, KernelOutput::logits, KernelOutput::trace,
                                          KernelOutput::sum, KernelOutput::loss})
            for (const bool mean : {false, true}) {
                const double in_double = largest_error_of_answers<double>(model, output, mean),
                             in_float = largest_error_of_answers<float>(model, output, mean);
                const std::string what = std::string(model) + " " + name(output) + (mean ? " mean" : "");
                EXPECT_TRUE(in_double <= 1e-10) << what << " " << in_double;
                EXPECT_TRUE(in_float <= 2e-5) << what << " " << in_float;
            }
}

TEST(Answers, OfOneTokenHaveTheMarginOfTheLogits) {
    // log softmax differs from the logits by what the margin takes out.
    const Answers fixture("qwen2-odd");
    DataSet data, answered;
    for (Index e = 0; e < fixture.data.examples(); ++e) {
        data.append(fixture.data.tokens(e), 0, e);
        answered.append(fixture.data.tokens(e), 0, e);
        answered.append_answers(std::vector<std::int32_t>{4, 9}, std::vector<Index>{0, 1, 2});
    }
    Network<double> scored = fixture.network<double>(false),
                    plain(program_of(Config(fixture.folder / "config.json", testing::Unrecorded())),
                          Weights(fixture.folder, testing::Unrecorded()), {4, 9});
    const KernelOutputs margin(KernelOutput::margin, 2);
    const auto of_answers = factors_of_all(scored, answered, margin),
               of_logits = factors_of_all(plain, data, margin);
    for (Index e = 0; e < data.examples(); ++e)
        for (ParameterId p = 0; p < plain.program().parameters().size(); ++p) {
            const Index size = plain.program().parameters()[p].size();
            const auto a = gradient(of_answers, size, p, e, 0), b = gradient(of_logits, size, p, e, 0);
            double largest = 0;
            for (const double entry : b) largest = std::max(largest, std::abs(entry));
            for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-12 * (1 + largest));
        }
}

TEST(Answers, DoNotDependOnTheirBlock) {
    const Answers fixture("llama3-odd");
    DataSet many;
    const auto original = [](Index i) { return Index{i % 3 == 0 ? 0 : 1}; };
    for (Index i = 0; i < 21; ++i) many.append_from(fixture.data, original(i));
    Network<float> network = fixture.network<float>(false);
    const KernelOutputs logits(KernelOutput::logits, 2);
    const auto of_many = factors_of_all(network, many, logits),
               alone = factors_of_all(network, fixture.data, logits);
    for (const Index i : {Index{0}, Index{9}, Index{20}})
        for (ParameterId p = 0; p < network.program().parameters().size(); ++p) {
            const Index size = network.program().parameters()[p].size();
            EXPECT_EQ(gradient(of_many, size, p, i, 1), gradient(alone, size, p, original(i), 1));
        }
    EXPECT_EQ(of_many.logits()[2 * 20 + 1], alone.logits()[static_cast<std::size_t>(2 * original(20) + 1)]);
}

TEST(Answers, AreNoneOfMaskedModels) {
    Program bert = program_of(
        Config(testing::test_data() / "models" / "bert-odd" / "config.json", testing::Unrecorded()));
    testing::expect_error(ExitStatus::study, ErrorKind::unsupported, {"data.score"},
                          [&] { bert.score_answers(false); });
    Program phi = program_of(
        Config(testing::test_data() / "models" / "phi-odd" / "config.json", testing::Unrecorded()));
    testing::expect_error(ExitStatus::study, ErrorKind::unsupported, {"data.score", "bias"},
                          [&] { phi.score_answers(false); });
}

TEST(Answers, BuffersOfPassesAreAsPlanned) {
    const Answers fixture("llama3-odd");
    Network<float> network = fixture.network<float>(true);
    const std::vector<Index> examples{0, 1};
    const TokenBlock block = token_block(fixture.data, examples);
    std::vector<ParameterId> all(network.program().parameters().size());
    std::iota(all.begin(), all.end(), ParameterId{0});
    network.forward(block);
    network.backward(std::vector<float>(4, 1.0F), all);
    EXPECT_EQ(network.pass_bytes(), planned_pass_bytes<float>(network.program(), block, 1, all));
}

}  // namespace
}  // namespace tangram
