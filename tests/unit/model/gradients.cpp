#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>

#include "support/expect_error.hpp"
#include "support/model_fixture.hpp"
#include "support/safetensors_file.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"
#include "tangram/error.hpp"
#include "tangram/model/first_layers.hpp"
#include "tangram/model/unused_tensors.hpp"

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

/// The examples with token ids and lengths that the model has.
std::vector<std::vector<std::int32_t>> fitting(const Program& program,
                                               std::vector<std::vector<std::int32_t>> examples) {
    for (auto& tokens : examples) {
        tokens.resize(std::min(tokens.size(), static_cast<std::size_t>(program.maximum_length)));
        for (std::int32_t& token : tokens) token %= static_cast<std::int32_t>(program.vocabulary_size);
    }
    return examples;
}

struct Case {
    const char* name;
    const char* folder;
};
class Gradients : public ::testing::TestWithParam<Case> {
  protected:
    std::filesystem::path folder() const { return test_data() / "models" / GetParam().folder; }
};

/// Entry of the whole gradient of one output with respect to one parameter, for one example, from the factors
/// as docs/mathematics.md (Kernels) defines them, spelled out naively.
double naive_entry(const Network<double>& network, const TokenBlock& block, ParameterId parameter,
                   Index entry, Index example) {
    const Program& program = network.program();
    const auto seeds = network.seeds();
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
        if (factor.kind == Factor::Kind::label_entries) {
            for (std::size_t c = 0; c < network.label_ids().size(); ++c)
                if (network.label_ids()[c] == entry)
                    sum += seeds[static_cast<std::size_t>(example) * network.label_ids().size() + c];
            continue;
        }
        for (Index t = range.first; t < range.last; ++t) {
            const double* const delta = network.gradient(factor.delta) + t * d;
            if (factor.kind == Factor::Kind::outer)
                sum += delta[row] * network.value(factor.input)[t * width + column];
            if (factor.kind == Factor::Kind::token_rows &&
                block.token_ids[static_cast<std::size_t>(t)] == row)
                sum += delta[column];
            if (factor.kind == Factor::Kind::position_rows && t - range.first + factor.offset == row)
                sum += delta[column];
            if (factor.kind == Factor::Kind::first_row && row == 0) sum += delta[column];
        }
    }
    return sum;
}

/// Entries of every parameter's gradient against central differences. @return the largest error
double largest_error_of_gradients(Network<double>& network) {
    // Lengths beyond the local window and a single token; repeated tokens add up in the table.
    const auto examples = fitting(
        network.program(), {{3}, {7, 7, 12, 30, 2}, {1, 9, 4, 4, 8, 22, 17, 31, 6, 5, 40, 11, 3, 19, 28}});
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
            const Index entry =
                table ? std::min(rows[k] * width + k * 3 % width, size - 1) : (k * 7919 + 3) % size;
            Checked c{p, entry, {}};
            for (Index e = 0; e < block.examples(); ++e) {
                c.gradient.push_back(naive_entry(network, block, p, entry, e));
                largest = std::max(largest, std::abs(c.gradient.back()));
            }
            checked.push_back(c);
        }
    EXPECT_GT(largest, 1e-3);

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
    // The measure: |difference| / (|gradient| + 1e-3 of the largest), there up to 6.9e-8 with h =
    // 1e-5.
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
            EXPECT_TRUE(error <= 1e-7)
                << program.parameters()[c.parameter].name << " entry " << c.entry << " example " << e << ": "
                << difference << " against " << c.gradient[e];
            worst = std::max(worst, error);
        }
    }
    return worst;
}

TEST_P(Gradients, AgreeWithCentralDifferences) {
    Network<double> network(program_of(Config(folder() / "config.json", testing::Unrecorded())),
                            Weights(folder(), testing::Unrecorded()), {5, 9, 11});
    RecordProperty("largest_error", fmt::format("{:.1e}", largest_error_of_gradients(network)));
}

/// A program of what families add to one another: a factor of the embeddings, norms over heads whose weights
/// are counted from one, rotations that differ in long texts and have a factor, scores with a cap that see
/// tokens before and behind them, a norm without bias, and logits with a cap.
Program program_of_extras(bool causal) {
    using enum ParameterKind;
    constexpr Index hidden = 12, heads = 2, head_size = 6;
    Program program;
    program.vocabulary_size = 50;
    program.maximum_length = 20;
    Value x =
        program.scale(program.embedding(program.parameter("table.weight", {50, hidden}, embedding)), 1.7);
    const auto matrix = [&](const char* name) {
        return program.parameter(name, {hidden, hidden}, attention);
    };
    const ParameterId shared = program.parameter("head_norm.weight", {head_size}, norm);
    const RotaryAngles angles{{1.0, 0.3}, 1.25, {0.5, 0.1}, 5};
    Value q = program.rms_norm(program.linear(x, matrix("q.weight")), shared, 1e-6, 1.0);
    Value k = program.linear(x, matrix("k.weight"));
    q = program.rotary(q, head_size, angles);
    k = program.rotary(program.rms_norm(k, program.parameter("other.weight", {head_size}, norm), 1e-6, 1.0),
                       head_size, angles);
    const Value v = program.linear(x, matrix("v.weight"));
    x = program.add(x, program.attention({q, k, v, heads, heads, head_size, 0.4, Index{3}, {}, causal, 1.5}));
    x = program.layer_norm(x, program.parameter("norm.weight", {hidden}, norm), std::nullopt, 1e-5);
    program.label_logits(program.at_reads(x), program.parameter("head.weight", {50, hidden}, head),
                         std::nullopt, 2.0);
    return program;
}

