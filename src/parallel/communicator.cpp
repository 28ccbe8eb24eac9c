#include "tangram/parallel/communicator.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#if __has_include(<mpi-ext.h>)
#include <mpi-ext.h>
#endif

namespace tangram {

void check_mpi(int code, const char* call) {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    throw Error(ExitStatus::numerical, ErrorKind::library, fmt::format("MPI failed in {}: {}", call, text));
}

int narrow(Index value, const char* what) {
    if (value < std::numeric_limits<int>::min() || value > std::numeric_limits<int>::max())
        throw Error(ExitStatus::study, ErrorKind::out_of_range,
                    fmt::format("{}: {} does not fit into the 32-bit integers of MPI, BLACS and "
                                "BLAS; use more ranks",
                                what, value));
    return static_cast<int>(value);
}

namespace {

bool finalized() {
    int flag = 0;
    MPI_Finalized(&flag);
    return flag != 0;
}

void describe(MPI_Comm comm, int& rank, int& size) {
    TANGRAM_MPI(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN));
    TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
    TANGRAM_MPI(MPI_Comm_size(comm, &size));
}

int size_of(MPI_Comm comm) {
    int size = 0;
    TANGRAM_MPI(MPI_Comm_size(comm, &size));
    return size;
}

/// Calls visit(first, count) for pieces that an int can count.
template <class Visit>
void in_pieces(Index size, Index piece, Visit visit) {
    for (Index first = 0; first < size; first += piece)
        visit(first, narrow(std::min(piece, size - first), "piece of a transfer"));
}

template <class T>
T reduced(MPI_Comm comm, T value, MPI_Datatype type, MPI_Op op) {
    T result{};
    TANGRAM_MPI(MPI_Allreduce(&value, &result, 1, type, op, comm));
    return result;
}

template <class T>
std::vector<T> gathered(MPI_Comm comm, T value, MPI_Datatype type) {
    const int size = size_of(comm);
    std::vector<T> values =
        collectively(comm, [&] { return std::vector<T>(static_cast<std::size_t>(size)); });
    TANGRAM_MPI(MPI_Allgather(&value, 1, type, values.data(), 1, type, comm));
    return values;
}

}  // namespace

Communicator::Communicator(MPI_Comm parent) {
    TANGRAM_MPI(MPI_Comm_dup(parent, &comm_));
    describe(comm_, rank_, size_);
}

Communicator::Communicator(MPI_Comm parent, int colour, int key) {
    TANGRAM_MPI(MPI_Comm_split(parent, colour < 0 ? MPI_UNDEFINED : colour, key, &comm_));
    if (comm_ != MPI_COMM_NULL) describe(comm_, rank_, size_);
}

Communicator Communicator::of_host(MPI_Comm parent) {
    Communicator result;
    TANGRAM_MPI(MPI_Comm_split_type(parent, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &result.comm_));
    describe(result.comm_, result.rank_, result.size_);
    return result;
}

Communicator::Communicator(Communicator&& other) noexcept
    : comm_(std::exchange(other.comm_, MPI_COMM_NULL)), rank_(other.rank_), size_(other.size_) {}

Communicator& Communicator::operator=(Communicator&& other) noexcept {
    std::swap(comm_, other.comm_);
    std::swap(rank_, other.rank_);
    std::swap(size_, other.size_);
    return *this;
}

Communicator::~Communicator() {
    if (comm_ != MPI_COMM_NULL && !finalized()) MPI_Comm_free(&comm_);
}

bool messages_reach_gpus() {
#if defined(MPIX_CUDA_AWARE_SUPPORT) && OMPI_MAJOR_VERSION >= 5  // OpenMPI; 4 says what it was built with
    return MPIX_Query_cuda_support() == 1;
#elif defined(MPIX_GPU_SUPPORT_CUDA)  // MPICH
    int supported = 0;
    TANGRAM_MPI(MPIX_GPU_query_support(MPIX_GPU_SUPPORT_CUDA, &supported));
    return supported == 1;
#else
    return false;
#endif
}

