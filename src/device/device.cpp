#include "tangram/device/device.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstdint>

#include "cuda_products.hpp"
#include "host_executor.hpp"

namespace tangram {

namespace {

/// The sums that a back end gives for two small ragged tiles, in three pieces of odd depths.
template <class Real>
std::vector<double> trial_sums(ProductBackEnd& back_end) {
    constexpr Index panel = 8, rows = 19, columns = 141, padded = 24, padded_columns = 144;
    const std::vector<ProductPiece> pieces{{0, 0, 256, false}, {256, 256, 37, false}, {293, 293, 1, true}};
    constexpr Index depth = 294;
    std::vector<Real> left(static_cast<std::size_t>(padded * depth)),
        right(static_cast<std::size_t>(padded_columns * depth));
    std::uint32_t state = 1;  // a linear congruential generator: numbers of all sizes and both signs
    for (std::vector<Real>* const of : {&left, &right})
        for (Real& entry : *of) {
            state = 1664525U * state + 1013904223U;
            entry =
                static_cast<Real>(static_cast<std::int32_t>(state)) / static_cast<Real>(1U << (state % 31));
        }
    std::vector<double> sums(static_cast<std::size_t>(rows * columns), 0.1);
    const std::vector<PackedRows<Real>> tiles{{left, rows, padded}, {right, columns, padded_columns}};
    const std::vector<TileProduct> products{{0, 1, sums.data(), rows, false, nullptr}};
    back_end.add(SliceProducts<Real>{panel, pieces, tiles, products}, [] {});
    return sums;
}

template <class Real>
bool has_the_bits_of_the_host(ProductBackEnd& back_end) {
    const auto host = device::host_executor();
    const std::vector<double> found = trial_sums<Real>(back_end), expected = trial_sums<Real>(*host);
    for (std::size_t i = 0; i < found.size(); ++i)
        if (std::bit_cast<std::uint64_t>(found[i]) != std::bit_cast<std::uint64_t>(expected[i])) return false;
    return true;
}

}  // namespace

namespace device {

void require_bits_of_the_host(ProductBackEnd& back_end) {
    if (has_the_bits_of_the_host<float>(back_end) && has_the_bits_of_the_host<double>(back_end)) return;
    throw Error(ExitStatus::numerical, ErrorKind::failed_check,
                fmt::format("{}: its products differ in their bits from the host's; use --device cpu",
                            back_end.name()));
}

}  // namespace device

#if defined(TANGRAM_HAS_CUDA)

Gpus usable_gpus() { return device::cuda_gpus(); }

std::unique_ptr<ProductBackEnd> products_on_gpu(int gpu) {
    std::unique_ptr<ProductBackEnd> products = device::cuda_products(gpu);
    device::require_bits_of_the_host(*products);
    return products;
}

#else

Gpus usable_gpus() {
    return {0, ErrorKind::unsupported, "this tangram was built without CUDA (-DTANGRAM_CUDA=ON)"};
}

std::unique_ptr<ProductBackEnd> products_on_gpu(int) {
    const Gpus none = usable_gpus();
    throw Error(ExitStatus::study, none.why, none.words);
}

#endif

}  // namespace tangram
