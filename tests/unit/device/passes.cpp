#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "../src/device/device_passes.hpp"
#include "../src/device/device_products.hpp"
#include "../src/device/host_executor.hpp"
#include "support/counted_memory.hpp"
#include "support/expect_error.hpp"
#include "support/failing_runtime.hpp"
#include "support/model_fixture.hpp"
#include "support/safetensors_file.hpp"
#include "support/temporary_folder.hpp"
#include "tangram/device/device.hpp"
#include "tangram/jacobian/jacobian_factors.hpp"
#include "tangram/model/lora.hpp"
#include "unit/device/devices.hpp"

namespace tangram {
namespace {

/// Examples that attention and vocabulary treat together are few, so that blocks consist of several parts.
constexpr PassSizes few{.attention_entries = 700, .vocabulary_rows = 5};

/// The kernels on the host, and on a GPU where there is one.
std::vector<std::unique_ptr<PassBackEnd>> pass_back_ends() {
    std::vector<std::unique_ptr<PassBackEnd>> all;
    if (testing::on_the_host_too())
        all.push_back(device::device_passes(device::host_runtime(), 0x1p40, few));
    const Gpus gpus = usable_gpus();
    if (gpus.count() > 0) all.push_back(passes_on_gpu(0, gpus.memory / 2));
    std::cout << "passes on: " << all.back()->name() << (gpus.count() > 0 ? " too" : "; " + gpus.words)
              << "\n";
    return all;
}

/// Passes and products on one device.
struct OnOneDevice {
    std::unique_ptr<PassBackEnd> passes;
    std::unique_ptr<ProductBackEnd> products;
};
std::vector<OnOneDevice> devices() {
    std::vector<OnOneDevice> all;
    if (testing::on_the_host_too())
        all.push_back({device::device_passes(device::host_runtime(), 0x1p40, few),
                       device::device_products(device::host_runtime(), 0x1p40)});
    if (const Gpus gpus = usable_gpus(); gpus.count() > 0)
        all.push_back({passes_on_gpu(0, gpus.memory / 2), products_on_gpu(0, gpus.memory / 2)});
    return all;
}

/// Texts of 1 to 17 tokens, read at their last one, or, where answers are scored, at two or three rows.
TokenBlock ragged_block(const Program& program, bool answers, std::int32_t seed) {
    TokenBlock block;
    block.offsets.push_back(0);
    if (answers) block.predicted_offsets.push_back(0);
    for (std::int32_t e = 0; e < 7; ++e) {
        const Index length =
            std::min<Index>(program.maximum_length, answers ? 3 + 2 * e : 1 + (e * 5 + seed) % 17);
        const auto token = [&](Index t) {
            return static_cast<std::int32_t>((e * 31 + t * 7 + seed) % program.vocabulary_size);
        };
        for (Index t = 0; t < length; ++t) block.token_ids.push_back(token(t));
        block.offsets.push_back(std::ssize(block.token_ids));
        const Index reads = answers ? 2 + e % 2 : 1;
        block.reads.push_back(block.offsets.back() - reads);
        for (Index t = 0; answers && t < reads; ++t) block.predicted.push_back(token(length + t));
        if (answers) block.predicted_offsets.push_back(std::ssize(block.predicted));
    }
    return block;
}

template <class Real>
Index different(const Real* a, const Real* b, Index count) {
    Index wrong = 0;
    for (Index i = 0; i < count; ++i) wrong += std::memcmp(a + i, b + i, sizeof(Real)) != 0 ? 1 : 0;
    return wrong;
}

/// Two networks over the same weights.
template <class Real>
class Compared {
  public:
    Compared(NetworkPasses<Real>& device, NetworkPasses<Real>& host, const Program& program)
        : device_(device), host_(host), program_(program) {}

