#pragma once
#include <sys/stat.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "support/mpi_test.hpp"
#include "tangram/io/hdf5_file.hpp"
#include "tangram/parallel/distributed_matrix.hpp"

namespace tangram::testing_io {

using testing::all_grids;
using testing::world_rank;
using testing::world_size;
inline void barrier() { MPI_Barrier(MPI_COMM_WORLD); }

/// True on every rank if `work` said so on the first.
inline bool first_rank_says(const std::function<bool()>& work) {
    return any_rank(MPI_COMM_WORLD, world_rank() == 0 && work());
}
inline bool run(const std::string& command) {
    return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

/// A folder of its own for each test, known to all ranks, removed at the end.
class Scratch {
  public:
    Scratch() {
        std::string name = (std::filesystem::temp_directory_path() / "tangram-io-XXXXXX").string();
        if (world_rank() == 0 && mkdtemp(name.data()) == nullptr) std::abort();
        broadcast(MPI_COMM_WORLD, name, 0);
        folder_ = name;
    }
    ~Scratch() {
        barrier();
        std::error_code code;
        if (world_rank() == 0) std::filesystem::remove_all(folder_, code);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    std::filesystem::path operator/(const std::string& name) const { return folder_ / name; }

  private:
    std::filesystem::path folder_;
};

/// A file system mounted while the object lives; made() is false where this process may not mount.
class Mount {
  public:
    Mount(const std::filesystem::path& folder, const std::string& options) : folder_(folder) {
        made_ = first_rank_says([&] {
            std::filesystem::create_directories(folder_);
            return run("mount " + options + " " + folder_.string());
        });
    }
    ~Mount() {
        barrier();
        if (made_ && world_rank() == 0) run("umount " + folder_.string());
        barrier();
    }
    Mount(const Mount&) = delete;
    Mount& operator=(const Mount&) = delete;
    bool made() const { return made_; }

  private:
    std::filesystem::path folder_;
    bool made_ = false;
};

/// What a collective call threw: every rank takes part and all must have been told the same.
struct Caught {
    int status = 0;  ///< 0: nothing was thrown
    ErrorKind kind{};
    std::string text;
    bool is(ExitStatus of, ErrorKind what) const { return status == static_cast<int>(of) && kind == what; }
    bool names(const std::string& name) const { return text.find(name) != std::string::npos; }
};
inline Caught caught(const std::function<void()>& work) {
    Caught found;
    try {
        work();
    } catch (const Error& e) {
        found = {static_cast<int>(e.status()), e.kind(), e.what()};
    }
    for (const std::string& other : gather_to_all(MPI_COMM_WORLD, std::to_string(found.status) + found.text))
        EXPECT_EQ(other, std::to_string(found.status) + found.text);
    return found;
}

/// Runs a Python program with h5py on the first rank; `text` sees the file as sys.argv[1]. Checks by assert.
inline bool has_h5py() {
    return first_rank_says([] { return run("/usr/bin/python3 -c 'import h5py'"); });
}
inline bool python(const Scratch& scratch, const std::filesystem::path& file, const std::string& text) {
    barrier();
    const bool good = first_rank_says([&] {
        std::ofstream(scratch / "check.py") << "import sys, h5py, numpy as np\n" << text;
        return std::system(
                   ("/usr/bin/python3 " + (scratch / "check.py").string() + " " + file.string()).c_str()) ==
               0;
    });
    return good;
}

/// A matrix without any symmetry.
inline double entry(Index i, Index j) {
    return 1000.0 * static_cast<double>(i) + static_cast<double>(j) + 0.25;
}
inline void fill(DistributedMatrix& matrix) {
    for (Index j = 0; j < matrix.local_columns(); ++j)
        for (Index i = 0; i < matrix.local_rows(); ++i)
            matrix.data()[i + j * matrix.lld()] = entry(matrix.global_row(i), matrix.global_column(j));
}
/// Number of local entries that are not entry(i, j); NaN counts.
inline Index wrong_entries(const DistributedMatrix& matrix) {
    Index wrong = 0;
    for (Index j = 0; j < matrix.local_columns(); ++j)
        for (Index i = 0; i < matrix.local_rows(); ++i)
            if (!(matrix.data()[i + j * matrix.lld()] ==
                  entry(matrix.global_row(i), matrix.global_column(j))))
                ++wrong;
    return wrong;
}

struct Shape {
    Index rows, columns, block;
};
/// Ragged, wide, tall, ranks that own nothing, block larger than the matrix.
inline const std::vector<Shape> shapes{{7, 7, 2},    {13, 5, 3},   {1, 1, 4},   {3, 11, 8},
                                       {64, 64, 16}, {17, 17, 32}, {40, 23, 4}, {2, 9, 1}};

inline std::string content(const std::filesystem::path& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace tangram::testing_io