TEST(Operations, OfAllFamiliesAgreeWithCentralDifferences) {
    for (const bool causal : {true, false}) {
        Network<double> network(program_of_extras(causal), InitialWeights{.deviation = 0.3}, {5, 9, 11});
        for (ParameterId p = 0; p < network.program().parameters().size(); ++p)
            if (network.program().parameters()[p].kind == ParameterKind::norm)
                for (double wave = 1; double& entry : network.weights(p)) entry = std::sin(wave += 0.7);
        EXPECT_TRUE(largest_error_of_gradients(network) <= 1e-7);
        // The cap's own slope is part of the head's gradient.
        EXPECT_NE(network.seeds()[0], 1.0);
    }
}

std::vector<std::vector<std::int32_t>> examples_of_many_lengths(const Program& program) {
    std::vector<std::vector<std::int32_t>> examples;
    for (std::int32_t e = 0; e < 40; ++e) {
        std::vector<std::int32_t> tokens;
        for (std::int32_t t = 0; t <= e % 17; ++t) tokens.push_back((e * 31 + t * 7) % 50);
        examples.push_back(tokens);
    }
    return fitting(program, examples);
}

/// Values, then gradients, then logits of one example of the block that went through last.
template <class Real>
std::vector<std::vector<Real>> all_of_example(const Network<Real>& network, Index example) {
    std::vector<std::vector<Real>> all;
    for (const bool gradients : {false, true})
        for (std::size_t v = 0; v < network.program().values().size(); ++v) {
            const auto [set, width] = network.program().values()[v];
            const RowRange range = network.rows(set, example);
            const Real* const rows = gradients ? network.gradient(Value{v}) : network.value(Value{v});
            all.emplace_back(rows + range.first * width, rows + range.last * width);
        }
    const Real* const logits = network.logits().data() + example * network.labels();
    all.emplace_back(logits, logits + network.labels());
    return all;
}

template <class Real>
void check_bits_in_any_block(const std::filesystem::path& folder) {
    Network<Real> network(program_of(Config(folder / "config.json", testing::Unrecorded())),
                          Weights(folder, testing::Unrecorded()), {5, 9});
    const auto examples = examples_of_many_lengths(network.program());
    const std::vector<Real> seeds(2 * examples.size(), Real(1));
    const auto run = [&](const std::vector<std::vector<std::int32_t>>& block) {
        network.forward(block_of(block));
        network.backward({seeds.data(), 2 * block.size()});
    };
    for (const std::size_t e : {0UL, 33UL, 39UL}) {
        run({examples[e]});
        const auto alone = all_of_example(network, 0);
        run(examples);
        EXPECT_EQ(alone, all_of_example(network, static_cast<Index>(e))) << "example " << e << " among all";
        run({examples.rbegin(), examples.rend()});
        EXPECT_EQ(alone, all_of_example(network, static_cast<Index>(39 - e)))
            << "example " << e << " in reverse";
        run({examples[7], examples[e], examples[16]});
        EXPECT_EQ(alone, all_of_example(network, 1)) << "example " << e << " of three";
    }
}

TEST_P(Gradients, BitsOfAnExampleDoNotDependOnItsBlock) {
    check_bits_in_any_block<float>(folder());
    check_bits_in_any_block<double>(folder());
}

TEST_P(Gradients, OfWantedParametersAreThoseOfAll) {
    Network<float> network(program_of(Config(folder() / "config.json", testing::Unrecorded())),
                           Weights(folder(), testing::Unrecorded()), {5, 9});
    Network<float> other = network.twin();
    const Program& program = network.program();
    const auto examples = examples_of_many_lengths(program);
    const std::vector<float> seeds(2 * examples.size(), 0.5F);
    network.forward(block_of(examples));
    network.backward(seeds);
    const auto factors = factors_of(program);
    for (ParameterId p = 0; p < program.parameters().size(); ++p) {
        // A twin alone, and one whose gradients hold those of another parameter.
        Network<float> fresh = network.twin();
        const std::vector<ParameterId> wanted{p};
        for (Network<float>* const twin : {&fresh, &other}) {
            twin->forward(block_of(examples));
            twin->backward(seeds, wanted);
            for (const Factor& factor : factors[p]) {
                if (factor.from_label()) continue;
                const auto [set, width] = program.shape(factor.delta);
                const Index rows = network.rows(set, std::ssize(examples) - 1).last;
                EXPECT_TRUE(std::equal(network.gradient(factor.delta),
                                       network.gradient(factor.delta) + rows * width,
                                       twin->gradient(factor.delta)))
                    << program.parameters()[p].name;
            }
        }
    }
}

TEST_P(Gradients, TwinsShareWeightsAndNothingElse) {
    Network<double> network(program_of(Config(folder() / "config.json", testing::Unrecorded())),
                            Weights(folder(), testing::Unrecorded()), {5, 9});
    Network<double> twin = network.twin();
    network.forward(block_of({{1, 2, 3}}));
    twin.forward(block_of({{4, 5}, {6}}));
    EXPECT_EQ(network.logits().size(), 2U);
    EXPECT_EQ(twin.logits().size(), 4U);
    const std::vector<double> before(network.logits().begin(), network.logits().end());
    EXPECT_EQ(&network.program(), &twin.program());
    EXPECT_EQ(network.weights(0).data(), twin.weights(0).data());
    twin.forward(block_of({{1, 2, 3}}));
    EXPECT_TRUE(std::equal(before.begin(), before.end(), twin.logits().begin()));
}

