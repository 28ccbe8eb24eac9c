#include <gtest/gtest.h>

#include <cmath>

#include "support/model_fixture.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/error.hpp"

namespace tangram {
namespace {

using testing::test_data;

TokenBlock block_of(const std::vector<std::vector<std::int32_t>>& examples) {
    TokenBlock block;
    block.offsets.push_back(0);
    for (const auto& tokens : examples) {
        block.token_ids.insert(block.token_ids.end(), tokens.begin(), tokens.end());
        block.offsets.push_back(std::ssize(block.token_ids));
        block.reads.push_back(block.offsets.back() - 1);
    }
    return block;
}

struct Case {
    const char* name;
    const char* folder;
};
class Gradients : public ::testing::TestWithParam<Case> {
  protected:
    std::filesystem::path folder() const { return test_data() / "models" / GetParam().folder; }
};

/// Entry of the whole gradient of one output with respect to one parameter, for one example, from the factors as
/// design.md defines them, spelled out naively.
double naive_entry(const Network<double>& network, const TokenBlock& block, ParameterId parameter, Index entry,
                   Index example, const std::vector<double>& seeds) {
    const Program& program = network.program();
    const Parameter& tensor = program.parameters()[parameter];
    const Index width = tensor.shape.back(), row = entry / width, column = entry % width;
    double sum = 0;
    const std::vector<Factor> factors = factors_of(program)[parameter];
    for (const Factor& factor : factors) {
        const RowRange range = network.rows(program.shape(factor.delta).rows, example);
        const Index d = program.shape(factor.delta).width;
        if (factor.kind == Factor::Kind::sum || factor.kind == Factor::Kind::normalised) {
            std::vector<double> vector(static_cast<std::size_t>(d), 0.0);
            network.add_vector(factor, example, vector.data());
            sum += vector[static_cast<std::size_t>(entry)];
            continue;
        }
        if (factor.kind == Factor::Kind::label_rows) {
            for (std::size_t c = 0; c < network.label_ids().size(); ++c)
                if (network.label_ids()[c] == row)
                    sum += seeds[static_cast<std::size_t>(example) * network.label_ids().size() + c] *
                           network.value(factor.input)[example * width + column];
            continue;
        }
        for (Index t = range.first; t < range.last; ++t) {
            const double* const delta = network.gradient(factor.delta) + t * d;
            if (factor.kind == Factor::Kind::outer)
                sum += delta[row] * network.value(factor.input)[t * width + column];
            if (factor.kind == Factor::Kind::token_rows && block.token_ids[static_cast<std::size_t>(t)] == row)
                sum += delta[column];
            if (factor.kind == Factor::Kind::position_rows && t - range.first == row) sum += delta[column];
        }
    }
    return sum;
}

TEST_P(Gradients, AgreeWithCentralDifferences) {
    Network<double> network(program_of(Config(folder() / "config.json")), Weights(folder()), {5, 9, 11});
    // Lengths beyond the local window and a single token; repeated tokens add up in the table.
    const std::vector<std::vector<std::int32_t>> examples{
        {3}, {7, 7, 12, 30, 2}, {1, 9, 4, 4, 8, 22, 17, 31, 6, 5, 40, 11, 3, 19, 28}};
    const TokenBlock block = block_of(examples);
    const std::vector<double> one{1.0, -2.0, 0.5};
    std::vector<double> seeds;
    for (std::size_t e = 0; e < examples.size(); ++e) seeds.insert(seeds.end(), one.begin(), one.end());

    network.forward(block);
    network.backward(seeds);
    const Program& program = network.program();
    struct Checked {
        ParameterId parameter;
        Index entry;
        std::vector<double> gradient;
    };
    std::vector<Checked> checked;
    double largest = 0;
    for (ParameterId p = 0; p < program.parameters().size(); ++p)
        for (Index k = 0; k < 5; ++k) {
            const Index size = program.parameters()[p].size();
            // Spread over the tensor; rows of tokens and label words that occur are among them.
            const Index width = program.parameters()[p].shape.back();
            const Index rows[] = {7, 5, 4, 9, 12};
            const bool table = program.parameters()[p].kind == ParameterKind::embedding;
            const Index entry = table ? std::min(rows[k] * width + k * 3 % width, size - 1)
                                      : (k * 7919 + 3) % size;
            Checked c{p, entry, {}};
            for (Index e = 0; e < block.examples(); ++e) {
                c.gradient.push_back(naive_entry(network, block, p, entry, e, seeds));
                largest = std::max(largest, std::abs(c.gradient.back()));
            }
            checked.push_back(c);
        }
    ASSERT_GT(largest, 1e-3);

    const auto outputs = [&] {
        network.forward(block);
        std::vector<double> values;
        for (Index e = 0; e < block.examples(); ++e) {
            double sum = 0;
            for (std::size_t c = 0; c < one.size(); ++c)
                sum += one[c] * network.logits()[static_cast<std::size_t>(e) * one.size() + c];
            values.push_back(sum);
        }
        return values;
    };
    // MODELS.md's measure: |difference| / (|gradient| + 1e-3 of the largest), there up to 6.9e-8 with h = 1e-5.
    const double h = 1e-5;
    double worst = 0;
    for (const Checked& c : checked) {
        double& weight = network.weights(c.parameter)[static_cast<std::size_t>(c.entry)];
        const double original = weight;
        weight = original + h;
        const std::vector<double> above = outputs();
        weight = original - h;
        const std::vector<double> below = outputs();
        weight = original;
        for (std::size_t e = 0; e < above.size(); ++e) {
            const double difference = (above[e] - below[e]) / (2 * h);
            const double error =
                std::abs(difference - c.gradient[e]) / (std::abs(c.gradient[e]) + 1e-3 * largest);
            EXPECT_TRUE(error <= 1e-7) << program.parameters()[c.parameter].name << " entry " << c.entry
                                       << " example " << e << ": " << difference << " against " << c.gradient[e];
            worst = std::max(worst, error);
        }
    }
    RecordProperty("largest_error", std::to_string(worst));
}

TEST_P(Gradients, BitsOfAnExampleDoNotDependOnItsBlock) {
    Network<float> network(program_of(Config(folder() / "config.json")), Weights(folder()), {5, 9});
    std::vector<std::vector<std::int32_t>> examples;
    for (std::int32_t e = 0; e < 40; ++e) {
        std::vector<std::int32_t> tokens;
        for (std::int32_t t = 0; t <= e % 17; ++t) tokens.push_back((e * 31 + t * 7) % 50);
        examples.push_back(tokens);
    }
    const std::vector<float> seeds(2 * examples.size(), 1.0F);
    network.forward(block_of(examples));
    network.backward(seeds);
    const Program program = network.program();
    std::vector<std::vector<float>> together;
    for (std::size_t v = 0; v < program.values().size(); ++v) {
        const RowRange range = network.rows(program.values()[v].rows, 33);
        const Index width = program.values()[v].width;
        const float* const rows = network.gradient(Value{v});
        together.emplace_back(rows + range.first * width, rows + range.last * width);
    }
    network.forward(block_of({examples[33]}));
    network.backward({seeds.data(), 2});
    for (std::size_t v = 0; v < program.values().size(); ++v) {
        const float* const rows = network.gradient(Value{v});
        EXPECT_TRUE(std::equal(together[v].begin(), together[v].end(), rows)) << "value " << v;
    }
}

INSTANTIATE_TEST_SUITE_P(Models, Gradients,
                         ::testing::Values(Case{"llama_odd", "llama-odd"}, Case{"llama_tied", "llama-tied"},
                                           Case{"neo_odd", "neo-odd"}),
                         [](const auto& parameters) { return std::string(parameters.param.name); });

TEST(Products, GiveARowTheSameBitsEverywhere) {
    // Shapes of the two small models and of GPT-2; both directions.
    for (const auto& [d_out, d_in] : {std::pair<Index, Index>{64, 64}, {32, 64}, {172, 64}, {64, 172}, {128, 128},
                                      {512, 128}, {128, 512}, {768, 768}, {24, 24}, {40, 24}}) {
        EXPECT_TRUE(rows_are_position_independent<float>(d_out, d_in)) << d_out << " x " << d_in;
        EXPECT_TRUE(rows_are_position_independent<double>(d_out, d_in)) << d_out << " x " << d_in;
    }
}

TEST(Network, NamesTheTensorOfTheWrongShape) {
    const auto folder = test_data() / "models" / "llama-odd";
    Program program = program_of(Config(folder / "config.json"));
    Program other;
    other.vocabulary_size = program.vocabulary_size;
    other.parameter("model.norm.weight", {25}, ParameterKind::norm);
    try {
        Network<float> network(other, Weights(folder), {1, 2});
        FAIL() << "a tensor of the wrong shape was taken";
    } catch (const Error& e) {
        EXPECT_EQ(e.status(), ExitStatus::input);
        EXPECT_NE(std::string(e.what()).find("model.norm.weight has shape [24], config.json asks for [25]"),
                  std::string::npos)
            << e.what();
    }
}

}  // namespace
}  // namespace tangram