std::string host_name() {
    char name[256] = "";
    gethostname(name, sizeof name - 1);
    return name;
}

void broadcast_bytes(MPI_Comm comm, std::span<std::byte> bytes, int root, Index piece) {
    in_pieces(std::ssize(bytes), piece, [&](Index first, int count) {
        TANGRAM_MPI(MPI_Bcast(bytes.data() + first, count, MPI_BYTE, root, comm));
    });
}

void sum_over_ranks(MPI_Comm comm, std::span<double> values, Index piece) {
    // Reduced on one rank and handed out: an allreduce may round differently on different ranks, and what
    // depends on the sums must not.
    int rank = 0;
    TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
    in_pieces(std::ssize(values), piece, [&](Index first, int count) {
        double* const at = values.data() + first;
        TANGRAM_MPI(MPI_Reduce(rank == 0 ? MPI_IN_PLACE : at, at, count, MPI_DOUBLE, MPI_SUM, 0, comm));
        TANGRAM_MPI(MPI_Bcast(at, count, MPI_DOUBLE, 0, comm));
    });
}

double max_over_ranks(MPI_Comm comm, double value) {
    // MPI_MAX says nothing about NaN, so NaN travels beside the value.
    constexpr double infinity = std::numeric_limits<double>::infinity();
    const bool is_nan = std::isnan(value);
    double mine[2] = {is_nan ? 1.0 : 0.0, is_nan ? -infinity : value}, largest[2];
    TANGRAM_MPI(MPI_Allreduce(mine, largest, 2, MPI_DOUBLE, MPI_MAX, comm));
    return largest[0] > 0 ? std::numeric_limits<double>::quiet_NaN() : largest[1];
}

Index max_over_ranks(MPI_Comm comm, Index value) { return reduced(comm, value, MPI_INT64_T, MPI_MAX); }
Index sum_over_ranks(MPI_Comm comm, Index value) { return reduced(comm, value, MPI_INT64_T, MPI_SUM); }
bool any_rank(MPI_Comm comm, bool value) { return reduced(comm, value ? 1 : 0, MPI_INT, MPI_MAX) != 0; }

std::vector<double> gather_to_all(MPI_Comm comm, double value) { return gathered(comm, value, MPI_DOUBLE); }
std::vector<Index> gather_to_all(MPI_Comm comm, Index value) { return gathered(comm, value, MPI_INT64_T); }

std::vector<std::string> gather_to_all(MPI_Comm comm, const std::string& value) {
    const std::vector<Index> sizes = gather_to_all(comm, std::ssize(value));
    std::vector<int> counts, offsets;
    std::string all;
    collectively(comm, [&] {
        Index total = 0;
        for (const Index size : sizes) {
            counts.push_back(narrow(size, "length of a text"));
            offsets.push_back(narrow(total, "length of all texts"));
            total += size;
        }
        all.assign(static_cast<std::size_t>(total), ' ');
    });
    TANGRAM_MPI(MPI_Allgatherv(value.data(), narrow(std::ssize(value), "length of a text"), MPI_CHAR,
                               all.data(), counts.data(), offsets.data(), MPI_CHAR, comm));
    return collectively(comm, [&] {
        std::vector<std::string> texts;
        for (std::size_t r = 0; r < sizes.size(); ++r)
            texts.push_back(
                all.substr(static_cast<std::size_t>(offsets[r]), static_cast<std::size_t>(counts[r])));
        return texts;
    });
}

void broadcast(MPI_Comm comm, std::string& text, int root) {
    Index size = std::ssize(text);
    broadcast_bytes(comm, std::as_writable_bytes(std::span(&size, 1)), root);
    collectively(comm, [&] { text.resize(static_cast<std::size_t>(size)); });
    broadcast_bytes(comm, std::as_writable_bytes(std::span(text)), root);
}

}  // namespace tangram
