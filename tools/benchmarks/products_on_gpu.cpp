#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <random>

#include "tangram/arithmetic.hpp"
#include "tangram/device/device.hpp"
#include "tangram/products.hpp"

/// products_on_gpu ROWS SLICES: {"teraflops", "seconds_to_store"} of float32 products of all tiles of as many
/// rows on the first GPU, useful n (n + 1) P flops per second of slices that are packed on the host already,
/// their way to the GPU beside products; and the seconds that their sums take to the host. Of 0 slices:
/// {"solver_bytes", "free_bytes"}, memory that an eigenproblem of these rows takes, and what is free. Built
/// with CUDA alone.
int main(int argc, char** argv) {
    using namespace tangram;
    using Clock = std::chrono::steady_clock;
    const auto seconds_since = [](Clock::time_point start) {
        return std::chrono::duration<double>(Clock::now() - start).count();
    };
    if (argc != 3) return 2;
    const Index n = std::atoll(argv[1]), slices = std::atoll(argv[2]), side = arithmetic::tile_rows,
                depth = arithmetic::slice_depth, tiles = n / side, panel = products::panel_rows,
                padded = (side + panel - 1) / panel * panel;
    try {
        const Gpus gpus = usable_gpus();
        if (gpus.count() == 0) throw Error(ExitStatus::study, gpus.why, gpus.words);
        if (slices == 0) {
            const WholeSolver::Room room = solver_on_gpu(0, gpus.memory)->room(n, true);
            std::cout << "{\"solver_bytes\": " << room.needed << ", \"free_bytes\": " << room.free << "}\n";
            return 0;
        }
        const auto back_end = products_on_gpu(0, 0.9 * gpus.memory);
        std::vector<std::vector<ProductPiece>> pieces(1);
        for (Index k = 0; k < depth; k += arithmetic::product_depth)
            pieces[0].push_back({k, k, arithmetic::product_depth, false});
        // Of both signs, all bits in use: constant ones need less power, and a GPU runs faster on them.
        std::vector<float> entries(static_cast<std::size_t>(tiles * padded * depth));
        std::minstd_rand draw(1);
        for (float& entry : entries) entry = static_cast<float>(draw()) / 0x1p30F - 1;
        std::vector<PackedRows<float>> packed;
        for (Index t = 0; t < tiles; ++t)
            packed.push_back({std::span(entries).subspan(static_cast<std::size_t>(t * padded * depth),
                                                         static_cast<std::size_t>(padded * depth)),
                              side, padded});
        std::vector<double> sums(static_cast<std::size_t>(n * n), 0.0);
        std::vector<TileProduct> products;
        for (Index J = 0; J < tiles; ++J)
            for (Index I = J; I < tiles; ++I)
                products.push_back({static_cast<std::size_t>(I), static_cast<std::size_t>(J), 0,
                                    sums.data() + I * side + J * side * n, n, I == J, false});
        const SliceProducts<float> slice{panel, pieces, packed, products};
        back_end->add(slice, [] {});  // loads the sums
        back_end->finish();
        auto start = Clock::now();
        for (Index u = 0; u < slices; ++u) back_end->add(slice, [] {});
        back_end->finish();
        const auto rows = static_cast<double>(n);
        const double flops = rows * (rows + 1) * static_cast<double>(slices * depth),
                     teraflops = flops / seconds_since(start) / 1e12;
        start = Clock::now();
        back_end->store_sums();
        std::cout << "{\"teraflops\": " << teraflops << ", \"seconds_to_store\": " << seconds_since(start)
                  << "}\n";
        // The chains of two sums, first and last row with the first one.
        const auto entry = [&](Index row, Index piece, Index k) {
            const Index in_tile = row % side, of_panel = in_tile % panel, before = in_tile - of_panel;
            return entries[static_cast<std::size_t>(row / side * padded * depth + piece * padded +
                                                    before * arithmetic::product_depth + k * panel +
                                                    of_panel)];
        };
        const auto sum_with_first = [&](Index row) {
            double sum = 0;
            for (Index u = 0; u <= slices; ++u)
                for (const ProductPiece& piece : pieces[0]) {
                    float chain = 0;
                    for (Index k = 0; k < piece.depth; ++k)
                        chain = std::fma(entry(0, piece.left, k), entry(row, piece.left, k), chain);
                    sum += static_cast<double>(chain);
                }
            return sum;
        };
        return sums.front() == sum_with_first(0) &&
                       sums[static_cast<std::size_t>(n - 1)] == sum_with_first(n - 1)
                   ? 0
                   : 4;
    } catch (const Error& e) {
        std::cerr << e.what() << "\n";
        return static_cast<int>(e.status());
    }
}