    /// Every value, every gradient that the parameters' factors take, logits, seeds and vectors.
    void run(const TokenBlock& block, const std::vector<ParameterId>& wanted) {
        device_.forward(block);
        host_.forward(block);
        expect_spans(device_.logits(), host_.logits(), "logits");
        expect_spans(device_.log_partitions(), host_.log_partitions(), "log partitions");
        for (std::size_t v = 0; v < program_.values().size(); ++v) expect_rows(block, v, false);
        std::vector<Real> seeds;
        for (std::size_t i = 0; i < host_.logits().size(); ++i)
            seeds.push_back(static_cast<Real>(1 - 0.37 * static_cast<double>(i % 5)));
        for (int pass = 0; pass < 2; ++pass) {
            device_.backward(seeds, wanted);
            host_.backward(seeds, wanted);
            expect_spans(device_.seeds(), host_.seeds(), "seeds");
            const std::vector<bool> needed = needed_gradients(program_, factors_of(program_), wanted);
            for (std::size_t v = 0; v < needed.size(); ++v)
                if (needed[v]) expect_rows(block, v, true);
            for (const ParameterId p : wanted) expect_vectors(block, p);
            std::ranges::reverse(seeds);
        }
    }

  private:
    template <class Entry>
    static void expect_spans(std::span<const Entry> a, std::span<const Entry> b, const char* what) {
        ASSERT_EQ(a.size(), b.size()) << what;
        EXPECT_EQ(different(a.data(), b.data(), std::ssize(a)), 0) << what;
    }
    void expect_rows(const TokenBlock& block, std::size_t v, bool gradient) {
        const ValueShape& shape = program_.values()[v];
        const Value value{v};
        EXPECT_EQ(different(gradient ? device_.gradient(value) : device_.value(value),
                            gradient ? host_.gradient(value) : host_.value(value),
                            block.rows(shape.rows) * shape.width),
                  0)
            << (gradient ? "gradient of value " : "value ") << v;
    }
    void expect_vectors(const TokenBlock& block, ParameterId p) {
        const std::vector<Factor> factors = factors_of(program_)[p];
        for (const Factor& factor : factors) {
            if (factor.kind != Factor::Kind::sum && factor.kind != Factor::Kind::normalised) continue;
            const Index n = program_.parameters()[p].size();
            for (Index e = 0; e < block.examples(); ++e) {
                std::vector<Real> found(static_cast<std::size_t>(n), Real(0)), expected = found;
                for (int times = 0; times < 2; ++times) {  // the second time to what the first has left
                    device_.add_vector(factor, e, found.data());
                    host_.add_vector(factor, e, expected.data());
                    EXPECT_EQ(different(found.data(), expected.data(), n), 0)
                        << program_.parameters()[p].name << ", example " << e;
                }
            }
        }
    }

