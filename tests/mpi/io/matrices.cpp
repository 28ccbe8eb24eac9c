#include "tangram/io/matrix_io.hpp"

#include <algorithm>
#include <fstream>

#include "scratch.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/io/output.hpp"

namespace tangram {
namespace {

using namespace testing_io;

/// A data set of NaN, so that an entry that is not written shows.
void poison(const std::filesystem::path& file, const std::string& path, Index rows, Index columns) {
    barrier();  // a rank that still reads holds the file's lock
    if (world_rank() == 0) {
        Hdf5File h5 = Hdf5File::create(file);
        h5.create_matrix(path, rows, columns);
        const Index begin = h5.matrix_begin(path, rows, columns);
        h5.close();
        const std::vector<double> nothing(static_cast<std::size_t>(rows * columns), std::nan(""));
        std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
        bytes.seekp(begin);
        bytes.write(reinterpret_cast<const char*>(nothing.data()),
                    static_cast<std::streamsize>(8 * nothing.size()));
        ASSERT_TRUE(bytes.flush());
    }
    barrier();
}

/// The file as one process sees it, through HDF5's serial driver, against entry(i, j).
void expect_in_file(const std::filesystem::path& file, const std::string& path, Index rows, Index columns,
                    Orientation orientation) {
    barrier();
    Index wrong = 0;
    if (world_rank() == 0) {
        const Hdf5File h5 = Hdf5File::open(file, false, ExitStatus::input);
        const bool turned = orientation == Orientation::transposed;
        const std::vector<Index> expected = turned ? std::vector{columns, rows} : std::vector{rows, columns};
        EXPECT_EQ(h5.shape(path), expected);
        const std::vector<double> values = h5.read_doubles(path, rows * columns);
        for (Index i = 0; i < rows; ++i)
            for (Index j = 0; j < columns; ++j) {
                const auto at = static_cast<std::size_t>(turned ? j * rows + i : i * columns + j);
                if (!(values[at] == entry(i, j))) ++wrong;
            }
    }
    EXPECT_EQ(wrong, 0);
    barrier();
}

TEST(MatrixIo, RoundTripsOnEveryGrid) {
    const Scratch scratch;
    const auto file = scratch / "m.h5";
    const auto grids = all_grids();
    for (const ProcessGrid& grid : grids)
        for (const Shape& s : shapes)
            for (const Orientation orientation : {Orientation::as_is, Orientation::transposed})
                for (const Index transfer : {largest_transfer, Index{200}, Index{1}}) {
                    SCOPED_TRACE(::testing::Message()
                                 << grid.rows() << " x " << grid.columns() << " ranks, " << s.rows << " x "
                                 << s.columns << " in " << s.block << ", transfer " << transfer
                                 << (orientation == Orientation::as_is ? " as is" : " transposed"));
                    DistributedMatrix matrix(grid, s.rows, s.columns, s.block);
                    fill(matrix);
                    const bool turned = orientation == Orientation::transposed;
                    poison(file, "/a/m", turned ? s.columns : s.rows, turned ? s.rows : s.columns);
                    write_matrix(file, "/a/m", matrix, orientation, transfer);
                    expect_in_file(file, "/a/m", s.rows, s.columns, orientation);

                    const Index other_block = s.block + 1;
                    const DistributedMatrix back = read_matrix(
                        {file, ExitStatus::output}, "/a/m", grids.back(), other_block, orientation, transfer);
                    EXPECT_EQ(back.rows(), s.rows);
                    EXPECT_EQ(back.columns(), s.columns);
                    EXPECT_EQ(back.block(), other_block);
                    EXPECT_EQ(wrong_entries(back), 0);

                    // Into the leading part of a larger matrix, whose other entries stay.
                    DistributedMatrix larger(grid, s.rows + 9, s.columns + s.block, s.block);
                    std::ranges::fill(larger.local(), -1.0);
                    read_into({file, ExitStatus::output}, "/a/m", larger, orientation, transfer);
                    Index misplaced = 0;
                    for (Index j = 0; j < larger.local_columns(); ++j)
                        for (Index i = 0; i < larger.local_rows(); ++i) {
                            const Index row = larger.global_row(i), column = larger.global_column(j);
                            const bool inside = row < s.rows && column < s.columns;
                            if (!(larger.data()[i + j * larger.lld()] ==
                                  (inside ? entry(row, column) : -1.0)))
                                ++misplaced;
                        }
                    EXPECT_EQ(misplaced, 0);
                }
}

TEST(MatrixIo, H5pySeesRowsAsRows) {
    if (!has_h5py()) GTEST_SKIP() << "/usr/bin/python3 has no h5py";
    const Scratch scratch;
    const auto file = scratch / "m.h5";
    for (const ProcessGrid& grid : all_grids()) {
        DistributedMatrix matrix(grid, 19, 6, 4);
        fill(matrix);
        {
            StagedFile staged(MPI_COMM_WORLD, file, false, 0);
            staged.write_small([](Hdf5File& h5) {
                h5.create_matrix("/plain", 19, 6);
                h5.create_matrix("/deep/er/turned", 6, 19);
            });
            write_matrix(staged.partial(), "/plain", matrix, Orientation::as_is);
            write_matrix(staged.partial(), "/deep/er/turned", matrix, Orientation::transposed);
            staged.commit();
        }
        EXPECT_TRUE(python(scratch, file, R"(
f = h5py.File(sys.argv[1], 'r')
a, b = f['plain'], f['deep/er/turned']
assert a.dtype == np.float64 and a.shape == (19, 6) and a.chunks is None, (a.dtype, a.shape)
assert a[3, 5] == 3005.25 and a[5, 3] == 5003.25 and b[5, 3] == 3005.25 and b[3, 5] == 5003.25
i, j = np.mgrid[:19, :6]
assert (a[:] == 1000 * i + j + 0.25).all() and (b[:] == a[:].T).all()
)"));
    }
}

TEST(MatrixIo, ReadsWhatOthersWrite) {
    if (!has_h5py()) GTEST_SKIP() << "/usr/bin/python3 has no h5py";
    const Scratch scratch;
    const auto file = scratch / "theirs.h5";
    EXPECT_TRUE(python(scratch, file, R"(
f = h5py.File(sys.argv[1], 'w', libver='latest')
i, j = np.mgrid[:31, :12]
a = 1000 * i + j + 0.25
f['little'] = a
f['big'] = a.astype('>f8')
f['single'] = a.astype('f4')
f.create_dataset('chunked', data=a.astype('>f4'), chunks=(7, 5))
f.create_dataset('packed', data=a, chunks=(8, 8), compression='gzip', shuffle=True)
)"));
    for (const ProcessGrid& grid : all_grids())
        for (const char* path : {"/little", "/big", "/single", "/chunked", "/packed"}) {
            SCOPED_TRACE(path);
            const DistributedMatrix matrix =
                read_matrix({file, ExitStatus::input}, path, grid, 5, Orientation::as_is);
            EXPECT_EQ(matrix.rows(), 31);
            EXPECT_EQ(matrix.columns(), 12);
            EXPECT_EQ(wrong_entries(matrix), 0);
            const DistributedMatrix turned =
                read_matrix({file, ExitStatus::input}, path, grid, 5, Orientation::transposed);
            EXPECT_EQ(turned.rows(), 12);
            EXPECT_EQ(wrong_entries(transpose(turned)), 0);
        }
}

TEST(MatrixIo, RefusesOnAllRanks) {
    const Scratch scratch;
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const auto file = scratch / "m.h5", foreign = scratch / "text.h5", torn = scratch / "torn.h5";
    if (world_rank() == 0) {
        Hdf5File h5 = Hdf5File::create(file);
        h5.write("/line", std::vector<double>(4, 1.0));
        h5.write("/square", std::vector<double>(10000, 1.0), {100, 100});
        h5.write("/words", std::vector<std::string>{"a", "b"});
        h5.close();
        std::ofstream(foreign) << "a text, long enough to hold the signature of HDF5 if it were such a file";
        std::filesystem::copy_file(file, torn);
        std::filesystem::resize_file(torn, 50000);
    }
    barrier();
    const auto read = [&](const std::filesystem::path& from, const std::string& path) {
        return caught([&] { read_matrix({from, ExitStatus::input}, path, grid, 2, Orientation::as_is); });
    };
    Caught problem = read(scratch / "none.h5", "/square");
    EXPECT_TRUE(problem.is(ExitStatus::input, ErrorKind::missing) && problem.names("none.h5"))
        << problem.text;
    problem = read(foreign, "/square");
    EXPECT_TRUE(problem.is(ExitStatus::input, ErrorKind::malformed) && problem.names("text.h5"))
        << problem.text;
    problem = read(torn, "/square");
    EXPECT_TRUE(problem.is(ExitStatus::input, ErrorKind::malformed) && problem.names("torn.h5"))
        << problem.text;
    problem = read(scratch / "", "/square");
    EXPECT_TRUE(problem.is(ExitStatus::input, ErrorKind::malformed)) << problem.text;
    problem = read(file, "/elsewhere/gram");
    EXPECT_TRUE(problem.is(ExitStatus::input, ErrorKind::missing) && problem.names("/elsewhere/gram"))
        << problem.text;
    problem = read(file, "/line");
    EXPECT_TRUE(problem.is(ExitStatus::input, ErrorKind::contradiction) && problem.names("/line"))
        << problem.text;
    problem = read(file, "/");
    EXPECT_TRUE(problem.is(ExitStatus::input, ErrorKind::malformed)) << problem.text;
    problem = caught([&] { InputFile(MPI_COMM_WORLD, torn, ExitStatus::output); });
    EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::malformed) && problem.names("torn.h5"))
        << problem.text;

    DistributedMatrix matrix(grid, 100, 99, 8);
    problem = caught([&] { write_matrix(file, "/square", matrix, Orientation::as_is); });
    EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::contradiction) && problem.names("/square") &&
                problem.names("100 x 99"))
        << problem.text;
    problem = caught([&] { write_matrix(file, "/other", matrix, Orientation::as_is); });
    EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::missing) && problem.names("/other"))
        << problem.text;
    EXPECT_EQ(caught([&] {
                  read_matrix({file, ExitStatus::input}, "/square", grid, 2, Orientation::as_is);
              }).status,
              0);
}

