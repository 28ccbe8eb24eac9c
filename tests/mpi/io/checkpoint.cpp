#include "tangram/io/checkpoint.hpp"

#include "scratch.hpp"

namespace tangram {
namespace {

using namespace testing_io;

CheckpointState state_of(Index units) {
    return {"sha256:abc", units, {{"test_diagonal", {1.0, 2.5, -3.0}}, {"traces", {}}}};
}

TEST(Checkpoint, GoesFromAnyGridToAnyOther) {
    const Scratch scratch;
    const auto output = scratch / "out.h5";
    EXPECT_FALSE(read_checkpoint(output, MPI_COMM_WORLD).has_value());
    const auto grids = all_grids();
    Index units = 0;
    for (const ProcessGrid& from : grids) {
        DistributedMatrix gram(from, 21, 21, 4), cross(from, 5, 21, 4);
        fill(gram);
        fill(cross);
        write_checkpoint(output, state_of(++units), {{"gram", &gram}, {"cross", &cross}});
        for (const ProcessGrid& to : grids) {
            const auto state = read_checkpoint(output, MPI_COMM_WORLD);
            EXPECT_TRUE(state.has_value());
            if (!state) continue;
            EXPECT_EQ(state->fingerprint, "sha256:abc");
            EXPECT_EQ(state->units_done, units);
            EXPECT_EQ(state->vectors, state_of(units).vectors);
            EXPECT_EQ(wrong_entries(read_checkpoint_matrix(output, "gram", to, 21, 21, 3)), 0);
            EXPECT_EQ(wrong_entries(read_checkpoint_matrix(output, "cross", to, 5, 21, 64)), 0);
        }
    }
    const Caught problem = caught([&] { read_checkpoint_matrix(output, "cross", grids[0], 21, 5, 4); });
    EXPECT_TRUE(problem.status == 5 && problem.says("cross is 5 x 21, 21 x 5 is needed")) << problem.text;
    remove_checkpoint(output, MPI_COMM_WORLD);
    barrier();
    EXPECT_FALSE(read_checkpoint(output, MPI_COMM_WORLD).has_value());
    EXPECT_EQ(caught([&] { remove_checkpoint(output, MPI_COMM_WORLD); }).status, 0);
}

TEST(Checkpoint, SaysWhenItIsTorn) {
    const Scratch scratch;
    const auto output = scratch / "out.h5", file = scratch / "out.h5.checkpoint";
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    DistributedMatrix gram(grid, 50, 50, 8);
    fill(gram);
    write_checkpoint(output, state_of(1), {{"gram", &gram}});
    if (rank() == 0) std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
    barrier();
    Caught problem = caught([&] { read_checkpoint(output, MPI_COMM_WORLD); });
    EXPECT_TRUE(problem.status == 5 && problem.says("out.h5.checkpoint") && problem.says("delete the checkpoint to start again"))
        << problem.text;
    problem = caught([&] { read_checkpoint_matrix(output, "gram", grid, 50, 50, 8); });
    EXPECT_TRUE(problem.status == 5 && problem.says("delete the checkpoint")) << problem.text;
    if (rank() == 0) std::ofstream(file) << "not HDF5 at all";
    barrier();
    problem = caught([&] { read_checkpoint(output, MPI_COMM_WORLD); });
    EXPECT_TRUE(problem.status == 5 && problem.says("is not an HDF5 file")) << problem.text;
    write_checkpoint(output, state_of(2), {{"gram", &gram}});
    EXPECT_EQ(read_checkpoint(output, MPI_COMM_WORLD)->units_done, 2);
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
    EXPECT_TRUE(problem.status == 5 && problem.says("out.h5.checkpoint: needs 1.3 MB")) << problem.text;
    EXPECT_EQ(read_checkpoint(output, MPI_COMM_WORLD)->units_done, 1);
    EXPECT_EQ(wrong_entries(read_checkpoint_matrix(output, "gram", grid, 40, 40, 8)), 0);
}

}  // namespace
}  // namespace tangram