/// Logits, and the gradient of every value that a factor takes, of a network whose weights stand in a file.
template <class Real>
std::vector<Real> passes_of(const Program& program, const std::filesystem::path& file) {
    Network<Real> network(program, Weights(file, testing::Unrecorded()), {5, 9});
    const TokenBlock block = block_of(fitting(program, {{1, 2, 3, 4}, {5, 6}}));
    network.forward(block);
    std::vector<Real> result(network.logits().begin(), network.logits().end());
    std::vector<ParameterId> all(program.parameters().size());
    for (ParameterId p = 0; p < all.size(); ++p) all[p] = p;
    network.backward(std::vector<Real>{1, -1, 0.5, 2}, all);
    const std::vector<bool> needed = needed_gradients(program, factors_of(program), all);
    for (std::size_t v = 0; v < needed.size(); ++v) {
        const ValueShape& shape = program.values()[v];
        if (!needed[v]) continue;
        const Real* const rows = network.gradient(Value{v});
        result.insert(result.end(), rows, rows + block.rows(shape.rows) * shape.width);
    }
    return result;
}

TEST_P(Gradients, HaveTheBitsOfEveryTypeThatWeightsAreStoredIn) {
    const Program program = program_of(Config(folder() / "config.json", testing::Unrecorded()));
    std::vector<testing::StoredTensor> tensors = testing::stored_tensors(folder());
    for (auto& tensor : tensors)
        for (float& value : tensor.values) value = testing::in_every_type(value);
    const testing::TemporaryFolder temporary;
    const auto check = [&]<class Real>(Real) {
        std::vector<Real> expected;
        for (const DType type : {DType::F64, DType::F32, DType::F16, DType::BF16}) {
            const std::filesystem::path file = temporary.path() / "model.safetensors";
            testing::write_safetensors(file, tensors, type);
            const std::vector<Real> result = passes_of<Real>(program, file);
            if (expected.empty()) expected = result;
            EXPECT_EQ(result, expected) << static_cast<int>(type);
            // No matrix is converted beforehand.
            const Weights weights(file, testing::Unrecorded());
            InitialWeights source;
            source.file = &weights;
            const NetworkWeights<Real> held(program, source, {5, 9});
            for (ParameterId p = 0; p < program.parameters().size(); ++p)
                if (program.parameters()[p].shape.size() > 1) {
                    EXPECT_EQ(held.matrix(p).type, type);
                }
        }
    };
    check(1.0F);
    check(1.0);
}

/// Another executor: it counts the threads it serves and leaves the passes to the processor's.
TEST_P(Gradients, RunOnAnyExecutor) {
    const auto weights = std::make_shared<NetworkWeights<float>>(
        program_of(Config(folder() / "config.json", testing::Unrecorded())), InitialWeights{},
        std::vector<std::int32_t>{5, 9});
    int threads = 0;
    Network<float> network(weights, [&](std::shared_ptr<const NetworkWeights<float>> shared) {
        EXPECT_EQ(shared, weights);
        ++threads;
        return passes_on_processor<float>(std::move(shared));
    });
    const Network<float> twin = network.twin();
    EXPECT_EQ(threads, 2);
    network.forward(block_of({{1, 2, 3}}));
    EXPECT_EQ(network.logits().size(), 2U);
}

TEST_P(Gradients, HoldTheBytesThatWerePlanned) {
    const Program program = program_of(Config(folder() / "config.json", testing::Unrecorded()));
    const auto blocks = fitting(program, {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}, {3}, {4, 5, 6, 7}});
    std::vector<std::vector<ParameterId>> selections{{}, {0}};
    for (ParameterId p = 0; p < program.parameters().size(); ++p) selections[0].push_back(p);
    selections.push_back({selections[0].back()});
    selections.push_back({selections[0][selections[0].size() / 2]});
    const auto check = [&]<class Real>(Real) {
        for (const auto& wanted : selections) {
            Network<Real> network(program, Weights(folder(), testing::Unrecorded()), {5, 9, 11});
            const TokenBlock block = block_of(blocks);
            network.forward(block);
            network.backward(std::vector<Real>(9, Real(1)), wanted);
            EXPECT_EQ(network.pass_bytes(), planned_pass_bytes<Real>(program, block, 3, wanted))
                << wanted.size() << " parameters from " << wanted[0];
        }
    };
    check(float());
    check(double());
}

TEST_P(Gradients, OfAPieceWithPlaceholdersAreThoseOfAShorterModel) {
    const Program program = program_of(Config(folder() / "config.json", testing::Unrecorded()));
    const Program piece = first_layers(program, 1);
    EXPECT_LT(piece.operations().size(), program.operations().size());
    EXPECT_EQ(piece.parameters().size(), program.parameters().size());
    EXPECT_GE(piece.values().size(), program.values().size());
    testing::expect_error(ExitStatus::input, ErrorKind::out_of_range, {"99"},
                          [&] { first_layers(program, 99); });
    // Every parameter outside the layers is used as before; of the layers the first one's are.
    const auto before = factors_of(program), after = factors_of(piece);
    for (ParameterId p = 0; p < before.size(); ++p) {
        const std::string& name = program.parameters()[p].name;
        EXPECT_EQ(after[p].size(),
                  name.find(".1.") == std::string::npos && name.find(".2.") == std::string::npos
                      ? before[p].size()
                      : 0U)
            << name;
    }
    InitialWeights source;
    source.placeholder = true;
    Network<float> network(piece, source, {5, 9});
    const auto examples = fitting(program, {{1, 2, 3, 4}, {5, 6}});
    network.forward(block_of(examples));
    for (const float logit : network.logits()) EXPECT_TRUE(std::isfinite(logit));
    network.backward(std::vector<float>(4, 1.0F));
    std::vector<ParameterId> all(piece.parameters().size());
    for (ParameterId p = 0; p < all.size(); ++p) all[p] = p;
    EXPECT_EQ(network.pass_bytes(), planned_pass_bytes<float>(piece, block_of(examples), 2, all));
    // Matrices share their memory, a change takes a copy.
    const NetworkWeights<float> weights(piece, source, {5, 9});
    std::vector<const std::byte*> matrices;
    for (ParameterId p = 0; p < all.size(); ++p)
        if (piece.parameters()[p].shape.size() > 1) matrices.push_back(weights.matrix(p).first);
    EXPECT_EQ(std::count(matrices.begin(), matrices.end(), matrices[0]), std::ssize(matrices));
}

