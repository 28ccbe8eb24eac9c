#include "tangram/io/matrix_io.hpp"

#include <gtest/gtest.h>
#include <hdf5.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>

#include "support/expect_error.hpp"
#include "tangram/io/output.hpp"
#include "tangram/parallel/collective_error.hpp"

namespace tangram {
namespace {

using testing::expect_error;

int world_rank() {
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

/// A folder that all ranks share; the first removes it.
class SharedFolder {
  public:
    SharedFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "tangram-io-XXXXXX").string();
        if (world_rank() == 0) name = mkdtemp(name.data());
        broadcast(MPI_COMM_WORLD, name, 0);
        path_ = name;
    }
    ~SharedFolder() {
        MPI_Barrier(MPI_COMM_WORLD);
        std::error_code code;
        if (world_rank() == 0) std::filesystem::remove_all(path_, code);
    }
    std::filesystem::path operator/(const char* name) const { return path_ / name; }

  private:
    std::filesystem::path path_;
};

template <class Visit>
void for_each_grid(Visit visit) {
    int size = 0;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int p = 1; p <= size; ++p)
        if (size % p == 0) visit(ProcessGrid(MPI_COMM_WORLD, p, size / p));
}

/// Not symmetric, so that a transposition shows.
double entry(Index i, Index j) { return 1000.0 * static_cast<double>(i) + static_cast<double>(j) + 0.25; }

DistributedMatrix numbered(const ProcessGrid& grid, Index rows, Index columns, Index block) {
    DistributedMatrix matrix(grid, rows, columns, block);
    for (Index j = 0; j < matrix.local_columns(); ++j)
        for (Index i = 0; i < matrix.local_rows(); ++i)
            matrix.data()[i + j * matrix.lld()] = entry(matrix.global_row(i), matrix.global_column(j));
    return matrix;
}

void make_file(const std::filesystem::path& file, Index rows, Index columns) {
    collectively(MPI_COMM_WORLD, [&] {
        if (world_rank() != 0) return;
        Hdf5File h5 = Hdf5File::create(file);
        h5.create_matrix("/some/matrix", rows, columns);
        h5.close();
    });
}

TEST(MatrixIo, GoesAroundOnEveryGridInBothOrientations) {
    const SharedFolder folder;
    const auto file = folder / "matrix.h5";
    const struct {
        Index rows, columns, block;
    } shapes[] = {{1, 1, 1}, {7, 7, 2}, {13, 5, 4}, {5, 13, 8}, {64, 64, 16}, {33, 50, 100}, {3, 40, 2}};
    for_each_grid([&](const ProcessGrid& grid) {
        for (const auto& s : shapes)
            for (const Orientation orientation : {Orientation::as_is, Orientation::transposed})
                for (const Index transfer : {largest_transfer, Index{256}}) {  // 256 bytes: many panels
                    const bool turned = orientation == Orientation::transposed;
                    make_file(file, turned ? s.columns : s.rows, turned ? s.rows : s.columns);
                    const DistributedMatrix matrix = numbered(grid, s.rows, s.columns, s.block);
                    EXPECT_TRUE(write_matrix(file, "/some/matrix", matrix, orientation, transfer))
                        << "not collective";
                    const DistributedMatrix back = read_matrix(file, "/some/matrix", grid, s.block,
                                                               orientation, ExitStatus::output, transfer);
                    ASSERT_EQ(back.rows(), s.rows);
                    ASSERT_EQ(back.columns(), s.columns);
                    EXPECT_EQ(std::vector<double>(back.local().begin(), back.local().end()),
                              std::vector<double>(matrix.local().begin(), matrix.local().end()));
                    // Into the leading part of a larger matrix, whose other entries stay.
                    DistributedMatrix larger(grid, s.rows + 9, s.columns + s.block, s.block);
                    std::ranges::fill(larger.local(), -1.0);
                    read_into(file, "/some/matrix", larger, orientation, ExitStatus::output, transfer);
                    Index misplaced = 0;
                    for (Index j = 0; j < larger.local_columns(); ++j)
                        for (Index i = 0; i < larger.local_rows(); ++i) {
                            const Index row = larger.global_row(i), column = larger.global_column(j);
                            const double expected =
                                row < s.rows && column < s.columns ? entry(row, column) : -1.0;
                            misplaced += larger.data()[i + j * larger.lld()] != expected ? 1 : 0;
                        }
                    ASSERT_EQ(sum_over_ranks(grid.comm().get(), misplaced), 0)
                        << s.rows << " x " << s.columns;
                    // By another route: one process, no hyperslabs.
                    std::vector<Index> wrong{0};
                    if (world_rank() == 0) {
                        const auto all =
                            Hdf5File::open(file, false, ExitStatus::output).read_doubles("/some/matrix");
                        for (Index i = 0; i < s.rows; ++i)
                            for (Index j = 0; j < s.columns; ++j)
                                wrong[0] += all[static_cast<std::size_t>(
                                                turned ? j * s.rows + i : i * s.columns + j)] != entry(i, j)
                                                ? 1
                                                : 0;
                    }
                    broadcast(MPI_COMM_WORLD, wrong, 0);
                    ASSERT_EQ(wrong[0], 0) << s.rows << " x " << s.columns << " in blocks of " << s.block;
                }
    });
}

