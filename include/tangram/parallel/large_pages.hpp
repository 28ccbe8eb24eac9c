#pragma once
#include <sys/mman.h>

#include <cstdint>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

/// So many zeros, on pages of 2 MiB where the system has them for those who ask (madvise(2); numpy asks as
/// well): they are first touched in hundredths of the time, and a walk over all columns of a large matrix
/// misses fewer of them. What the system refuses stands on small pages. Local. @throws std::bad_alloc
inline std::vector<double> zeros_on_large_pages(Index count) {
    constexpr std::uintptr_t page = 1 << 21;
    std::vector<double> entries;
    entries.reserve(static_cast<std::size_t>(count));  // large blocks of memory are not touched by that
    const auto begin = reinterpret_cast<std::uintptr_t>(entries.data()),
               end = begin + entries.capacity() * sizeof(double);
    const std::uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
    entries.resize(static_cast<std::size_t>(count));
    return entries;
}

}  // namespace tangram
