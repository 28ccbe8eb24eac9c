#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "tangram/parallel/collective_error.hpp"

namespace tangram {

/// Owner of an MPI communicator; movable, not copyable. The destructor frees it, unless MPI is finalised, and
/// never throws. Its error handler is MPI_ERRORS_RETURN.
class Communicator {
  public:
    /// A duplicate of `parent`. Collective over parent.
    explicit Communicator(MPI_Comm parent);
    /// The part of `parent` with this rank's colour, in order of key. Collective over parent.
    /// A negative colour gives an empty communicator (is_null()).
    Communicator(MPI_Comm parent, int colour, int key);
    /// The ranks of `parent` on this rank's host, in their order. Collective over parent.
    static Communicator of_host(MPI_Comm parent);
    Communicator(Communicator&& other) noexcept;
    Communicator& operator=(Communicator&& other) noexcept;
    Communicator(const Communicator&) = delete;
    Communicator& operator=(const Communicator&) = delete;
    ~Communicator();

    MPI_Comm get() const noexcept { return comm_; }
    bool is_null() const noexcept { return comm_ == MPI_COMM_NULL; }
    int rank() const noexcept { return rank_; }
    int size() const noexcept { return size_; }

  private:
    Communicator() = default;

    MPI_Comm comm_ = MPI_COMM_NULL;
    int rank_ = 0;
    int size_ = 0;
};

/// Whether MPI says that it reads and writes the memory of CUDA devices: OpenMPI from 5 on (4 only says what
/// it was built with, its issue 7963), MPICH from 4 on. What carries its messages may still not. Local.
bool messages_reach_gpus();

/// The name of this machine. Local.
std::string host_name();

/// Elements of one transfer: far below what MPI's int counts hold, far above where latency matters.
constexpr Index largest_piece = Index{1} << 28;

/// Transfers of any length, cut into pieces that MPI's int counts can hold. Collective over comm.
/// @param bytes  of the same length on every rank
/// @param piece  elements of one transfer, 1 to 2^31 - 1, equal on every rank; tests cut finely
void broadcast_bytes(MPI_Comm comm, std::span<std::byte> bytes, int root, Index piece = largest_piece);
/// Sum over ranks, in place, the same bits on every rank. Collective.
void sum_over_ranks(MPI_Comm comm, std::span<double> values, Index piece = largest_piece);
/// Largest value over ranks; NaN if any rank's is NaN. Collective.
double max_over_ranks(MPI_Comm comm, double value);
Index max_over_ranks(MPI_Comm comm, Index value);
Index sum_over_ranks(MPI_Comm comm, Index value);
/// True on every rank if it is true on any. Collective: how ranks agree on a stop flag.
bool any_rank(MPI_Comm comm, bool value);
/// One value from every rank, in rank order, on every rank. Collective. @throws Error on every rank where one
/// is out of memory
std::vector<double> gather_to_all(MPI_Comm comm, double value);
std::vector<Index> gather_to_all(MPI_Comm comm, Index value);
std::vector<std::string> gather_to_all(MPI_Comm comm, const std::string& value);
/// Copies of root's values on every rank. Collective. Vectors are resized. @throws Error on every rank where
/// one is out of memory
void broadcast(MPI_Comm comm, std::string& text, int root);
template <class T>
void broadcast(MPI_Comm comm, std::vector<T>& values, int root) {
    static_assert(std::is_trivially_copyable_v<T>);
    Index size = std::ssize(values);
    broadcast_bytes(comm, std::as_writable_bytes(std::span(&size, 1)), root);
    collectively(comm, [&] { values.resize(static_cast<std::size_t>(size)); });
    broadcast_bytes(comm, std::as_writable_bytes(std::span(values)), root);
}

}  // namespace tangram