    NetworkPasses<Real>& device_;
    NetworkPasses<Real>& host_;
    const Program& program_;
};

std::vector<ParameterId> all_of(const Program& program) {
    std::vector<ParameterId> all(program.parameters().size());
    for (ParameterId p = 0; p < all.size(); ++p) all[p] = p;
    return all;
}

/// Three rows of the head's table.
std::vector<std::int32_t> labels_of(const Program& program) {
    const auto* const head = std::get_if<operation::LabelLogits>(&program.operations().back());
    if (head == nullptr) return {};
    const auto last = static_cast<std::int32_t>(program.parameters()[head->table].shape[0]) - 1;
    return {last, 0, 1};
}

template <class Real>
void expect_bits_of_the_host(PassBackEnd& back_end, const Program& program, const InitialWeights& source,
                             bool answers) {
    const auto weights = std::make_shared<NetworkWeights<Real>>(program, source, labels_of(program));
    const auto on_device = back_end.passes(weights, 1000), on_host = passes_on_processor<Real>(weights);
    Compared<Real> compared(*on_device, *on_host, weights->program());
    const std::vector<ParameterId> all = all_of(program);
    compared.run(ragged_block(program, answers, 1), all);
    compared.run(ragged_block(program, answers, 3),
                 {all[all.size() / 2]});  // a larger block, fewer gradients
}

/// Every folder of models: all architectures, with heads of their own and without.
std::vector<std::filesystem::path> model_folders() {
    std::vector<std::filesystem::path> folders;
    for (const auto& entry : std::filesystem::directory_iterator(testing::test_data() / "models"))
        if (std::filesystem::exists(entry.path() / "config.json")) folders.push_back(entry.path());
    std::ranges::sort(folders);
    return folders;
}

class PassesOnADevice : public ::testing::TestWithParam<std::filesystem::path> {};

TEST_P(PassesOnADevice, HaveTheBitsOfTheHost) {
    nlohmann::json reference;
    reference["vocab_ids"] = {1, 3, 4};  // a new classifier has as many labels
    const testing::ModelFixture fixture{GetParam(), reference};
    const Program program = fixture.program();
    const Weights file(GetParam(), testing::Unrecorded());
    const bool classifier = GetParam().filename().string().ends_with("-classifier");
    const InitialWeights source =
        classifier ? InitialWeights{.deviation = 0.3} : InitialWeights{.file = &file};
    for (const auto& back_end : pass_back_ends()) {
        SCOPED_TRACE(back_end->name());
        expect_bits_of_the_host<float>(*back_end, program, source, false);
        expect_bits_of_the_host<double>(*back_end, program, source, false);
        EXPECT_FALSE(back_end->failed());
    }
}

INSTANTIATE_TEST_SUITE_P(Models, PassesOnADevice, ::testing::ValuesIn(model_folders()), [](const auto& of) {
    std::string name = of.param.filename().string();
    std::ranges::replace(name, '-', '_');
    return name;
});

TEST(PassesOnADeviceOf, AnswersAndCapsHaveTheBitsOfTheHost) {
    for (const char* const folder : {"gpt2-odd", "gemma2-odd", "qwen3-odd"})
        for (const bool mean : {false, true}) {
            SCOPED_TRACE(folder);
            Program program = program_of(
                Config(testing::test_data() / "models" / folder / "config.json", testing::Unrecorded()));
            program.score_answers(mean);
            for (const auto& back_end : pass_back_ends()) {
                expect_bits_of_the_host<float>(*back_end, program, InitialWeights{.deviation = 0.4}, true);
                expect_bits_of_the_host<double>(*back_end, program, InitialWeights{.deviation = 0.4}, true);
            }
        }
}

/// What no family has: scores with a cap that see tokens on both sides, queries that share keys, columns
/// taken twice, and rows read beside a mean over tokens.
Program program_of_extras() {
    using enum ParameterKind;
    Program program;
    program.vocabulary_size = 50;
    program.maximum_length = 20;
    const Value x = program.embedding(program.parameter("table.weight", {50, 12}, embedding));
    const auto linear = [&](Value in, const char* name, Index width) {
        return program.linear(in, program.parameter(name, {width, 12}, attention));
    };
    const Value twice = program.columns(linear(x, "columns.weight", 12), 0, 8, 4, 2),
                k = program.columns(twice, 2, 6, 1, 1), v = linear(x, "v.weight", 6);
    operation::Attention scored{linear(x, "q.weight", 12), k, v, 4, 2, 3, 0.7, Index{2}, {}, false, 1.5};
    const Value mixed = program.multiply(x, program.attention(scored));
    const Value y = program.add(program.scale(mixed, 1.7), program.multiply(x, x), 0.3);
    const Value read = program.add(program.at_reads(y), program.token_mean(y), 0.8);
    program.label_logits(read, program.parameter("head.weight", {50, 12}, head),
                         program.parameter("head.bias", {50}, head), 2.0);
    return program;
}

TEST(PassesOnADeviceOf, WhatNoFamilyHasHaveTheBitsOfTheHost) {
    for (const auto& back_end : pass_back_ends()) {
        expect_bits_of_the_host<float>(*back_end, program_of_extras(), InitialWeights{.deviation = 0.5},
                                       false);
        expect_bits_of_the_host<double>(*back_end, program_of_extras(), InitialWeights{.deviation = 0.5},
                                        false);
    }
}

TEST(PassesOnADeviceOf, AdaptersAndWeightsOfAnyTypeHaveTheBitsOfTheHost) {
    const std::filesystem::path folder = testing::test_data() / "models/gpt2-odd";
    const Program plain = program_of(Config(folder / "config.json", testing::Unrecorded()));
    std::vector<ParameterId> linear;
    for (const Operation& operation : plain.operations())
        if (const auto* const op = std::get_if<operation::Linear>(&operation)) linear.push_back(op->weight);
    const testing::TemporaryFolder temporary;
    const std::filesystem::path file = temporary.path() / "model.safetensors";
    for (const DType type : {DType::F64, DType::F16, DType::BF16}) {
        testing::write_safetensors(file, testing::stored_tensors(folder), type);
        const Weights weights(file, testing::Unrecorded());
        for (const auto& back_end : pass_back_ends()) {
            expect_bits_of_the_host<float>(*back_end, plain, {.file = &weights}, false);
            expect_bits_of_the_host<double>(*back_end, with_lora(plain, linear, 2, 3.0), {.file = &weights},
                                            false);
        }
    }
}

/// A file of one tensor of all 65 536 numbers of 16 bits, zeros in place of those that are not finite.
void write_all_numbers(const std::filesystem::path& file, DType type) {
    std::string data;
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
        const std::uint32_t exponents = type == DType::F16 ? 0x7C00 : 0x7F80;
        const auto stored = static_cast<std::uint16_t>((bits & exponents) == exponents ? 0 : bits);
        data.append(reinterpret_cast<const char*>(&stored), sizeof stored);
    }
    std::string header = nlohmann::json{{"table.weight",
                                         {{"dtype", type == DType::F16 ? "F16" : "BF16"},
                                          {"shape", {4096, 16}},
                                          {"data_offsets", {0, data.size()}}}}}
                             .dump();
    header += std::string((8 - header.size() % 8) % 8, ' ');
    const std::uint64_t length = header.size();
    std::ofstream(file, std::ios::binary).write(reinterpret_cast<const char*>(&length), sizeof length)
        << header << data;
}

/// By the formats' definition: IEEE 754 binary16, and binary32 without its last 16 bits.
double number_of(std::uint32_t bits, int fraction_bits, int bias) {
    const std::uint32_t fraction = bits & ((1U << fraction_bits) - 1),
                        exponent = (bits & 0x7FFFU) >> fraction_bits;
    const double one = std::ldexp(1.0, fraction_bits), size = exponent == 0 ? fraction : one + fraction;
    return (bits & 0x8000U ? -1.0 : 1.0) *
           std::ldexp(size, std::max(1, static_cast<int>(exponent)) - bias - fraction_bits);
}

template <class Real>
void expect_all_numbers(PassBackEnd& back_end, const Weights& weights, int fraction_bits, int bias) {
    Program program;
    program.vocabulary_size = program.maximum_length = 4096;
    const ParameterId table = program.parameter("table.weight", {4096, 16}, ParameterKind::embedding);
    const Value rows = program.embedding(table);
    program.label_logits(program.at_reads(rows), table);
    const auto network = std::make_shared<NetworkWeights<Real>>(program, InitialWeights{.file = &weights},
                                                                std::vector<std::int32_t>{0, 1});
    TokenBlock block{.token_ids = std::vector<std::int32_t>(4096), .offsets = {0, 4096}, .reads = {0}};
    std::iota(block.token_ids.begin(), block.token_ids.end(), 0);
    const auto passes = back_end.passes(network, 4096);
    passes->forward(block);
    const Real* const found = passes->value(rows);
    const std::uint32_t infinity = 0x7FFFU >> fraction_bits;
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
        const bool finite = (bits & 0x7FFFU) >> fraction_bits != infinity;
        const Real expected = finite ? static_cast<Real>(number_of(bits, fraction_bits, bias)) : Real(0);
        ASSERT_EQ(different(found + bits, &expected, 1), 0)
            << bits << ": " << found[bits] << ", " << expected;
    }
}