TEST(MatrixIo, IsWhatH5pyReads) {
    const SharedFolder folder;
    const auto file = folder / "matrix.h5";
    make_file(file, 20, 30);
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    write_matrix(file, "/some/matrix", numbered(grid, 20, 30, 4), Orientation::as_is);
    std::vector<Index> status{0};
    if (world_rank() == 0) {
        Hdf5File h5 = Hdf5File::open(file, true, ExitStatus::output);
        h5.set_attribute("/some", "text", std::string("caf\xC3\xA9"));
        h5.set_attribute("/some", "number", 0.5);
        h5.set_attribute("/some", "texts", std::vector<std::string>{"a", "bc"});
        h5.set_attribute("/some", "integers", std::vector<Index>{1, -2});
        h5.set_attribute("/some", "number", 1.5);  // replaced
        h5.write_table(
            "/some/table",
            {{"name", {}, {}, {"x", "yz"}}, {"size", {}, {3, 4}, {}}, {"share", {0.25, 0.75}, {}, {}}});
        h5.close();
        const std::string script =
            "import sys\ntry: import h5py\nexcept ImportError: sys.exit(77)\n"
            "f = h5py.File('" +
            file.string() +
            "'); m = f['/some/matrix']; a = f['/some'].attrs; t = f['/some/table']\n"
            "assert m.shape == (20, 30) and m.dtype == 'f8' and m[3, 17] == 3017.25 and m[17, 3] == "
            "17003.25\n"
            "assert a['text'] == 'caf\\u00e9' and a['number'] == 1.5 and list(a['texts']) == ['a', 'bc'] and "
            "list(a['integers']) == [1, -2]\n"
            "assert t.dtype.names == ('name', 'size', 'share') and t['name'].tolist() == [b'x', b'yz'] and "
            "t['size'].tolist() == [3, 4] and t['share'].tolist() == [0.25, 0.75]\n";
        std::ofstream(folder / "check.py") << script;
        // A child of its own would share MPI's state; the shell starts a clean one.
        status[0] = WEXITSTATUS(
            std::system(("env -u LD_PRELOAD /usr/bin/python3 " + (folder / "check.py").string()).c_str()));
    }
    broadcast(MPI_COMM_WORLD, status, 0);
    if (status[0] == 77) GTEST_SKIP() << "python3-h5py is missing: the file is not read by h5py";
    EXPECT_EQ(status[0], 0);
}

TEST(MatrixIo, RefusesOnEveryRankWhatIsNoMatrix) {
    const SharedFolder folder;
    const auto file = folder / "a.h5";
    collectively(MPI_COMM_WORLD, [&] {
        if (world_rank() != 0) return;
        Hdf5File h5 = Hdf5File::create(file);
        h5.write("/vector", std::vector<double>{1, 2});
        h5.write_table("/table", {{"name", {}, {}, {"x"}}});
        h5.close();
        std::ofstream(folder / "text.h5") << "no HDF5 at all";
    });
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const auto read = [&](const std::filesystem::path& from, const char* path) {
        read_matrix(from, path, grid, 4, Orientation::as_is, ExitStatus::input);
    };
    expect_error(ExitStatus::input, {"a.h5", "/vector", "1 dimensions"}, [&] { read(file, "/vector"); });
    expect_error(ExitStatus::input, {"a.h5", "/none", "missing"}, [&] { read(file, "/none"); });
    expect_error(ExitStatus::input, {"text.h5", "not an HDF5 file"}, [&] { read(folder / "text.h5", "/x"); });
    expect_error(ExitStatus::input, {"none.h5", "no such file"}, [&] { read(folder / "none.h5", "/x"); });
}

