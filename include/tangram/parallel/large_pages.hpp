#pragma once
#include <sys/mman.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tangram/index.hpp"
#include "tangram/parallel_for.hpp"

namespace tangram {

/// Asks for pages of 2 MiB for numbers that nobody has touched, where the system has them for those who ask
/// (madvise(2); numpy asks as well): they are first touched in hundredths of the time, and a walk over all
/// columns of a large matrix misses fewer of them. What the system refuses stands on small pages. Local.
inline void ask_for_large_pages(double* numbers, std::size_t count) {
    constexpr std::uintptr_t page = 1 << 21;
    const auto begin = reinterpret_cast<std::uintptr_t>(numbers), end = begin + count * sizeof(double);
    const std::uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
}

/// Has all threads touch numbers that nobody has touched, so that the system clears their pages on all of
/// them; where it does not know how (MADV_POPULATE_WRITE, Linux 5.14) whoever touches them first waits for
/// that. Local.
inline void touch_on_all_threads(double* numbers, std::size_t count) {
#ifdef MADV_POPULATE_WRITE
    constexpr std::uintptr_t together = std::uintptr_t{1} << 26;
    const auto begin = reinterpret_cast<std::uintptr_t>(numbers), end = begin + count * sizeof(double);
    const std::uintptr_t first = (begin + together - 1) / together * together;
    if (first >= end) return;
    parallel_for(static_cast<Index>((end - first) / together), [&](Index i) {
        madvise(reinterpret_cast<void*>(first + static_cast<std::uintptr_t>(i) * together), together,
                MADV_POPULATE_WRITE);
    });
#else
    static_cast<void>(numbers), static_cast<void>(count);
#endif
}

/// So many zeros on large pages. Local. @throws std::bad_alloc
inline std::vector<double> zeros_on_large_pages(Index count) {
    std::vector<double> entries;
    entries.reserve(static_cast<std::size_t>(count));  // large blocks of memory are not touched by that
    ask_for_large_pages(entries.data(), entries.capacity());
    touch_on_all_threads(entries.data(), entries.capacity());
    entries.resize(static_cast<std::size_t>(count));
    return entries;
}

/// The same numbers on large pages. Local. @throws std::bad_alloc
inline std::vector<double> copy_on_large_pages(std::span<const double> numbers) {
    std::vector<double> entries;
    entries.reserve(numbers.size());
    ask_for_large_pages(entries.data(), entries.capacity());
    entries.assign(numbers.begin(), numbers.end());
    return entries;
}

/// So many numbers on large pages, which nobody has set: what a routine overwrites. Local.
/// @throws std::bad_alloc
inline std::unique_ptr<double[]> unset_on_large_pages(Index count) {
    auto entries = std::make_unique_for_overwrite<double[]>(static_cast<std::size_t>(count));
    ask_for_large_pages(entries.get(), static_cast<std::size_t>(count));
    return entries;
}

}  // namespace tangram
