#pragma once
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "tangram/parallel/mpi.hpp"

namespace tangram {

/// Where every rank arrives after local work that may have failed on some: throws on all ranks the error of
/// the lowest failing rank (its status and text), or on none. Collective over comm. What is not an Error
/// becomes one: std::bad_alloc, or no memory for a thread, with status study, because the job does not fit;
/// any other exception with status numerical. Allocates nothing before all have heard of it; a text of more
/// than 16 383 bytes is cut.
/// @param failure  this rank's exception, or nullptr
void agree_on_failure(MPI_Comm comm, std::exception_ptr failure);

/// Runs `work` on every rank and returns its result; an exception on any rank becomes one Error on all ranks.
/// `work` must hold no collective call. Collective over comm. What allocates between collective calls goes
/// through this, or one rank leaves alone and the others wait for it.
/// @param agree  what tells the others, where its message is to say more
template <class Work, class Agree = decltype(&agree_on_failure)>
auto collectively(MPI_Comm comm, Work&& work, Agree agree = agree_on_failure) {
    std::exception_ptr failure;
    if constexpr (std::is_void_v<decltype(work())>) {
        try {
            work();
        } catch (...) {
            failure = std::current_exception();
        }
        agree(comm, failure);
    } else {
        std::optional<decltype(work())> result;
        try {
            result.emplace(work());
        } catch (...) {
            failure = std::current_exception();
        }
        agree(comm, failure);
        return std::move(*result);
    }
}

}  // namespace tangram
