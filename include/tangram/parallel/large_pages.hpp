#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>

#include "tangram/index.hpp"
#include "tangram/parallel_for.hpp"

namespace tangram {

/// So many numbers on large pages, which nobody has set: what a routine overwrites. Pages of 2 MiB are asked
/// for where the system has them for those who ask (madvise(2); numpy asks as well): they are first touched
/// in hundredths of the time, and a walk over all columns of a large matrix misses fewer of them. What the
/// system refuses stands on small pages. Local. @throws std::bad_alloc
inline std::unique_ptr<double[]> unset_on_large_pages(Index count) {
    auto numbers = std::make_unique_for_overwrite<double[]>(static_cast<std::size_t>(count));
    constexpr std::uintptr_t page = 1 << 21;
    const auto begin = reinterpret_cast<std::uintptr_t>(numbers.get()),
               end = begin + static_cast<std::size_t>(count) * sizeof(double);
    const std::uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
    return numbers;
}

/// Numbers on large pages that all threads touch first, as the system clears a page on the thread that does.
/// Local. @param set  set(to, first, last) sets numbers `first` to `last`, at `to`  @throws std::bad_alloc
template <class Set>
std::unique_ptr<double[]> set_on_large_pages(Index count, Set set) {
    std::unique_ptr<double[]> numbers = unset_on_large_pages(count);
    constexpr Index together = Index{1} << 18;  // a large page
    parallel_for((count + together - 1) / together, [&](Index i) {
        const Index first = i * together, last = std::min(count, first + together);
        set(numbers.get() + first, first, last);
    });
    return numbers;
}

/// So many zeros on large pages. Local. @throws std::bad_alloc
inline std::unique_ptr<double[]> zeros_on_large_pages(Index count) {
    return set_on_large_pages(
        count, [](double* to, Index first, Index last) { std::fill_n(to, last - first, 0.0); });
}

/// The same numbers on large pages. Local. @throws std::bad_alloc
inline std::unique_ptr<double[]> copy_on_large_pages(std::span<const double> numbers) {
    return set_on_large_pages(std::ssize(numbers), [&](double* to, Index first, Index last) {
        std::copy_n(numbers.data() + first, last - first, to);
    });
}

}  // namespace tangram
