#include "tangram/spectrum/device_product.hpp"

#include <algorithm>

#include "tangram/parallel/collective_error.hpp"
#include "tangram/spectrum/eigenpairs.hpp"
#include "tangram/spectrum/whole_solver.hpp"

namespace tangram {

namespace {

/// nullptr: the device has no room for it, or lacks its library, which an eigenproblem would have said.
std::unique_ptr<HeldMatrix> held_by(WholeSolver& device, const DistributedMatrix& A) {
    try {
        return device.hold(A.local(), A.rows(), A.columns());
    } catch (const Error&) {
        return nullptr;
    }
}

void multiply(HeldMatrix& A, const DistributedMatrix& B, DistributedMatrix& C) {
    const auto columns_of = [](auto numbers, Index rows, Index first, Index count) {
        return numbers.subspan(static_cast<std::size_t>(first * rows),
                               static_cast<std::size_t>(count * rows));
    };
    for (Index first = 0; first < B.columns(); first += columns_multiplied_together) {
        const Index count = std::min(columns_multiplied_together, B.columns() - first);
        A.multiply(columns_of(B.local(), B.rows(), first, count), count,
                   columns_of(C.local(), C.rows(), first, count));
    }
}

}  // namespace

DistributedMatrix product_by_device_or_ranks(const DistributedMatrix& A, const DistributedMatrix& B) {
    WholeSolver* const device = registered_whole_solver();
    if (device == nullptr || A.grid().comm().size() > 1 || B.columns() <= always_in_one_piece ||
        A.columns() != B.rows())
        return multiply(A, B);
    const std::unique_ptr<HeldMatrix> held = held_by(*device, A);
    if (held == nullptr) return multiply(A, B);
    const MPI_Comm comm = A.grid().comm().get();
    DistributedMatrix C =
        collectively(comm, [&] { return DistributedMatrix(A.grid(), A.rows(), B.columns(), A.block()); });
    try {
        collectively(comm, [&] { multiply(*held, B, C); });
        return C;
    } catch (const Error& e) {  // others have taken the room for a panel meanwhile
        if (e.kind() != ErrorKind::no_memory) throw;
    }
    return multiply(A, B);
}

}  // namespace tangram