TEST(MatrixIo, SubCommunicatorsWorkApart) {
    const Scratch scratch;
    const Communicator half(MPI_COMM_WORLD, world_rank() % 2, world_rank());
    const ProcessGrid grid = ProcessGrid::most_square(half.get());
    const auto file = scratch / ("half" + std::to_string(world_rank() % 2) + ".h5");
    DistributedMatrix matrix(grid, 12, 12, 5);
    fill(matrix);
    {
        StagedFile staged(half.get(), file, false, 0);
        staged.write_small([](Hdf5File& h5) { h5.create_matrix("/m", 12, 12); });
        write_matrix(staged.partial(), "/m", matrix, Orientation::as_is);
        staged.commit();
    }
    EXPECT_EQ(wrong_entries(read_matrix({file, ExitStatus::output}, "/m", grid, 3, Orientation::as_is)), 0);
}

TEST(InputFile, TellsEveryRankTheSame) {
    const Scratch scratch;
    const auto file = scratch / "small.h5";
    if (world_rank() == 0) {
        Hdf5File h5 = Hdf5File::create(file);
        h5.write("/g/doubles", std::vector<double>{1.5, -2.5});
        h5.set_attribute("/g", "name", std::string("größer"));
        h5.set_attribute("/g", "hosts", std::vector<std::string>{"a", "", "ccc"});
        h5.close();
    }
    barrier();
    const InputFile input(MPI_COMM_WORLD, file, ExitStatus::input);
    EXPECT_EQ(input.read([](const Hdf5File& h5) { return h5.read_doubles("/g/doubles", 2); }),
              (std::vector{1.5, -2.5}));
    EXPECT_EQ(input.read([](const Hdf5File& h5) { return h5.text_attribute("/g", "name"); }), "größer");
    EXPECT_EQ(input.read([](const Hdf5File& h5) { return h5.texts_attribute("/g", "hosts"); }),
              (std::vector<std::string>{"a", "", "ccc"}));
    EXPECT_TRUE(input.read([](const Hdf5File& h5) { return h5.exists("/g/doubles"); }));
    const Caught problem =
        caught([&] { input.read([](const Hdf5File& h5) { return h5.read_doubles("/g/doubles", 3); }); });
    EXPECT_TRUE(problem.is(ExitStatus::input, ErrorKind::contradiction) && problem.names("/g/doubles"))
        << problem.text;
}

}  // namespace
}  // namespace tangram
