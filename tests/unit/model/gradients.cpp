#include <fmt/core.h>
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
    // The token that is read and the mean over all of them, one behind the other.
    x = program.add(program.at_reads(x), program.token_mean(x), 0.8);
    program.label_logits(x, program.parameter("head.weight", {50, hidden}, head), std::nullopt, 2.0);
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
        Case{"olmo2_odd", "olmo2-odd"}, Case{"olmo3_odd", "olmo3-odd"}, Case{"smollm3_odd", "smollm3-odd"},
        Case{"phi3_odd", "phi3-odd"}, Case{"phi_odd", "phi-odd"}, Case{"starcoder2_odd", "starcoder2-odd"},
        Case{"stablelm_odd", "stablelm-odd"}, Case{"stablelm_parallel", "stablelm-parallel"},
        Case{"granite_odd", "granite-odd"}, Case{"gemma_odd", "gemma-odd"}, Case{"gemma2_odd", "gemma2-odd"},
        Case{"gemma3_text", "gemma3-text"}, Case{"gemma3_odd", "gemma3-odd"}, Case{"opt_odd", "opt-odd"},
        Case{"opt_behind", "opt-behind"}, Case{"distilbert_odd", "distilbert-odd"},
        Case{"modernbert_odd", "modernbert-odd"}, Case{"electra_odd", "electra-odd"}),
    [](const auto& parameters) { return std::string(parameters.param.name); });

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