TEST(StagedFile, AppearsWholeOrNotAtAll) {
    const SharedFolder folder;
    const auto file = folder / "out.h5";
    {
        StagedFile staged(MPI_COMM_WORLD, file, false, 0);
        staged.write_small([](Hdf5File& h5) { h5.write("/a", std::vector<double>{1}); });
        EXPECT_FALSE(std::filesystem::exists(file));
    }
    MPI_Barrier(MPI_COMM_WORLD);
    EXPECT_FALSE(std::filesystem::exists(file)) << "an abandoned file must not appear";
    EXPECT_FALSE(std::filesystem::exists(folder / "out.h5.partial"));
    MPI_Barrier(MPI_COMM_WORLD);
    for (const char* path : {"/a", "/b"}) {
        StagedFile staged(MPI_COMM_WORLD, file, true, 0);
        staged.write_small([&](Hdf5File& h5) { h5.write(path, std::vector<Index>{7}); });
        staged.commit();
    }
    const Hdf5File h5 = Hdf5File::open(file, false, ExitStatus::output);
    EXPECT_EQ(h5.read_int64("/a"), std::vector<Index>{7});  // kept by the second stage
    EXPECT_EQ(h5.read_int64("/b"), std::vector<Index>{7});
    EXPECT_FALSE(std::filesystem::exists(folder / "out.h5.partial"));
}

TEST(StagedFile, RefusesOnEveryRankWhatCannotBeWritten) {
    const SharedFolder folder;
    expect_error(ExitStatus::output, {"nowhere", "does not exist"},
                 [&] { StagedFile s(MPI_COMM_WORLD, folder / "nowhere/out.h5", false, 0); });
    expect_error(ExitStatus::output, {"needs", "MB free"},
                 [&] { StagedFile s(MPI_COMM_WORLD, folder / "out.h5", false, 1e18); });
    StagedFile staged(MPI_COMM_WORLD, folder / "out.h5", false, 0);
    // What the first rank's writing throws reaches all.
    expect_error(ExitStatus::output, {"on purpose"}, [&] {
        staged.write_small([](Hdf5File&) { throw Error(ExitStatus::output, "on purpose"); });
    });
}

TEST(OutputLock, RefusesASecondRunByItsOwner) {
    const SharedFolder folder;
    const auto file = folder / "out.h5";
    {
        const OutputLock lock(MPI_COMM_WORLD, file);
        // flock belongs to the open file, so a second lock of this very process is refused as another's is.
        expect_error(ExitStatus::output, {"out.h5", "host", "process"},
                     [&] { OutputLock second(MPI_COMM_WORLD, file, std::chrono::seconds(0)); });
    }
    MPI_Barrier(MPI_COMM_WORLD);
    const OutputLock again(MPI_COMM_WORLD, file);
    MPI_Barrier(MPI_COMM_WORLD);
    if (world_rank() == 0) {
        EXPECT_TRUE(std::filesystem::exists(folder / "out.h5.lock"));
    }
}

TEST(OutputLock, OfADeadProcessIsNoLock) {
    const SharedFolder folder;
    if (world_rank() == 0) std::ofstream(folder / "out.h5.lock") << "host gone, process 1";
    MPI_Barrier(MPI_COMM_WORLD);
    const OutputLock lock(MPI_COMM_WORLD, folder / "out.h5");
    SUCCEED();
}

TEST(Hdf5File, SaysWhatIsWrong) {
    const SharedFolder folder;
    if (world_rank() == 0) {
        Hdf5File h5 = Hdf5File::create(folder / "a.h5");
        h5.write("/x", std::vector<double>{1.5, 2.5});
        h5.write("/i", std::vector<Index>{Index{1} << 40});
        h5.close();
        Hdf5File in = Hdf5File::open(folder / "a.h5", false, ExitStatus::input);
        EXPECT_EQ(in.shape("/x"), std::vector<Index>{2});
        EXPECT_FALSE(in.exists("/y/z"));
        expect_error(ExitStatus::input, {"a.h5", "/y", "missing"}, [&] { in.read_doubles("/y"); });
        expect_error(ExitStatus::input, {"/x", "integers are needed"}, [&] { in.read_int64("/x"); });
        expect_error(ExitStatus::input, {"/i", "32-bit"}, [&] { in.read_int32("/i"); });
        in.close();
        std::filesystem::resize_file(folder / "a.h5", 700);
        expect_error(ExitStatus::output, {"torn"},
                     [&] { Hdf5File::open(folder / "a.h5", false, ExitStatus::output); });
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

TEST(FileAndPath, TakesTheLastColon) {
    EXPECT_EQ(file_and_path("a:/b.h5:/k/g"),
              (std::pair<std::filesystem::path, std::string>("a:/b.h5", "/k/g")));
    for (const char* bad : {"a.h5", "a.h5:", ":/x", "a.h5:/", "a.h5:x"})
        expect_error(ExitStatus::study, {"FILE.h5:/path"}, [&] { file_and_path(bad); });
}

}  // namespace
}  // namespace tangram
