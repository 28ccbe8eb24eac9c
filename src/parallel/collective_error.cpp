#include "tangram/parallel/collective_error.hpp"

#include <fmt/format.h>  // of format_to_n, clang and a library built by GCC have names of their own

#include <algorithm>
#include <limits>
#include <new>
#include <string_view>
#include <system_error>

namespace tangram {

namespace {

/// An error on its way to the other ranks. Nothing is allocated for it: memory may be what is short.
struct Report {
    ExitStatus status = ExitStatus::numerical;
    ErrorKind kind = ErrorKind::library;
    char text[1 << 14] = "";

    void say(std::string_view words) noexcept {
        const std::size_t length = std::min(words.size(), sizeof text - 1);
        std::copy_n(words.begin(), length, text);
        text[length] = '\0';
    }
    void say_no_memory(int rank) noexcept {
        const auto end = fmt::format_to_n(
            text, sizeof text - 1,
            "rank {} is out of memory; use more ranks, fewer samples or --memory-per-rank", rank);
        *end.out = '\0';
        status = ExitStatus::study;
        kind = ErrorKind::no_memory;
    }
    void describe(const std::exception_ptr& failure, int rank) noexcept {
        try {
            std::rethrow_exception(failure);
        } catch (const Error& e) {
            say(e.what());
            status = e.status();
            kind = e.kind();
        } catch (const std::bad_alloc&) {
            say_no_memory(rank);
        } catch (const std::system_error& e) {
            if (e.code() == std::errc::resource_unavailable_try_again)  // std::thread's
                say_no_memory(rank);
            else
                say(e.what());
        } catch (const std::exception& e) {
            say(e.what());
        } catch (...) {
            say("unknown exception");
        }
    }
};

}  // namespace

void agree_on_failure(MPI_Comm comm, std::exception_ptr failure) {
    int rank = 0;
    TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
    constexpr int none = std::numeric_limits<int>::max();
    const int mine = failure ? rank : none;
    int lowest = none;
    TANGRAM_MPI(MPI_Allreduce(&mine, &lowest, 1, MPI_INT, MPI_MIN, comm));
    if (lowest == none) return;
    Report report;
    if (rank == lowest) report.describe(failure, rank);
    TANGRAM_MPI(MPI_Bcast(&report, sizeof report, MPI_BYTE, lowest, comm));
    throw Error(report.status, report.kind, report.text);
}

}  // namespace tangram