TEST(PassesOnADeviceOf, NumbersOf16BitsAreWhatTheirFormatsSay) {
    const testing::TemporaryFolder temporary;
    for (const DType type : {DType::F16, DType::BF16}) {
        const std::filesystem::path file = temporary.path() / "model.safetensors";
        write_all_numbers(file, type);
        const Weights weights(file, testing::Unrecorded());
        const int fraction_bits = type == DType::F16 ? 10 : 7, bias = type == DType::F16 ? 15 : 127;
        for (const auto& back_end : pass_back_ends()) {
            expect_all_numbers<float>(*back_end, weights, fraction_bits, bias);
            expect_all_numbers<double>(*back_end, weights, fraction_bits, bias);
        }
    }
}

/// Bytes that were planned for the weights.
double expect_no_more_memory_than_planned(const Program& program, const InitialWeights& source) {
    const auto weights =
        std::make_shared<NetworkWeights<float>>(program, source, std::vector<std::int32_t>{1, 3});
    const TokenBlock block = ragged_block(program, false, 1);
    const PassNeeds needs = pass_needs<float>(program, block.longest(), 2, all_of(program), 0x1p40,
                                              weights_in_passes<float>(program, source));
    const double planned =
        needs.weights + needs.fixed + needs.token * static_cast<double>(block.offsets.back());
    const auto back_end = device::device_passes(device::host_runtime(planned), planned);
    const auto passes = back_end->passes(weights, 100);
    EXPECT_EQ(passes->tokens_per_block(), 100);
    for (int times = 0; times < 2; ++times) {
        passes->forward(block);
        passes->backward(std::vector<float>(passes->logits().size(), 1.0F), all_of(program));
        for (const auto& factors : factors_of(program))
            for (const Factor& factor : factors) {
                std::vector<float> sums(10000, 0.0F);
                if (factor.kind == Factor::Kind::sum || factor.kind == Factor::Kind::normalised)
                    passes->add_vector(factor, 0, sums.data());
            }
    }
    const auto too_small = device::device_passes(device::host_runtime(needs.weights / 2), planned);
    testing::expect_error(ExitStatus::numerical, ErrorKind::no_memory, {too_small->name()},
                          [&] { too_small->passes(weights, 100); });
    EXPECT_TRUE(too_small->failed());
    return needs.weights;
}

