#include "tangram/parallel/communicator.hpp"

#include <cmath>
#include <limits>

#include "support/mpi_test.hpp"
#include "tangram/parallel/collective_error.hpp"

namespace tangram {
namespace {

using testing::world_rank;
using testing::world_size;

TEST(Communicator, SplitMoveAndNull) {
    Communicator half(MPI_COMM_WORLD, world_rank() % 2, world_rank());
    EXPECT_EQ(half.size(), (world_size() + 1 - world_rank() % 2) / 2);
    EXPECT_EQ(half.rank(), world_rank() / 2);
    Communicator moved = std::move(half);
    EXPECT_TRUE(half.is_null());  // NOLINT(bugprone-use-after-move): what is left is the question
    EXPECT_EQ(sum_over_ranks(moved.get(), Index{1}), moved.size());
    const Communicator only_first(MPI_COMM_WORLD, world_rank() == 0 ? 0 : -1, 0);
    EXPECT_EQ(only_first.is_null(), world_rank() != 0);
}

TEST(Communicator, ErrorsOfMpiBecomeExceptions) {
    const Communicator comm(MPI_COMM_WORLD);
    int value = 0;
    const auto thrown =
        testing::thrown_by([&] { TANGRAM_MPI(MPI_Bcast(&value, 1, MPI_INT, 1000, comm.get())); });
    EXPECT_EQ(thrown.kind, ErrorKind::library) << thrown.text;
}

TEST(Narrow, SaysWhatDoesNotFit) {
    EXPECT_EQ(narrow(std::numeric_limits<int>::max(), "rows"), std::numeric_limits<int>::max());
    const auto thrown = testing::thrown_by([] { narrow(Index{1} << 31, "number of rows"); });
    EXPECT_EQ(thrown.status, ExitStatus::study);
    EXPECT_EQ(thrown.kind, ErrorKind::out_of_range);
    EXPECT_NE(thrown.text.find("number of rows: 2147483648"), std::string::npos) << thrown.text;
    EXPECT_THROW(narrow(-(Index{1} << 31) - 1, "rows"), Error);
}

// Pieces smaller than, equal to and larger than the message, ragged at the end: what a count above INT_MAX
// takes.
TEST(Transfers, PiecesCoverTheMessage) {
    for (const Index size : {0, 1, 6, 7, 8, 100})
        for (const Index piece : {1, 3, 7, 100, 1000})
            for (int root = 0; root < world_size(); ++root) {
                std::vector<std::byte> bytes(static_cast<std::size_t>(size), std::byte{0xff});
                if (world_rank() == root)
                    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i + 1);
                broadcast_bytes(MPI_COMM_WORLD, bytes, root, piece);
                for (std::size_t i = 0; i < bytes.size(); ++i)
                    EXPECT_EQ(bytes[i], static_cast<std::byte>(i + 1))
                        << i << " of " << size << " in " << piece;

                std::vector<double> values(static_cast<std::size_t>(size));
                for (std::size_t i = 0; i < values.size(); ++i)
                    values[i] = static_cast<double>(i) + world_rank();
                sum_over_ranks(MPI_COMM_WORLD, values, piece);
                const int ranks = world_size();
                for (std::size_t i = 0; i < values.size(); ++i)
                    EXPECT_EQ(values[i], ranks * static_cast<double>(i) + ranks * (ranks - 1) / 2.0) << i;
            }
}

TEST(Transfers, SumsHaveTheSameBitsEverywhere) {
    std::vector<double> values(1000);
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = std::sin(static_cast<double>(i + 1) * (world_rank() + 1));
    sum_over_ranks(MPI_COMM_WORLD, values);
    std::vector<double> first = values;
    broadcast(MPI_COMM_WORLD, first, 0);
    EXPECT_EQ(values, first);
}

TEST(Transfers, VectorsAndTextsOfAnyLength) {
    const int root = world_size() - 1;
    std::vector<int> values{9, 9, 9, 9};
    std::string text = "what was here before";
    if (world_rank() == root) {
        values = {1, 2, 3};
        text = std::string("with\0zero", 9);
    }
    broadcast(MPI_COMM_WORLD, values, root);
    broadcast(MPI_COMM_WORLD, text, root);
    EXPECT_EQ(values, (std::vector<int>{1, 2, 3}));
    EXPECT_EQ(text, std::string("with\0zero", 9));
    const auto texts =
        gather_to_all(MPI_COMM_WORLD, std::string(static_cast<std::size_t>(world_rank()), 'x'));
    ASSERT_EQ(std::ssize(texts), world_size());
    for (int r = 0; r < world_size(); ++r)
        EXPECT_EQ(texts[static_cast<std::size_t>(r)], std::string(static_cast<std::size_t>(r), 'x'));
}

TEST(Reductions, LargestSumAndAny) {
    const int last = world_size() - 1;
    EXPECT_EQ(max_over_ranks(MPI_COMM_WORLD, -1.5 - world_rank()), -1.5);
    EXPECT_EQ(max_over_ranks(MPI_COMM_WORLD, Index{world_rank()} - 5), last - 5);
    EXPECT_TRUE(any_rank(MPI_COMM_WORLD, world_rank() == last));
    EXPECT_FALSE(any_rank(MPI_COMM_WORLD, false));
    const auto values = gather_to_all(MPI_COMM_WORLD, 0.5 * world_rank());
    for (int r = 0; r < world_size(); ++r) EXPECT_EQ(values[static_cast<std::size_t>(r)], 0.5 * r);
}

TEST(Reductions, NanOnAnyRankIsNotLost) {
    for (int bad = 0; bad < world_size(); ++bad)
        EXPECT_TRUE(std::isnan(max_over_ranks(MPI_COMM_WORLD, world_rank() == bad ? std::nan("") : 1.0)));
    EXPECT_EQ(max_over_ranks(MPI_COMM_WORLD, std::numeric_limits<double>::infinity()),
              std::numeric_limits<double>::infinity());
}

TEST(CollectiveErrors, NoneThrows) {
    EXPECT_EQ(collectively(MPI_COMM_WORLD, [] { return world_rank() + 1; }), world_rank() + 1);
    EXPECT_NO_THROW(collectively(MPI_COMM_WORLD, [] {}));
}
TEST(CollectiveErrors, OneRankThrows) {
    for (int bad = 0; bad < world_size(); ++bad)
        testing::expect_error_on_all_ranks(
            [&] {
                collectively(MPI_COMM_WORLD, [&] {
                    if (world_rank() == bad)
                        throw Error(ExitStatus::input, ErrorKind::missing,
                                    "file " + std::to_string(bad) + " is missing");
                });
            },
            ExitStatus::input, ErrorKind::missing, "file " + std::to_string(bad));
}
TEST(CollectiveErrors, LowestOfSeveralSpeaks) {
    const int lowest = world_size() > 1 ? 1 : 0;
    testing::expect_error_on_all_ranks(
        [&] {
            collectively(MPI_COMM_WORLD, [&]() -> std::string {
                if (world_rank() >= lowest)
                    throw Error(ExitStatus::output, ErrorKind::no_access,
                                "rank " + std::to_string(world_rank()));
                return "fine";
            });
        },
        ExitStatus::output, ErrorKind::no_access, "rank " + std::to_string(lowest));
}
TEST(CollectiveErrors, OtherExceptionsBecomeErrors) {
    const int last = world_size() - 1;
    const auto on_last = [&](auto thrown) {
        return [=] {
            collectively(MPI_COMM_WORLD, [&] {
                if (world_rank() == last) throw thrown;
            });
        };
    };
    testing::expect_error_on_all_ranks(on_last(std::bad_alloc()), ExitStatus::study, ErrorKind::no_memory,
                                       "rank " + std::to_string(last));
    testing::expect_error_on_all_ranks(on_last(std::out_of_range("map::at")), ExitStatus::numerical,
                                       ErrorKind::library, "map::at");
    testing::expect_error_on_all_ranks(on_last(42), ExitStatus::numerical, ErrorKind::library, "");
}

}  // namespace
}  // namespace tangram