INSTANTIATE_TEST_SUITE_P(
    Models, Gradients,
    ::testing::Values(
        Case{"llama_odd", "llama-odd"}, Case{"llama_tied", "llama-tied"}, Case{"neo_odd", "neo-odd"},
        Case{"gpt2_odd", "gpt2-odd"}, Case{"gpt2_scaled", "gpt2-scaled"},
        Case{"neox_parallel", "neox-parallel"}, Case{"neox_serial", "neox-serial"},
        Case{"mistral_odd", "mistral-odd"}, Case{"qwen2_odd", "qwen2-odd"}, Case{"llama3_odd", "llama3-odd"},
        Case{"bert_odd", "bert-odd"}, Case{"roberta_odd", "roberta-odd"}, Case{"qwen3_odd", "qwen3-odd"},
        Case{"olmo2_odd", "olmo2-odd"}, Case{"smollm3_odd", "smollm3-odd"}, Case{"phi3_odd", "phi3-odd"},
        Case{"gemma2_odd", "gemma2-odd"}, Case{"gemma3_text", "gemma3-text"},
        Case{"gemma3_odd", "gemma3-odd"}, Case{"opt_odd", "opt-odd"}, Case{"opt_behind", "opt-behind"},
        Case{"distilbert_odd", "distilbert-odd"}, Case{"modernbert_odd", "modernbert-odd"}),
    [](const auto& parameters) { return std::string(parameters.param.name); });

TEST(Architectures, WhatTheyDoNotSupportIsNamed) {
    const testing::TemporaryFolder folder;
    const auto refused = [&](ErrorKind kind, const char* model, const char* key,
                             const nlohmann::json& value) {
        nlohmann::json config =
            read_json(test_data() / "models" / model / "config.json", testing::Unrecorded());
        config[key] = value;
        const auto file = folder.path() / "config.json";
        std::ofstream(file) << config;
        testing::expect_error(ExitStatus::input, kind, {"config.json", key},
                              [&] { program_of(Config(file, testing::Unrecorded())); });
    };
    refused(ErrorKind::unsupported, "gpt2-odd", "model_type", "mamba");
    refused(ErrorKind::unsupported, "gpt2-odd", "activation_function", "gelu_10");
    refused(ErrorKind::contradiction, "gpt2-odd", "n_head", 5);
    refused(ErrorKind::unsupported, "gpt2-odd", "add_cross_attention", true);
    refused(ErrorKind::unsupported, "gpt2-odd", "quantization_config", {{"bits", 4}});
    refused(ErrorKind::contradiction, "neox-parallel", "rotary_pct", 0.4);
    refused(ErrorKind::out_of_range, "neox-parallel", "rotary_pct", 1.5);
    refused(ErrorKind::unsupported, "llama3-odd", "rope_scaling", {{"rope_type", "ntk"}, {"factor", 2.0}});
    refused(ErrorKind::missing, "llama3-odd", "rope_scaling", {{"rope_type", "yarn"}});
    refused(ErrorKind::missing, "llama3-odd", "rope_scaling", {{"rope_type", "dynamic"}});
    refused(ErrorKind::out_of_range, "llama3-odd", "rope_scaling",
            {{"rope_type", "yarn"}, {"factor", 2.0}, {"beta_fast", -1}});
    refused(ErrorKind::missing, "llama3-odd", "rope_scaling", {{"rope_type", "llama3"}, {"factor", 2.0}});
    refused(ErrorKind::missing, "llama3-odd", "rope_scaling", {{"type", "linear"}});
    refused(ErrorKind::contradiction, "llama3-odd", "num_key_value_heads", 3);
    refused(ErrorKind::missing, "qwen2-odd", "sliding_window", nullptr);
    refused(ErrorKind::out_of_range, "mistral-odd", "sliding_window", 0);
    refused(ErrorKind::unsupported, "bert-odd", "position_embedding_type", "relative_key");
    refused(ErrorKind::unsupported, "bert-odd", "is_decoder", true);
    refused(ErrorKind::unsupported, "bert-odd", "pruned_heads", {{"1", {0}}});
    refused(ErrorKind::missing, "mistral-odd", "num_key_value_heads", nullptr);
    refused(ErrorKind::missing, "qwen2-odd", "num_key_value_heads", nullptr);
    refused(ErrorKind::unsupported, "llama3-odd", "partial_rotary_factor", 0.5);
    refused(ErrorKind::missing, "llama3-odd", "rope_scaling", {{"factor", 2.0}});
    refused(ErrorKind::unsupported, "llama3-odd", "rope_scaling",
            {{"full_attention", {{"rope_type", "default"}}}});
    refused(ErrorKind::out_of_range, "neox-parallel", "rope_parameters", {{"partial_rotary_factor", 1.5}});
    refused(ErrorKind::out_of_range, "roberta-odd", "max_position_embeddings", 2);
    refused(ErrorKind::unsupported, "opt-odd", "layer_norm_elementwise_affine", false);
    refused(ErrorKind::unsupported, "distilbert-odd", "sinusoidal_pos_embds", true);
    refused(ErrorKind::unsupported, "gemma2-odd", "torch_dtype", "float64");
    refused(ErrorKind::out_of_range, "gemma2-odd", "attn_logit_softcapping", 0);
    refused(ErrorKind::out_of_range, "gemma2-odd", "query_pre_attn_scalar", -1);
    refused(ErrorKind::unsupported, "gemma3-text", "attn_logit_softcapping", 50);
    refused(ErrorKind::unsupported, "gemma3-text", "sliding_window", nullptr);
    for (const char* model : {"olmo2-odd", "smollm3-odd", "gemma2-odd"})
        for (const char* place : {"rope_scaling", "rope_parameters"})
            refused(ErrorKind::unsupported, model, place, {{"partial_rotary_factor", 0.5}});
    refused(ErrorKind::contradiction, "smollm3-odd", "no_rope_layers", {1, 0});
    refused(ErrorKind::malformed, "smollm3-odd", "no_rope_layers", {1, 0, 2});
    refused(ErrorKind::unsupported, "smollm3-odd", "use_sliding_window", false);
    refused(ErrorKind::contradiction, "phi3-odd", "partial_rotary_factor", 0.4);
    refused(ErrorKind::malformed, "phi3-odd", "rope_scaling",
            {{"type", "su"}, {"short_factor", {1, 1}}, {"long_factor", {1, 1, 1}}});
    refused(ErrorKind::malformed, "phi3-odd", "rope_scaling",
            {{"type", "su"}, {"short_factor", {1, 1, 1}}, {"long_factor", {1, 0, 1}}});
    refused(ErrorKind::out_of_range, "modernbert-odd", "local_attention", 1);
    for (const char* type : {"deberta-v2", "t5", "vit", "olmo3"})
        refused(ErrorKind::unsupported, "gpt2-odd", "model_type", type);
}