// The device has no byte more than was planned.
TEST(PassesOnADeviceOf, AnyBlockTakeNoMoreMemoryThanWasPlanned) {
    const testing::TemporaryFolder temporary;
    const std::filesystem::path file = temporary.path() / "model.safetensors";
    for (const char* const folder : {"gpt2-odd", "llama-odd", "modernbert-mean-trained"}) {
        SCOPED_TRACE(folder);
        const std::filesystem::path at = testing::test_data() / "models" / folder;
        const Program program = testing::ModelFixture{at, {}}.program();
        const double wide = expect_no_more_memory_than_planned(program, InitialWeights{.deviation = 0.3});
        testing::write_safetensors(file, testing::stored_tensors(at), DType::BF16);
        const Weights stored(file, testing::Unrecorded());
        const double narrow = expect_no_more_memory_than_planned(program, {.file = &stored});
        double entries = 0;
        for (const Parameter& parameter : program.parameters())
            if (parameter.shape.size() > 1) entries += static_cast<double>(parameter.size());
        EXPECT_EQ(wide - narrow, 2 * entries);
    }
}

/// Texts of 1 to 13 tokens, with two answers each or without.
DataSet ragged_data(bool answers) {
    DataSet data;
    for (std::int32_t e = 0; e < 8; ++e) {
        std::vector<std::int32_t> tokens;
        for (std::int32_t t = 0; t <= (e * 5) % 13; ++t) tokens.push_back((e * 11 + t * 3) % 19);
        data.append(tokens, e % 2, e);
        if (answers) data.append_answers(std::vector<std::int32_t>{3, 4, 5}, std::vector<Index>{0, 1, 3});
    }
    return data;
}

/// Of all parameters, logits and every entry of every gradient.
std::vector<float> gradients_of(Network<float>& network, const DataSet& data, KernelOutput output,
                                FactorMemory* memory = nullptr) {
    std::vector<Index> examples(static_cast<std::size_t>(data.examples()));
    std::iota(examples.begin(), examples.end(), Index{0});
    const KernelOutputs outputs(output, 2);
    const auto& parameters = network.program().parameters();
    const JacobianFactors<float> factors(network, data, examples, outputs,
                                         {all_of(network.program()), {}, memory, all_of(network.program())});
    for (const ParameterId p : all_of(network.program())) factors.bring_home(p);
    std::vector<float> all(factors.logits().begin(), factors.logits().end());
    for (Index e = 0; e < data.examples(); ++e)
        for (Index pass = 0; pass < outputs.passes(); ++pass)
            for (ParameterId p = 0; p < parameters.size(); ++p) {
                const auto before = all.size();
                all.resize(before + static_cast<std::size_t>(parameters[p].size()));
                factors.multiply_out(p, 0, parameters[p].size(), e, pass, all.data() + before);
            }
    return all;
}

