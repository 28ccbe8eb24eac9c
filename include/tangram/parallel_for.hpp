#pragma once
#include <atomic>
#include <exception>
#include <optional>

#include "tangram/index.hpp"

namespace tangram {

/// Calls body(own, i) for every i in [0, count) on the OpenMP threads, i handed out one by one in ascending
/// order. An exception may not leave an OpenMP region: of several the one of the smallest i is thrown again
/// behind the loop, and no i behind it is begun. Local.
/// @param make_own  called once by every thread, before its first i: what it alone works with. Where it
///                  throws nothing more is begun.
template <class MakeOwn, class Body>
void parallel_for(Index count, MakeOwn make_own, Body body) {
    std::exception_ptr failure;
    std::atomic<Index> failed_at = count;
    const auto keep = [&](Index i) noexcept {
#pragma omp critical(tangram_parallel_for)
        if (i < failed_at) {
            failed_at = i;
            failure = std::current_exception();
        }
    };
#pragma omp parallel
    {
        std::optional<decltype(make_own())> own;
        try {
            own.emplace(make_own());
        } catch (...) {
            keep(-1);
        }
#pragma omp for schedule(dynamic)
        for (Index i = 0; i < count; ++i) {
            if (i > failed_at) continue;
            try {
                body(*own, i);
            } catch (...) {
                keep(i);
            }
        }
    }
    if (failure) std::rethrow_exception(failure);
}

/// The same for threads that have nothing of their own: body(i).
template <class Body>
void parallel_for(Index count, Body body) {
    struct Nothing {};
    parallel_for(
        count, [] { return Nothing{}; }, [&](Nothing, Index i) { body(i); });
}

}  // namespace tangram
