#include "tangram/device/device.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cuda_runtime.hpp"
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
    const bool formed = back_end.begin_packing(slice);
    if (formed) back_end.end_packing();
    back_end.forget_factors();
    return formed ? tile : std::vector<Real>();
}

template <class Real>
bool has_the_bits_of_the_host(ProductBackEnd& back_end) {
    const auto host = device::host_executor();
    const auto same = [](const auto& found, const auto& expected) {
        return found.size() == expected.size() &&
               std::memcmp(found.data(), expected.data(), found.size() * sizeof(found[0])) == 0;
    };
    const std::vector<Real> tile = trial_tile<Real>(back_end);
    return same(trial_sums<Real>(back_end), trial_sums<Real>(*host)) &&
           (tile.empty() || same(tile, trial_tile<Real>(*host)));
}

}  // namespace

namespace device {

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

std::unique_ptr<ProductBackEnd> products_on_gpu(int gpu, double memory) {
    auto products = device::device_products(device::cuda_runtime(number_of(gpu)), memory);
    device::require_bits_of_the_host(*products);
    return products;
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

std::unique_ptr<ProductBackEnd> products_on_gpu(int, double) {
    const Gpus none = usable_gpus();
    throw Error(ExitStatus::study, none.why, none.words);
}

std::unique_ptr<WholeSolver> solver_on_gpu(int, double) {
    const Gpus none = usable_gpus();
    throw Error(ExitStatus::study, none.why, none.words);
}

#endif

}  // namespace tangram