TEST(Architectures, SizesOfNoModelAreRefusedBeforeTheyTakeMemory) {
    const testing::TemporaryFolder folder;
    const auto refused = [&](ErrorKind kind, const char* model, const nlohmann::json& change,
                             std::initializer_list<std::string> names) {
        nlohmann::json config =
            read_json(test_data() / "models" / model / "config.json", testing::Unrecorded());
        config.update(change);
        const auto file = folder.path() / "config.json";
        std::ofstream(file) << config;
        testing::expect_error(ExitStatus::input, kind, {"config.json"},
                              [&] { program_of(Config(file, testing::Unrecorded())); });
        testing::expect_error(ExitStatus::input, kind, names,
                              [&] { program_of(Config(file, testing::Unrecorded())); });
    };
    constexpr Index huge = 2147483647;
    refused(ErrorKind::out_of_range, "gpt2-odd", {{"n_layer", huge}}, {"n_layer = 2147483647", "4096"});
    refused(ErrorKind::out_of_range, "gpt2-odd", {{"n_layer", 4097}}, {"n_layer = 4097", "4096"});
    refused(ErrorKind::out_of_range, "gpt2-odd", {{"n_embd", huge}, {"n_head", huge}},
            {"n_embd = 2147483647", "1048576"});
    refused(ErrorKind::out_of_range, "gpt2-odd", {{"n_inner", huge}}, {"n_inner = 2147483647", "1048576"});
    refused(ErrorKind::out_of_range, "neo-odd", {{"vocab_size", huge}},
            {"vocab_size = 2147483647", "268435456"});
    refused(ErrorKind::out_of_range, "neo-odd",
            {{"num_layers", huge}, {"attention_types", {{{"global"}, huge}}}}, {"num_layers = "});
    refused(ErrorKind::out_of_range, "llama-odd", {{"num_hidden_layers", huge}},
            {"num_hidden_layers = 2147483647"});
    refused(ErrorKind::out_of_range, "llama-odd", {{"head_dim", huge - 1}},
            {"head_dim = 2147483646", "4096"});
    refused(ErrorKind::out_of_range, "llama-odd", {{"num_key_value_heads", huge}},
            {"num_key_value_heads = 2147483647"});
    refused(ErrorKind::out_of_range, "bert-odd", {{"intermediate_size", 18446744073709551615u}},
            {"intermediate_size = 1844674"});
    refused(ErrorKind::out_of_range, "bert-odd", {{"type_vocab_size", -1}}, {"type_vocab_size = -1"});
    refused(ErrorKind::out_of_range, "neox-parallel", {{"hidden_size", huge}, {"num_attention_heads", huge}},
            {"hidden_size = "});
    refused(ErrorKind::out_of_range, "neox-parallel", {{"hidden_size", 1 << 20}, {"num_attention_heads", 1}},
            {"num_attention_heads = 1", "1048576", "4096"});
    refused(ErrorKind::out_of_range, "llama-odd",
            {{"hidden_size", 1 << 20}, {"num_attention_heads", 2}, {"head_dim", nullptr}},
            {"num_attention_heads = 2", "524288", "4096"});
    refused(ErrorKind::out_of_range, "distilbert-odd", {{"n_layers", huge}}, {"n_layers = ", "4096"});
    refused(ErrorKind::out_of_range, "distilbert-odd", {{"dim", huge}, {"n_heads", huge}}, {"dim = "});
    refused(ErrorKind::out_of_range, "distilbert-odd", {{"hidden_dim", huge}}, {"hidden_dim = "});
    refused(ErrorKind::out_of_range, "opt-odd", {{"ffn_dim", huge}}, {"ffn_dim = "});
    refused(ErrorKind::out_of_range, "opt-odd", {{"word_embed_proj_dim", huge}}, {"word_embed_proj_dim = "});
    // Kinds of layers that are none, again and again.
    nlohmann::json nothing = {{"attention_types", {{nlohmann::json::array(), 18446744073709551615u}}},
                              {"attention_layers", nullptr}};
    refused(ErrorKind::contradiction, "neo-odd", nothing, {"attention_types", "num_layers"});
}

