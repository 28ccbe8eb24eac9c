#include "../src/gram/transfers.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "support/mpi_test.hpp"

namespace tangram {
namespace {

using namespace testing;

/// Three messages of different lengths from every rank to the next one, in pieces.
TEST(Transfers, ArriveInOrderWhateverThePiece) {
    const int next = (world_rank() + 1) % world_size(),
              before = (world_rank() + world_size() - 1) % world_size();
    for (const Index piece : {Index{1}, Index{7}, Index{64}, Index{1} << 20}) {
        std::vector<std::vector<std::byte>> sent, received;
        for (const std::size_t length : {64u, 0u, 100u}) {
            sent.emplace_back(length);
            for (std::size_t i = 0; i < length; ++i)
                sent.back()[i] =
                    static_cast<std::byte>((7 * i + length + static_cast<std::size_t>(world_rank())) % 251);
            received.emplace_back(length, std::byte{255});
        }
        Transfers transfers(MPI_COMM_WORLD, piece);
        for (std::vector<std::byte>& message : received) transfers.receive(message, before, 3);
        for (const std::vector<std::byte>& message : sent) transfers.send(message, next, 3);
        transfers.advance();
        transfers.wait();
        EXPECT_TRUE(transfers.empty());
        for (const std::vector<std::byte>& message : received)
            for (std::size_t i = 0; i < message.size(); ++i)
                ASSERT_EQ(message[i], static_cast<std::byte>(
                                          (7 * i + message.size() + static_cast<std::size_t>(before)) % 251))
                    << "piece " << piece << ", length " << message.size() << ", byte " << i;
    }
}

TEST(Transfers, HaveArrivedWhenTheirOwnerGoesWithAnException) {
    const int next = (world_rank() + 1) % world_size(),
              before = (world_rank() + world_size() - 1) % world_size();
    // Too long for MPI to send before it is received.
    std::vector<std::byte> sent(std::size_t{1} << 22, std::byte{5}), received(sent.size(), std::byte{0});
    try {
        Transfers transfers(MPI_COMM_WORLD, Index{1} << 20);
        transfers.receive(received, before, 3);
        transfers.send(sent, next, 3);
        throw Error(ExitStatus::numerical, ErrorKind::library, "after posting");
    } catch (const Error&) {
        std::fill(sent.begin(), sent.end(), std::byte{9});
    }
    MPI_Barrier(MPI_COMM_WORLD);
    EXPECT_EQ(std::count(received.begin(), received.end(), std::byte{5}), std::ssize(received));
}

}  // namespace
}  // namespace tangram