TEST(PassesOnADeviceOf, BlocksOfAnySizeLeaveTheFactorsOfTheHost) {
    const Program plain =
        program_of(Config(testing::test_data() / "models/gpt2-odd/config.json", testing::Unrecorded()));
    for (const bool answers : {false, true}) {
        Program program = plain;
        if (answers) program.score_answers(false);
        const DataSet data = ragged_data(answers);
        Network<float> host(program, InitialWeights{.deviation = 0.3},
                            answers ? std::vector<std::int32_t>{} : std::vector<std::int32_t>{5, 9});
        for (const OnOneDevice& device : devices())
            for (const auto& [output, tokens] :
                 std::vector<std::pair<KernelOutput, Index>>{{KernelOutput::margin, 1},
                                                             {KernelOutput::margin, 20},
                                                             {KernelOutput::logits, 1},
                                                             {KernelOutput::logits, 20},
                                                             {KernelOutput::logits, 1000}}) {
                Network<float> network =
                    host.on([&, together = tokens](std::shared_ptr<const NetworkWeights<float>> weights) {
                        return device.passes->passes(std::move(weights), together);
                    });
                const std::vector<float> found = gradients_of(network, data, output),
                                         expected = gradients_of(host, data, output);
                ASSERT_EQ(found.size(), expected.size());
                EXPECT_EQ(different(found.data(), expected.data(), std::ssize(found)), 0) << tokens;
                // The same where they are left there, or would be if all found room.
                for (const auto& [rooms, taken] :
                     std::vector<std::pair<Index, bool>>{{1000, false}, {3, false}, {3, true}}) {
                    testing::CountedMemory memory(*device.products->factor_memory(0), rooms, taken);
                    const std::vector<float> left = gradients_of(network, data, output, &memory);
                    EXPECT_EQ(memory.left > 3, rooms > 3);
                    EXPECT_EQ(memory.asked_for > 3, rooms > 3);
                    ASSERT_EQ(left.size(), expected.size());
                    EXPECT_EQ(different(left.data(), expected.data(), std::ssize(left)), 0) << tokens;
                    device.products->forget_factors();
                }
            }
    }
}

TEST(PassesOnADeviceOf, GradientsLeftThereThatAreNotFiniteAreNamedAsOnTheHost) {
    using enum ParameterKind;
    Program program;
    program.vocabulary_size = 19;
    program.maximum_length = 20;
    const Value x = program.embedding(program.parameter("table.weight", {19, 6}, embedding)),
                y = program.linear(x, program.parameter("small.weight", {6, 6}, attention)),
                z = program.linear(y, program.parameter("large.weight", {6, 6}, attention));
    program.label_logits(program.at_reads(z), program.parameter("head.weight", {19, 6}, head), std::nullopt);
    Network<float> host(program, InitialWeights{.deviation = 1.0}, {5, 9});
    const auto multiply = [&](ParameterId p, float factor) {
        for (float& weight : host.weights(p)) weight *= factor;
    };
    // The head's logits are near 10^25, the gradient behind the large weights is beyond float32.
    multiply(1, 1e-20F), multiply(2, 1e20F), multiply(3, 1e25F);
    const DataSet data = ragged_data(false);
    const std::vector<Index> examples{0, 1, 2, 3, 4, 5, 6, 7};
    const auto message = [&](Network<float>& of, FactorMemory* memory) -> std::string {
        try {
            const JacobianFactors<float> factors(of, data, examples, KernelOutputs(KernelOutput::margin, 2),
                                                 {{1}, {}, memory, {1}});
        } catch (const Error& e) {
            return e.what();
        }
        return "";
    };
    const std::string expected = message(host, nullptr);
    EXPECT_NE(expected.find("gradient of small.weight for example 0 "), std::string::npos) << expected;
    for (const OnOneDevice& device : devices()) {
        Network<float> network = host.on([&](std::shared_ptr<const NetworkWeights<float>> weights) {
            return device.passes->passes(std::move(weights), 12);
        });
        testing::CountedMemory memory(*device.products->factor_memory(0));
        EXPECT_EQ(message(network, &memory), expected);
        EXPECT_EQ(memory.left, 2);
        EXPECT_EQ(memory.asked_for, 1);
        device.products->forget_factors();
    }
}