TEST(Architectures, LinearScalingAndNewerKeysOfRotaryPositions) {
    const testing::TemporaryFolder folder;
    const auto frequencies = [&](const nlohmann::json& change, const char* without = "") {
        nlohmann::json config =
            read_json(test_data() / "models" / "llama3-odd" / "config.json", testing::Unrecorded());
        config.update(change);
        config.erase(without);
        const auto file = folder.path() / "config.json";
        std::ofstream(file) << config;
        const Program program = program_of(Config(file, testing::Unrecorded()));
        for (const Operation& operation : program.operations())
            if (const auto* const rotary = std::get_if<operation::Rotary>(&operation))
                return rotary->angles.frequencies;
        return std::vector<double>();
    };
    const auto plain = frequencies({{"rope_scaling", nullptr}});
    ASSERT_EQ(plain.size(), 5u);
    EXPECT_EQ(plain[0], 1.0);
    EXPECT_NEAR(plain[1], std::pow(1000.0, -0.2), 1e-15);
    const auto halved = frequencies({{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}});
    for (std::size_t i = 0; i < plain.size(); ++i) EXPECT_EQ(halved[i], plain[i] / 2);
    const auto scaled = frequencies(nlohmann::json::object());
    // Newer files keep both keys in one object.
    nlohmann::json rope = read_json(test_data() / "models" / "llama3-odd" / "config.json",
                                    testing::Unrecorded())["rope_scaling"];
    rope["rope_theta"] = 1000.0;
    EXPECT_EQ(frequencies({{"rope_parameters", rope}, {"rope_scaling", nullptr}}, "rope_theta"), scaled);
    EXPECT_NE(scaled, plain);
}

/// The program of a fixture's config.json with changes, and what was noted of it.
std::pair<Program, std::vector<std::string>> changed(const char* model, const nlohmann::json& changes,
                                                     const char* without = "") {
    nlohmann::json values = read_json(test_data() / "models" / model / "config.json", testing::Unrecorded());
    values.update(changes);
    values.erase(without);
    const Config config("config.json", values);
    Program program = program_of(config);
    return {std::move(program), config.notes()};
}

/// Operations of one kind.
template <class AnOperation>
std::vector<AnOperation> operations_of(const Program& program) {
    std::vector<AnOperation> found;
    for (const Operation& operation : program.operations())
        if (const auto* const one = std::get_if<AnOperation>(&operation)) found.push_back(*one);
    return found;
}

RotaryAngles angles_of(const char* model, const nlohmann::json& changes) {
    return operations_of<operation::Rotary>(changed(model, changes).first).front().angles;
}

TEST(RotaryScaling, IsThatOfThePublishedRules) {
    const RotaryAngles plain = angles_of("llama3-odd", {{"rope_scaling", nullptr}});
    EXPECT_EQ(angles_of("llama3-odd", {{"rope_scaling", {{"rope_type", "dynamic"}, {"factor", 4.0}}}}),
              plain);
    // Base 1000, five pairs of entries: pair i turns 64 * 1000^(-i/5) / 2 pi times in 64 tokens. It is turned
    // 4 times at i = 0.678, once at i = 1.679, which are rounded outwards unless truncate says otherwise.
    const nlohmann::json yarn{{"rope_type", "yarn"}, {"factor", 2.0}, {"beta_fast", 4}};
    const auto kept = [&](const char* key, const nlohmann::json& value) {
        nlohmann::json rule = yarn;
        rule[key] = value;
        const RotaryAngles angles = angles_of("llama3-odd", {{"rope_scaling", rule}});
        std::vector<double> shares;
        for (std::size_t i = 0; i < 5; ++i)
            shares.push_back(2 * angles.frequencies[i] / plain.frequencies[i] - 1);
        return std::pair{shares, angles.factor};
    };
    const auto [rounded, factor] = kept("truncate", true);
    const double expected[] = {1, 0.5, 0, 0, 0};
    for (std::size_t i = 0; i < 5; ++i) EXPECT_NEAR(rounded[i], expected[i], 1e-14);
    EXPECT_NEAR(factor, 1 + 0.1 * std::log(2.0), 1e-15);
    const double first = 5 * std::log(64 / (4 * 2 * M_PI)) / std::log(1000.0),
                 last = 5 * std::log(64 / (2 * M_PI)) / std::log(1000.0);
    EXPECT_NEAR(kept("truncate", false).first[1], 1 - (1 - first) / (last - first), 1e-14);
    EXPECT_EQ(kept("attention_factor", 1.5).second, 1.5);
    nlohmann::json both = yarn;
    both["mscale"] = 2.0;
    both["mscale_all_dim"] = 1.0;
    EXPECT_NEAR(angles_of("llama3-odd", {{"rope_scaling", both}}).factor,
                (1 + 0.2 * std::log(2.0)) / (1 + 0.1 * std::log(2.0)), 1e-15);
    // The trained length: versions of transformers differ, and a note says so.
    nlohmann::json shorter = yarn;
    shorter["original_max_position_embeddings"] = 32;
    const auto [program, notes] = changed("llama3-odd", {{"rope_scaling", shorter}});
    ASSERT_EQ(notes.size(), 1U);
    EXPECT_NE(notes[0].find("rope_scaling.original_max_position_embeddings"), std::string::npos) << notes[0];
    // Phi-3's older names of one rule.
    const nlohmann::json lists{{"short_factor", {1, 2, 3}}, {"long_factor", {4, 5, 6}}};
    for (const char* name : {"su", "yarn", "longrope"}) {
        nlohmann::json rule = lists;
        rule["type"] = name;
        const RotaryAngles angles = angles_of("phi3-odd", {{"rope_scaling", rule}});
        EXPECT_EQ(angles.longest, 8);
        EXPECT_NEAR(angles.frequencies[1] / angles.long_frequencies[1], 2.5, 1e-15);
        EXPECT_NEAR(angles.factor, std::sqrt(1 + std::log(8.0) / std::log(8.0)), 1e-15);
    }
}

