#include "tangram/device/device.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <numeric>

#include "cuda_runtime.hpp"
#include "device_passes.hpp"
#include "device_products.hpp"
#include "host_executor.hpp"

namespace tangram {

namespace {

/// Numbers of all sizes and both signs, of a linear congruential generator.
template <class Real>
void fill_with_trial_numbers(std::vector<Real>& numbers, std::uint32_t& state) {
    for (Real& number : numbers) {
        state = 1664525U * state + 1013904223U;
        number = static_cast<Real>(static_cast<std::int32_t>(state)) / static_cast<Real>(1U << (state % 31));
    }
}

/// The sums that a back end gives for two small ragged tiles, in three pieces of odd depths, added twice.
template <class Real>
std::vector<double> trial_sums(ProductBackEnd& back_end) {
    constexpr Index panel = 8, rows = 19, columns = 141, padded = 24, padded_columns = 144;
    const std::vector<std::vector<ProductPiece>> pieces{
        {{0, 0, 256, false}, {256, 256, 37, false}, {293, 293, 1, true}}};
    constexpr Index depth = 294;
    std::vector<Real> left(static_cast<std::size_t>(padded * depth)),
        right(static_cast<std::size_t>(padded_columns * depth));
    std::uint32_t state = 1;
    std::vector<double> sums(static_cast<std::size_t>(rows * columns), 0.1);
    for (int slice = 0; slice < 2; ++slice) {
        for (std::vector<Real>* const of : {&left, &right}) fill_with_trial_numbers(*of, state);
        const std::vector<PackedRows<Real>> tiles{{left, rows, padded}, {right, columns, padded_columns}};
        const std::vector<TileProduct> products{{0, 1, 0, sums.data(), rows, false, false}};
        back_end.add(SliceProducts<Real>{panel, pieces, tiles, products}, [] {});
    }
    back_end.store_sums();
    return sums;
}

/// The sums that a back end gives for rows of one to three tokens in factors of odd widths, added twice.
template <class Real>
std::vector<double> trial_factors(ProductBackEnd& back_end) {
    constexpr Index panel = 8, rows = 29, padded = 64, deltas = 19, inputs = 43;
    std::vector<Index> tokens;
    TokenChunk chunk{0, rows, 0};
    for (Index r = 0; r < rows; ++r) {
        tokens.push_back(1 + r % 3);
        chunk.tokens += tokens.back();
    }
    std::vector<Real> entries(static_cast<std::size_t>(padded * (deltas + inputs)));
    std::uint32_t state = 3;
    fill_with_trial_numbers(entries, state);
    std::vector<double> sums(rows * rows, 0.1);
    const std::vector<PackedTokens<Real>> tiles{{entries, rows, tokens, {&chunk, 1}}};
    const std::vector<TileProduct> products{{0, 0, 0, sums.data(), rows, false, false}};
    for (int slice = 0; slice < 2; ++slice)
        back_end.add(FactorProducts<Real>{panel, deltas, inputs, false, tiles, products}, [] {});
    back_end.store_sums();
    return sums;
}

/// The sums that a back end gives for rows that reach some of three ids, added twice.
template <class Real>
std::vector<double> trial_matches(ProductBackEnd& back_end) {
    constexpr Index rows = 29, columns = 41, octets = 4 + 2 + 1;
    std::vector<MatchingRows> matches{{3, 0, rows, 0}, {7, rows, 11, 4}, {8, rows + 11, 5, 6}};
    std::vector<Index> matching_rows(rows + 11 + 5);
    for (Index i = 0; i < std::ssize(matching_rows); ++i)
        matching_rows[static_cast<std::size_t>(i)] = i < rows        ? i
                                                     : i < rows + 11 ? 2 * (i - rows)
                                                                     : i - rows - 11;
    std::vector<Real> entries(static_cast<std::size_t>(8 * octets * columns));
    std::uint32_t state = 4;
    fill_with_trial_numbers(entries, state);
    std::vector<double> sums(rows * rows, 0.1);
    const std::vector<PackedMatches<Real>> tiles{{entries, rows, matches, matching_rows}};
    const std::vector<TileProduct> products{{0, 0, 0, sums.data(), rows, false, false}};
    for (int slice = 0; slice < 2; ++slice)
        back_end.add(MatchProducts<Real>{1, columns, false, tiles, products}, [] {});
    back_end.store_sums();
    return sums;
}

/// A tile that goes home once it is formed; nothing where there is no room.
template <class Real>
std::vector<Real> formed(ProductBackEnd& back_end, const SliceToPack<Real>& slice,
                         const std::vector<Real>& tile) {
    const bool taken = back_end.begin_packing(slice);
    if (taken) back_end.end_packing();
    back_end.forget_factors();
    return taken ? tile : std::vector<Real>();
}

/// The tile that a back end forms of gradients of odd shapes: of one row without tokens, and with signs
/// behind.
template <class Real>
std::vector<Real> trial_tile(ProductBackEnd& back_end) {
    constexpr Index panel = 8, rows = 37, padded = 40, outputs = 11, inputs = 67, tokens = 7, depth = 600;
    std::vector<Real> deltas(rows * tokens * outputs), all_inputs(rows * tokens * inputs),
        tile(static_cast<std::size_t>(2 * depth * padded), Real(-1));
    std::uint32_t state = 2;
    for (std::vector<Real>* const of : {&deltas, &all_inputs}) fill_with_trial_numbers(*of, state);
    TileToPack<Real> to_pack{tile, rows, padded, {}, true};
    for (Index r = 0; r < rows; ++r)
        to_pack.factors.push_back(
            {deltas.data() + r * tokens * outputs, all_inputs.data() + r * tokens * inputs, r % 5 + r % 3});
    const SliceToPack<Real> slice{
        panel,
        2,
        Real(0.5),
        {{0, 61, depth, outputs, inputs}},
        {{deltas.data(), rows * tokens, outputs}, {all_inputs.data(), rows * tokens, inputs}},
        {to_pack}};
    return formed(back_end, slice, tile);
}

/// The tile in factors of odd widths that a back end packs: one row lacks a token, one has none.
template <class Real>
std::vector<Real> trial_tokens(ProductBackEnd& back_end) {
    constexpr Index panel = 8, rows = 29, most = 3, padded = 64, outputs = 67, inputs = 11;
    std::vector<Real> deltas(rows * most * outputs), all_inputs(rows * most * inputs),
        tile(static_cast<std::size_t>(padded * (outputs + inputs)), Real(-1));
    std::uint32_t state = 6;
    for (std::vector<Real>* const of : {&deltas, &all_inputs}) fill_with_trial_numbers(*of, state);
    std::vector<Index> tokens;
    TokenChunk chunk{0, rows, 0};
    TileToPack<Real> to_pack{tile, rows, rows, {}, true};
    for (Index r = 0; r < rows; ++r) {
        tokens.push_back(1 + r % most);
        chunk.tokens += tokens.back();
        to_pack.factors.push_back({deltas.data() + r * most * outputs, all_inputs.data() + r * most * inputs,
                                   r == 3 || r == 10 ? r % most : tokens.back()});
    }
    to_pack.row_tokens = tokens;
    to_pack.chunks = {&chunk, 1};
    return formed(
        back_end,
        SliceToPack<Real>{panel,
                          1,
                          0,
                          {{0, 0, outputs * inputs, outputs, inputs}},
                          {{deltas.data(), rows * most, outputs}, {all_inputs.data(), rows * most, inputs}},
                          {to_pack},
                          true},
        tile);
}

template <class Real>
bool has_the_bits_of_the_host(ProductBackEnd& back_end) {
    const auto host = device::host_executor();
    const auto same = [](const auto& found, const auto& expected) {
        return found.size() == expected.size() &&
               std::memcmp(found.data(), expected.data(), found.size() * sizeof(found[0])) == 0;
    };
    const std::vector<Real> tile = trial_tile<Real>(back_end), tokens = trial_tokens<Real>(back_end);
    return same(trial_sums<Real>(back_end), trial_sums<Real>(*host)) &&
           same(trial_factors<Real>(back_end), trial_factors<Real>(*host)) &&
           same(trial_matches<Real>(back_end), trial_matches<Real>(*host)) &&
           (tile.empty() || same(tile, trial_tile<Real>(*host))) &&
           (tokens.empty() || same(tokens, trial_tokens<Real>(*host)));
}

/// A network of some tokens with most of what passes are made of.
Program trial_program() {
    using enum ParameterKind;
    constexpr Index hidden = 24, heads = 4, key_heads = 2, head_size = 6;
    Program program;
    program.vocabulary_size = 40;
    program.maximum_length = 40;
    const auto matrix = [&](const char* name, Index rows) {
        return program.parameter(name, {rows, hidden}, attention);
    };
    const auto vector = [&](const char* name) { return program.parameter(name, {hidden}, norm); };
    Value x = program.positions(program.embedding(matrix("tokens", 40)), matrix("positions", 40));
    const Value in = program.layer_norm(x, vector("first.weight"), vector("first.bias"), 1e-5);
    const RotaryAngles angles{{1.0, 0.3, 0.01}, 1.25};
    const Value q = program.rotary(program.linear(in, matrix("q", hidden), vector("q.bias")), head_size,
                                   angles),
                k = program.rotary(program.linear(in, matrix("k", key_heads * head_size)), head_size, angles),
                v = program.linear(in, matrix("v", key_heads * head_size));
    x = program.add(x,
                    program.attention({q, k, v, heads, key_heads, head_size, 0.4, Index{9}, {}, true, 2.0}));
    const Value wide = program.rms_norm(x, vector("second.weight"), 1e-6, 1.0);
    x = program.add(x, program.multiply(program.activate(wide, Activation::gelu), wide), 0.7);
    x = program.add(program.at_reads(x), program.token_mean(x));
    program.label_logits(x, matrix("head", 40), std::nullopt, 3.0);
    return program;
}

/// Numbers of 16 bits and both signs, of sizes 2^-3 to 1.
std::vector<std::uint16_t> trial_entries(Index count, DType type, std::uint32_t state) {
    const std::uint32_t one = type == DType::F16 ? 0x3C00U : 0x3F80U,
                        range = 3U << (type == DType::F16 ? 10 : 7);
    std::vector<std::uint16_t> entries;
    for (Index i = 0; i < count; ++i) {
        state = 1664525U * state + 1013904223U;
        entries.push_back(static_cast<std::uint16_t>((one - (state >> 12) % range) | (state >> 31 << 15)));
    }
    return entries;
}

/// Logits, and gradients of some values, of texts of 1 to 37 tokens.
template <class Real>
std::vector<Real> trial_passes(NetworkPasses<Real>& passes, const Program& program) {
    TokenBlock block;
    block.offsets.push_back(0);
    for (std::int32_t length = 1; length < 40; length += 12) {
        for (std::int32_t t = 0; t < length; ++t) block.token_ids.push_back((7 * t + length) % 40);
        block.offsets.push_back(std::ssize(block.token_ids));
        block.reads.push_back(block.offsets.back() - 1);
    }
    std::vector<ParameterId> all(program.parameters().size());
    std::iota(all.begin(), all.end(), ParameterId{0});
    passes.forward(block);
    std::vector<Real> found(passes.logits().begin(), passes.logits().end());
    passes.backward(found, all);
    for (const Operation& operation : program.operations())
        if (const auto out = output_of(operation)) {
            const ValueShape& shape = program.shape(*out);
            const Real* const rows = passes.gradient(*out);
            found.insert(found.end(), rows, rows + block.rows(shape.rows) * shape.width);
        }
    return found;
}

template <class Real>
bool has_the_bits_of_the_host(PassBackEnd& back_end) {
    const Program program = trial_program();
    InitialWeights source{.deviation = 0.3};
    std::map<std::string, std::vector<std::uint16_t>> narrow;
    for (const auto& [name, type] : {std::pair{"tokens", DType::F16}, std::pair{"q", DType::BF16},
                                     std::pair{"k", DType::F16}, std::pair{"head", DType::BF16}}) {
        const auto of = std::ranges::find(program.parameters(), name, &Parameter::name);
        narrow[name] = trial_entries(of->size(), type, 7);
        source.shared[name] = {narrow[name].data(), type};
    }
    const auto weights =
        std::make_shared<NetworkWeights<Real>>(program, source, std::vector<std::int32_t>{3, 5});
    const std::vector<Real> found = trial_passes(*back_end.passes(weights, 1), program),
                            expected = trial_passes(*passes_on_processor<Real>(weights), program);
    return found.size() == expected.size() &&
           std::memcmp(found.data(), expected.data(), found.size() * sizeof(Real)) == 0;
}

}  // namespace

namespace device {

void require_bits_of_the_host(PassBackEnd& back_end) {
    if (has_the_bits_of_the_host<float>(back_end) && has_the_bits_of_the_host<double>(back_end)) return;
    throw Error(ExitStatus::numerical, ErrorKind::failed_check,
                fmt::format("{}: its forward and backward passes differ in their bits from the host's; use "
                            "--device cpu",
                            back_end.name()));
}

void require_bits_of_the_host(ProductBackEnd& back_end) {
    if (has_the_bits_of_the_host<float>(back_end) && has_the_bits_of_the_host<double>(back_end)) return;
    throw Error(ExitStatus::numerical, ErrorKind::failed_check,
                fmt::format("{}: its products differ in their bits from the host's; use --device cpu",
                            back_end.name()));
}

Gpus judged(const FoundGpus& found) {
    constexpr int least_major = 8;
    constexpr std::size_t least_memory = sizeof(BlockMemory<double>);
    Gpus gpus;
    if (found.gpus.empty())
        gpus.words = fmt::format(
            "no GPU{}{}; on a node that has one, see that the driver runs (nvidia-smi) "
            "and that CUDA_VISIBLE_DEVICES shows it",
            found.problem.empty() ? "" : ": ", found.problem);
    for (std::size_t g = 0; g < found.gpus.size(); ++g) {
        const FoundGpu& gpu = found.gpus[g];
        gpus.seen = true;
        if (gpu.major < least_major || gpu.block_memory < least_memory) {
            gpus.why = ErrorKind::unsupported;
            gpus.words = fmt::format(
                "{}: compute capability {}.{} with {} KiB of memory for a block; {}.0 and {} KiB are needed, "
                "as "
                "A100 and H100 have; choose others by CUDA_VISIBLE_DEVICES",
                gpu.name, gpu.major, gpu.minor, gpu.block_memory / 1024, least_major, least_memory / 1024);
            continue;
        }
        const auto memory = static_cast<double>(gpu.memory);
        gpus.memory = gpus.ids.empty() ? memory : std::min(gpus.memory, memory);
        gpus.ids.push_back(gpu.id);
        gpus.numbers.push_back(static_cast<int>(g));
    }
    return gpus;
}

}  // namespace device

#if defined(TANGRAM_HAS_CUDA)

Gpus usable_gpus() { return device::judged(device::cuda_gpus()); }

namespace {

int number_of(int gpu) { return usable_gpus().numbers.at(static_cast<std::size_t>(gpu)); }

}  // namespace

double free_gpu_memory(int gpu) { return device::cuda_free_memory(number_of(gpu)); }

std::unique_ptr<ProductBackEnd> products_on_gpu(int gpu, double memory, bool messages_reach_it) {
    auto products = device::device_products(device::cuda_runtime(number_of(gpu)), (1 - pass_share) * memory,
                                            messages_reach_it);
    device::require_bits_of_the_host(*products);
    return products;
}

std::unique_ptr<PassBackEnd> passes_on_gpu(int gpu, double memory) {
    auto passes = device::device_passes(device::cuda_runtime(number_of(gpu)), pass_share * memory);
    device::require_bits_of_the_host(*passes);
    return passes;
}

std::unique_ptr<WholeSolver> solver_on_gpu(int gpu, double memory) {
    return device::cuda_solver(number_of(gpu), memory);
}

#else

Gpus usable_gpus() {
    return {{}, 0, false, ErrorKind::unsupported, "this tangram was built without CUDA (-DTANGRAM_CUDA=ON)",
            {}};
}

double free_gpu_memory(int) {
    const Gpus none = usable_gpus();
    throw Error(ExitStatus::study, none.why, none.words);
}

std::unique_ptr<ProductBackEnd> products_on_gpu(int, double, bool) {
    const Gpus none = usable_gpus();
    throw Error(ExitStatus::study, none.why, none.words);
}

std::unique_ptr<PassBackEnd> passes_on_gpu(int, double) {
    const Gpus none = usable_gpus();
    throw Error(ExitStatus::study, none.why, none.words);
}

std::unique_ptr<WholeSolver> solver_on_gpu(int, double) {
    const Gpus none = usable_gpus();
    throw Error(ExitStatus::study, none.why, none.words);
}

#endif

}  // namespace tangram
