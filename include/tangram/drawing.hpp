#pragma once
#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tangram/error.hpp"
#include "tangram/index.hpp"

namespace tangram {

/// `samples` of the rows 0 .. rows-1, drawn without replacement: the first entries of one random permutation
/// that rows and seed alone decide (Fisher-Yates on std::mt19937_64, bounds by rejection, the same on every
/// machine), so that fewer samples are a prefix of more. 0 draws all rows. Local.
/// @param name  what is drawn from, for the message
/// @throws Error(study) where samples > rows
inline std::vector<Index> draw_rows(Index rows, Index samples, std::uint64_t seed, const std::string& name) {
    if (samples > rows)
        throw Error(ExitStatus::study, ErrorKind::too_few,
                    std::to_string(samples) + " samples asked for, " + name + " has " + std::to_string(rows) +
                        " rows; ask for fewer, or 0 for all");
    if (samples < 0)
        throw Error(ExitStatus::study, ErrorKind::out_of_range,
                    std::to_string(samples) + " samples asked for; ask for 0 (all) or more");
    if (samples == 0) samples = rows;
    std::mt19937_64 generator(seed);
    // Uniform on 0 .. bound-1: values above the last whole multiple of bound are drawn again.
    const auto below = [&](std::uint64_t bound) {
        const std::uint64_t excess = (std::mt19937_64::max() % bound + 1) % bound;
        std::uint64_t value = generator();
        while (value > std::mt19937_64::max() - excess) value = generator();
        return value % bound;
    };
    std::vector<Index> order(static_cast<std::size_t>(rows));
    std::iota(order.begin(), order.end(), Index{0});
    for (Index i = 0; i < samples; ++i)
        std::swap(order[static_cast<std::size_t>(i)],
                  order[static_cast<std::size_t>(i) + below(static_cast<std::uint64_t>(rows - i))]);
    order.resize(static_cast<std::size_t>(samples));
    return order;
}

}  // namespace tangram
