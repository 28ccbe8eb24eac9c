#include "tangram/io/checkpoint.hpp"

#include <limits>

#include "scratch.hpp"

namespace tangram {
namespace {

using namespace testing_io;

CheckpointState state_of(Index units) {
    return {"sha256:abc", units, {{"test_diagonal", {1.0, 2.5, -3.0}}, {"traces", {}}}};
}
const auto any = [](const CheckpointState&) {};

TEST(Checkpoint, GoesFromAnyGridToAnyOther) {
    const Scratch scratch;
    const auto output = scratch / "out.h5";
    const auto grids = all_grids();
    Index units = 0;
    for (const ProcessGrid& from : grids) {
        DistributedMatrix gram(from, 21, 21, 4), cross(from, 5, 21, 4);
        fill(gram);
        fill(cross);
        write_checkpoint(output, state_of(++units), {{"gram", &gram}, {"cross", &cross}});
        for (const ProcessGrid& to : grids) {
            DistributedMatrix g(to, 21, 21, 3), c(to, 5, 21, 64);
            Index seen = 0;
            const auto read = read_checkpoint(output, {{"gram", &g}, {"cross", &c}},
                                              [&](const CheckpointState& state) { seen = state.units_done; });
            EXPECT_TRUE(read.has_value());
            if (!read) continue;
            EXPECT_EQ(read->torn, "");
            EXPECT_EQ(read->state.inputs, "sha256:abc");
            EXPECT_EQ(read->state.units_done, units);
            EXPECT_EQ(seen, units);
            EXPECT_EQ(read->state.vectors, state_of(units).vectors);
            EXPECT_EQ(wrong_entries(g), 0);
            EXPECT_EQ(wrong_entries(c), 0);
        }
    }
    DistributedMatrix turned(grids[0], 21, 5, 4);
    Caught problem = caught([&] { read_checkpoint(output, {{"cross", &turned}}, any); });
    EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::malformed) && problem.names("cross") &&
                problem.names("5 x 21"))
        << problem.text;
    problem = caught([&] {
        read_checkpoint(output, {{"cross", &turned}}, [](const CheckpointState&) {
            throw Error(ExitStatus::study, ErrorKind::changed, "of another study");
        });
    });
    EXPECT_TRUE(problem.is(ExitStatus::study, ErrorKind::changed)) << problem.text;
    remove_checkpoint(output, MPI_COMM_WORLD);
    barrier();
    EXPECT_FALSE(read_checkpoint(output, {{"cross", &turned}}, any).has_value());
    EXPECT_FALSE(std::filesystem::exists(scratch / "out.h5.checkpoint.previous"));
    EXPECT_EQ(caught([&] { remove_checkpoint(output, MPI_COMM_WORLD); }).status, 0);
}

/// Overwrites bytes of a file from behind HDF5's back, on one rank.
void overwrite(const std::filesystem::path& file, std::size_t from, std::size_t count) {
    if (world_rank() == 0) {
        std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
        bytes.seekp(static_cast<std::streamoff>(from));
        bytes << std::string(count, '\1');
    }
    barrier();
}