TEST(BlocksOfTokens, AreAsLargeAsAskedFor) {
    const DataSet data = ragged_data(false);  // of 1, 6, 11, 3, 8, 13, 5, 10 tokens
    const std::vector<Index> examples{0, 1, 2, 3, 4, 5, 6, 7};
    EXPECT_EQ(block_starts(data, examples, 8, 12), (std::vector<Index>{0, 2, 3, 5, 6, 7, 8}));
    EXPECT_EQ(block_starts(data, examples, 8, 18), (std::vector<Index>{0, 3, 5, 7, 8}));
    EXPECT_EQ(block_starts(data, examples, 8, 1000), (std::vector<Index>{0, 8}));
    EXPECT_EQ(block_starts(data, examples, 3, 0), (std::vector<Index>{0, 3, 6, 8}));
    EXPECT_EQ(block_starts(data, {}, 8, 5), (std::vector<Index>{0}));
}

/// Off by the last bit of one weight.
class WrongPasses final : public PassBackEnd {
  public:
    std::string name() const override { return "a wrong one"; }
    double memory() const override { return right_->memory(); }
    std::unique_ptr<NetworkPasses<float>> passes(std::shared_ptr<const NetworkWeights<float>> weights,
                                                 Index tokens) override {
        return right_->passes(std::move(weights), tokens);
    }
    std::unique_ptr<NetworkPasses<double>> passes(std::shared_ptr<const NetworkWeights<double>> weights,
                                                  Index tokens) override {
        auto other = std::make_shared<NetworkWeights<double>>(
            weights->program(), InitialWeights{.deviation = 0.3}, weights->label_ids());
        double& weight = other->changeable(0)[30];
        weight = std::nextafter(weight, 1e9);
        return right_->passes(std::move(other), tokens);
    }
    bool failed() const override { return false; }

  private:
    std::unique_ptr<PassBackEnd> right_ = device::device_passes(device::host_runtime(), 0x1p40);
};

TEST(PassesOnADeviceOf, OtherBitsAreRefused) {
    WrongPasses wrong;
    testing::expect_error(ExitStatus::numerical, ErrorKind::failed_check, {"a wrong one"},
                          [&] { device::require_bits_of_the_host(wrong); });
    device::require_bits_of_the_host(*device::device_passes(device::host_runtime(), 0x1p40));
}

TEST(PassesOnADeviceOf, AFailingDeviceNameIt) {
    const Program program = program_of_extras();
    const auto weights = std::make_shared<NetworkWeights<float>>(program, InitialWeights{.deviation = 0.3},
                                                                 std::vector<std::int32_t>{1, 3});
    const TokenBlock block = ragged_block(program, false, 1);
    Index failures = 0;
    for (Index good = 0;; ++good) {
        const auto back_end = device::device_passes(std::make_unique<testing::FailingRuntime>(good), 0x1p40);
        try {
            const auto passes = back_end->passes(weights, 100);
            passes->forward(block);
            passes->backward(std::vector<float>(passes->logits().size(), 1.0F), all_of(program));
            passes->value(Value{0});
            passes->gradient(Value{0});
        } catch (const Error& e) {
            ++failures;
            EXPECT_EQ(e.status(), ExitStatus::numerical);
            EXPECT_NE(std::string(e.what()).find("GPU 3 of node17"), std::string::npos) << e.what();
            EXPECT_TRUE(back_end->failed());
            continue;
        }
        EXPECT_FALSE(back_end->failed());
        break;
    }
    EXPECT_GT(failures, 30);
}

}  // namespace
}  // namespace tangram
