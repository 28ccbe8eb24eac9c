#include "tangram/parallel/collective_error.hpp"

#include <fmt/format.h>

#include <limits>
#include <new>

namespace tangram {

void agree_on_failure(MPI_Comm comm, std::exception_ptr failure) {
    int rank = 0;
    TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
    constexpr int none = std::numeric_limits<int>::max();
    const int mine = failure ? rank : none;
    int lowest = none;
    TANGRAM_MPI(MPI_Allreduce(&mine, &lowest, 1, MPI_INT, MPI_MIN, comm));
    if (lowest == none) return;

    std::string text;
    int status = static_cast<int>(ExitStatus::numerical);
    if (rank == lowest) {
        try {
            std::rethrow_exception(failure);
        } catch (const Error& e) {
            text = e.what();
            status = static_cast<int>(e.status());
        } catch (const std::bad_alloc&) {
            text = fmt::format("rank {} is out of memory; use more ranks, fewer samples or --memory-per-rank",
                               rank);
            status = static_cast<int>(ExitStatus::study);
        } catch (const std::exception& e) {
            text = e.what();
        } catch (...) {
            text = "unknown exception";
        }
    }
    TANGRAM_MPI(MPI_Bcast(&status, 1, MPI_INT, lowest, comm));
    broadcast(comm, text, lowest);
    throw Error(static_cast<ExitStatus>(status), text);
}

}  // namespace tangram