TEST(Checkpoint, TheOneBeforeIsUsedWhereTheNewestIsTorn) {
    const Scratch scratch;
    const auto output = scratch / "out.h5", file = scratch / "out.h5.checkpoint",
               previous = scratch / "out.h5.checkpoint.previous";
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    DistributedMatrix gram(grid, 50, 50, 8), into(grid, 50, 50, 8);
    fill(gram);
    // The matrix' numbers (the last 20 000 bytes or so), half of the file, all of it.
    const std::vector<std::function<void()>> tears{
        [&] { overwrite(file, std::filesystem::file_size(file) - 9000, 8); },
        [&] {
            if (world_rank() == 0) std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
            barrier();
        },
        [&] {
            if (world_rank() == 0) std::ofstream(file) << "not HDF5 at all";
            barrier();
        }};
    for (const auto& tear : tears) {
        remove_checkpoint(output, MPI_COMM_WORLD);
        write_checkpoint(output, state_of(1), {{"gram", &gram}});
        EXPECT_FALSE(std::filesystem::exists(previous));
        tear();
        Caught problem = caught([&] { read_checkpoint(output, {{"gram", &into}}, any); });
        EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::malformed) &&
                    problem.names("out.h5.checkpoint"))
            << problem.text;
        remove_checkpoint(output, MPI_COMM_WORLD);
        write_checkpoint(output, state_of(1), {{"gram", &gram}});
        write_checkpoint(output, state_of(2), {{"gram", &gram}});
        tear();
        const auto read = read_checkpoint(output, {{"gram", &into}}, any);
        EXPECT_TRUE(read && read->state.units_done == 1 &&
                    read->torn.find("out.h5.checkpoint") != std::string::npos);
        EXPECT_EQ(wrong_entries(into), 0);
        // The next one is written over the torn one, and counts.
        write_checkpoint(output, state_of(3), {{"gram", &gram}});
        EXPECT_EQ(read_checkpoint(output, {{"gram", &into}}, any)->state.units_done, 3);
    }
}

TEST(Checkpoint, IsRemovedWithWhatADeadRunLeft) {
    const Scratch scratch;
    const auto output = scratch / "out.h5";
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    DistributedMatrix gram(grid, 20, 20, 8);
    fill(gram);
    const std::vector<std::string> left{"partial"}, others{"partial.other", "other"};
    const auto plant = [&] {
        for (const auto* const names : {&left, &others})
            for (const std::string& name : *names)
                if (world_rank() == 0) std::ofstream(scratch / ("out.h5.checkpoint." + name)) << "left";
        barrier();
    };
    const auto there = [&](const std::string& name) {
        return std::filesystem::exists(scratch / ("out.h5.checkpoint." + name));
    };
    plant();
    write_checkpoint(output, state_of(1), {{"gram", &gram}});
    barrier();
    for (const std::string& name : left) EXPECT_FALSE(there(name)) << name;
    for (const std::string& name : others) EXPECT_TRUE(there(name)) << name;
    barrier();
    plant();
    remove_checkpoint(output, MPI_COMM_WORLD);
    barrier();
    for (const std::string& name : left) EXPECT_FALSE(there(name)) << name;
    EXPECT_FALSE(std::filesystem::exists(scratch / "out.h5.checkpoint"));
    barrier();
}

TEST(Checkpoint, SurvivesADeathBetweenItsTwoNames) {
    const Scratch scratch;
    const auto output = scratch / "out.h5";
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    DistributedMatrix gram(grid, 20, 20, 8);
    fill(gram);
    write_checkpoint(output, state_of(1), {{"gram", &gram}});
    if (world_rank() == 0)
        std::filesystem::rename(scratch / "out.h5.checkpoint", scratch / "out.h5.checkpoint.previous");
    barrier();
    const auto read = read_checkpoint(output, {{"gram", &gram}}, any);
    EXPECT_TRUE(read && read->torn.empty() && read->state.units_done == 1);
}

TEST(Checkpoint, TheOlderOneOutlivesAFullDisk) {
    const Scratch scratch;
    const Mount disk(scratch / "disk", "-t tmpfs -o size=256k none");
    if (!disk.made()) GTEST_SKIP() << "this process may not mount a tmpfs";
    const auto output = scratch / "disk/out.h5";
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    DistributedMatrix small(grid, 40, 40, 8), large(grid, 400, 400, 8);
    fill(small);
    write_checkpoint(output, state_of(1), {{"gram", &small}});
    const Caught problem = caught([&] { write_checkpoint(output, state_of(2), {{"gram", &large}}); });
    EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::no_access) && problem.names("out.h5.checkpoint") &&
                problem.names("1.3 MB"))
        << problem.text;
    DistributedMatrix into(grid, 40, 40, 8);
    EXPECT_EQ(read_checkpoint(output, {{"gram", &into}}, any)->state.units_done, 1);
    EXPECT_EQ(wrong_entries(into), 0);
}

}  // namespace
}  // namespace tangram