TEST(Architectures, AbsentKeysTakeTransformersDefaults) {
    // As google/gemma-3-4b-it has them, smaller.
    const Config config("config.json", {{"model_type", "gemma3"},
                                        {"torch_dtype", "bfloat16"},
                                        {"text_config",
                                         {{"hidden_size", 80},
                                          {"intermediate_size", 40},
                                          {"model_type", "gemma3_text"},
                                          {"num_hidden_layers", 7},
                                          {"rope_scaling", {{"factor", 8.0}, {"rope_type", "linear"}}},
                                          {"sliding_window", 1024}}},
                                        {"vision_config", {{"hidden_size", 8}}}});
    const Program gemma = program_of(config);
    EXPECT_EQ(gemma.vocabulary_size, 262208);
    EXPECT_EQ(gemma.maximum_length, 131072);
    const auto attentions = operations_of<operation::Attention>(gemma);
    const auto rotaries = operations_of<operation::Rotary>(gemma);
    for (std::size_t layer = 0; layer < 7; ++layer) {
        const bool everywhere = layer == 5;
        EXPECT_EQ(attentions[layer].window, everywhere ? std::nullopt : std::optional<Index>(1024));
        EXPECT_EQ(attentions[layer].heads, 8);
        EXPECT_EQ(attentions[layer].key_value_heads, 4);
        EXPECT_EQ(attentions[layer].head_size, 256);
        EXPECT_EQ(attentions[layer].scale, 1.0 / 16);
        EXPECT_FALSE(attentions[layer].cap);
        EXPECT_NEAR(rotaries[2 * layer].angles.frequencies[64],
                    everywhere ? std::pow(1e6, -0.5) / 8 : std::pow(1e4, -0.5), 1e-15);
    }
    EXPECT_EQ(operations_of<operation::Scale>(gemma).front().factor, 8.9375);  // sqrt(80) in eight bits
    EXPECT_FALSE(operations_of<operation::LabelLogits>(gemma).front().cap);
    // Absent caps are Gemma 2's own, null ones are none.
    const auto caps = [](const Program& program) {
        return std::pair{operations_of<operation::Attention>(program).front().cap,
                         operations_of<operation::LabelLogits>(program).front().cap};
    };
    EXPECT_EQ(
        caps(changed("gemma2-odd", {{"final_logit_softcapping", nullptr}}, "attn_logit_softcapping").first),
        std::pair(std::optional(50.0), std::optional<double>()));
    EXPECT_EQ(
        caps(changed("gemma2-odd", {{"attn_logit_softcapping", nullptr}}, "final_logit_softcapping").first),
        std::pair(std::optional<double>(), std::optional(30.0)));
    const auto head_size = [](const Program& program) {
        return operations_of<operation::Attention>(program).front().head_size;
    };
    EXPECT_EQ(head_size(changed("qwen3-odd", {{"rope_scaling", nullptr}}, "head_dim").first), 128);
    EXPECT_EQ(head_size(changed("gemma2-odd", nlohmann::json::object(), "head_dim").first), 256);
    // SmolLM3: every fourth layer is left unturned.
    const Program smollm = changed("smollm3-odd", {{"num_hidden_layers", 8},
                                                   {"no_rope_layers", nullptr},
                                                   {"no_rope_layer_interval", nullptr},
                                                   {"layer_types", nullptr},
                                                   {"use_sliding_window", false}})
                               .first;
    EXPECT_EQ(operations_of<operation::Rotary>(smollm).size(), 12U);
    // OPT: a norm at the end unless the file is of before transformers 4.20.
    const auto norms = [](const nlohmann::json& changes) {
        return operations_of<operation::LayerNorm>(changed("opt-odd", changes).first).size();
    };
    EXPECT_EQ(norms(nlohmann::json::object()), 5U);
    EXPECT_EQ(norms({{"_remove_final_layer_norm", true}}), 4U);
    const Config init("config.json", {{"model_type", "opt"}, {"init_std", 0.5}, {"initializer_range", 0.1}});
    EXPECT_EQ(drawn_deviation(init), 0.5);
    nlohmann::json inner = {
        {"model_type", "gemma3"}, {"initializer_range", 0.1}, {"text_config", {{"x", 1}}}};
    EXPECT_EQ(drawn_deviation(Config("config.json", inner)), 0.1);
    inner["text_config"]["initializer_range"] = 0.3;
    EXPECT_EQ(drawn_deviation(Config("config.json", inner)), 0.3);
}

