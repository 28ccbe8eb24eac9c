#include "tangram/spectrum/device_product.hpp"

#include "mpi/spectrum/whole_solver.hpp"
#include "support/mpi_test.hpp"

namespace tangram {
namespace {

using testing::world_size;

double left_entry(Index i, Index k) { return static_cast<double>((i + 2 * k) % 7 - 3); }
double right_entry(Index k, Index j) { return static_cast<double>((3 * k + j) % 5 - 2); }

template <class Entry>
DistributedMatrix filled(const ProcessGrid& grid, Index rows, Index columns, Entry entry) {
    DistributedMatrix matrix(grid, rows, columns, 16);
    for (Index j = 0; j < matrix.local_columns(); ++j)
        for (Index i = 0; i < matrix.local_rows(); ++i)
            matrix.data()[i + j * matrix.lld()] = entry(matrix.global_row(i), matrix.global_column(j));
    return matrix;
}

/// Sums of whole numbers are exact in any order.
void expect_product(const ProcessGrid& grid, Index rows, Index columns) {
    constexpr Index depth = 20;
    const DistributedMatrix C = product_by_device_or_ranks(filled(grid, rows, depth, left_entry),
                                                           filled(grid, depth, columns, right_entry));
    ASSERT_EQ(C.rows(), rows);
    ASSERT_EQ(C.columns(), columns);
    for (Index j = 0; j < C.local_columns(); ++j)
        for (Index i = 0; i < C.local_rows(); ++i) {
            double sum = 0;
            for (Index k = 0; k < depth; ++k)
                sum += left_entry(C.global_row(i), k) * right_entry(k, C.global_column(j));
            ASSERT_EQ(C.data()[i + j * C.lld()], sum) << C.global_row(i) << ", " << C.global_column(j);
        }
}

// 1300 columns take three panels of 512.
TEST(DeviceProduct, IsTheOneOfTheRanks) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    testing::LapackAsDevice device;
    expect_product(grid, 30, 1300);
    EXPECT_EQ(device.held, 0);
    const RegisteredWholeSolver registered(device);
    expect_product(grid, 30, 1300);
    const Index once = world_size() == 1 ? 1 : 0;
    EXPECT_EQ(device.held, once);
    expect_product(grid, 30, 70);  // its eigenproblem is the ranks'
    EXPECT_EQ(device.held, once);
    // Too small for it, or without its library.
    for (const ErrorKind kind : {ErrorKind::no_memory, ErrorKind::missing}) {
        device.fails_to_hold = kind;
        device.held = 0;
        expect_product(grid, 30, 1300);
        EXPECT_EQ(device.held, once);
    }
    device.fails_to_hold.reset();
    device.fails_to_multiply = ErrorKind::no_memory;
    expect_product(grid, 30, 1300);
    device.fails_to_multiply = ErrorKind::library;
    if (world_size() == 1)
        testing::expect_error_on_all_ranks([&] { expect_product(grid, 30, 1300); }, ExitStatus::numerical,
                                           ErrorKind::library, "GPU 3 of node17");
}

}  // namespace
}  // namespace tangram