TEST(Architectures, KindsPartitionTheTensors) {
    using enum ParameterKind;
    const auto kind = [](const char* model, const std::string& name) {
        const Program program = changed(model, nlohmann::json::object()).first;
        for (const Parameter& parameter : program.parameters())
            if (parameter.name == name) return parameter.kind;
        throw std::runtime_error(name + " is no tensor of " + model);
    };
    for (const auto& [model, name, expected] :
         std::initializer_list<std::tuple<const char*, const char*, ParameterKind>>{
             {"qwen3-odd", "model.layers.0.self_attn.q_norm.weight", norm},
             {"qwen3-odd", "lm_head.weight", head},
             {"olmo2-odd", "model.layers.1.self_attn.k_norm.weight", norm},
             {"olmo2-odd", "model.layers.1.post_feedforward_layernorm.weight", norm},
             {"gemma2-odd", "model.layers.2.pre_feedforward_layernorm.weight", norm},
             {"gemma2-odd", "model.embed_tokens.weight", embedding},
             {"gemma3-odd", "language_model.model.layers.0.mlp.up_proj.weight", mlp},
             {"gemma3-odd", "language_model.model.layers.0.self_attn.k_proj.weight", attention},
             {"phi3-odd", "model.layers.0.self_attn.qkv_proj.weight", attention},
             {"phi3-odd", "model.layers.0.mlp.gate_up_proj.weight", mlp},
             {"opt-odd", "model.decoder.layers.0.self_attn.k_proj.bias", attention},
             {"opt-odd", "model.decoder.layers.0.final_layer_norm.bias", norm},
             {"opt-odd", "model.decoder.embed_positions.weight", embedding},
             {"opt-behind", "model.decoder.project_in.weight", mlp},
             {"opt-behind", "model.decoder.layers.1.fc2.bias", mlp},
             {"distilbert-odd", "vocab_transform.weight", head},
             {"distilbert-odd", "vocab_layer_norm.weight", norm},
             {"distilbert-odd", "vocab_projector.bias", head},
             {"distilbert-odd", "distilbert.transformer.layer.0.attention.out_lin.bias", attention},
             {"distilbert-odd", "distilbert.transformer.layer.0.ffn.lin1.bias", mlp},
             {"modernbert-odd", "model.layers.0.attn.Wqkv.weight", attention},
             {"modernbert-odd", "model.layers.0.mlp.Wi.weight", mlp},
             {"modernbert-odd", "head.dense.weight", head},
             {"modernbert-odd", "head.norm.weight", norm},
             {"modernbert-odd", "decoder.bias", head}})
        EXPECT_EQ(kind(model, name), expected) << model << " " << name;
    // What softmax does not see: SmolLM3's keys that nothing turns, OPT's and DistilBERT's.
    const auto idle = [](const char* model, const std::string& name) {
        const Program program = changed(model, nlohmann::json::object()).first;
        for (const Parameter& parameter : program.parameters())
            if (parameter.name == name) return parameter.idle.size();
        throw std::runtime_error(name + " is no tensor of " + model);
    };
    EXPECT_EQ(idle("smollm3-odd", "model.layers.0.self_attn.k_proj.bias"), 0U);
    EXPECT_EQ(idle("smollm3-odd", "model.layers.1.self_attn.k_proj.bias"), 1U);
    EXPECT_EQ(idle("opt-odd", "model.decoder.layers.0.self_attn.k_proj.bias"), 1U);
    EXPECT_EQ(idle("opt-odd", "model.decoder.layers.0.self_attn.v_proj.bias"), 0U);
    EXPECT_EQ(idle("distilbert-odd", "distilbert.transformer.layer.1.attention.k_lin.bias"), 1U);
}

TEST(InitialWeights, DrawNormsAsTheModelsBegin) {
    for (const char* model : {"gemma2-odd", "gemma3-text", "qwen3-odd"}) {
        const Program program = changed(model, nlohmann::json::object()).first;
        for (const Parameter& parameter : program.parameters())
            if (parameter.kind == ParameterKind::norm) {
                EXPECT_EQ(InitialWeights{}.values<double>(parameter).front(),
                          std::string_view(model) == "qwen3-odd" ? 1.0 : 0.0)
                    << parameter.name;
            }
    }
}

TEST(Network, ASecondCopyOfATiedTensorMustBeEqual) {
    const auto source = test_data() / "models" / "gpt2-odd";
    const testing::TemporaryFolder folder;
    std::filesystem::copy(source / "config.json", folder.path() / "config.json");
    // The file with a copy of the token table behind it, changed in one entry or not.
    std::ifstream stream(source / "model.safetensors", std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(stream)), {});
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    nlohmann::json header = nlohmann::json::parse(bytes.substr(8, length));
    const auto table = header["transformer.wte.weight"]["data_offsets"].get<std::vector<std::size_t>>();
    for (const bool changed : {false, true}) {
        std::string data = bytes.substr(8 + length), copy = data.substr(table[0], table[1] - table[0]);
        if (changed) copy[1] = static_cast<char>(copy[1] ^ 1);
        header["lm_head.weight"] = header["transformer.wte.weight"];
        header["lm_head.weight"]["data_offsets"] = {data.size(), data.size() + copy.size()};
        std::string text = header.dump();
        text += std::string((8 - text.size() % 8) % 8, ' ');
        const std::uint64_t size = text.size();
        std::ofstream out(folder.path() / "model.safetensors", std::ios::binary);
        out.write(reinterpret_cast<const char*>(&size), sizeof size) << text << data << copy;
        out.close();
        const Program program = program_of(Config(folder.path() / "config.json", testing::Unrecorded()));
        const Weights weights(folder.path(), testing::Unrecorded());
        EXPECT_TRUE(check_unused(program, weights, [](const Parameter&) { return false; }).empty());
        if (changed)
            testing::expect_error(ExitStatus::input, ErrorKind::contradiction,
                                  {"lm_head.weight", "transformer.wte.weight"}, [&] {
                                      Network<float>(program, weights, {1, 2});
                                  });
        else
            Network<float>(program, weights, {1, 2});
    }
}

TEST(Network, NamesTheTensorOfTheWrongShape) {
    const auto folder = test_data() / "models" / "llama-odd";
    Program program = program_of(Config(folder / "config.json", testing::Unrecorded()));
    Program other;
    other.vocabulary_size = program.vocabulary_size;
    other.parameter("model.norm.weight", {25}, ParameterKind::norm);
    try {
        Network<float> network(other, Weights(folder, testing::Unrecorded()), {1, 2});
        FAIL() << "a tensor of the wrong shape was taken";
    } catch (const Error& e) {
        EXPECT_EQ(e.status(), ExitStatus::input);
        EXPECT_EQ(e.kind(), ErrorKind::contradiction);
        for (const char* name : {"model.norm.weight", "[24]", "[25]"})
            EXPECT_NE(std::string(e.what()).find(name), std::string::npos) << e.what();
    }
}

}  // namespace
}  // namespace tangram
