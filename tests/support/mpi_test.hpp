#pragma once
#include <gtest/gtest.h>
#include <mpi.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tangram/parallel/communicator.hpp"
#include "tangram/parallel/process_grid.hpp"

namespace tangram::testing {

inline int world_rank() {
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}
inline int world_size() {
    int size = 0;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    return size;
}

/// Every rows x columns whose product is `ranks`.
inline std::vector<std::pair<int, int>> grid_shapes(int ranks) {
    std::vector<std::pair<int, int>> shapes;
    for (int rows = 1; rows <= ranks; ++rows)
        if (ranks % rows == 0) shapes.emplace_back(rows, ranks / rows);
    return shapes;
}

/// Every grid of all ranks. Collective over the world.
inline std::vector<ProcessGrid> all_grids() {
    std::vector<ProcessGrid> grids;
    for (const auto& [rows, columns] : grid_shapes(world_size()))
        grids.emplace_back(MPI_COMM_WORLD, rows, columns);
    return grids;
}

/// Bytes of this process that are in memory.
inline Index resident_bytes() {
    std::ifstream file("/proc/self/statm");
    Index total = 0, resident = 0;
    file >> total >> resident;
    return resident * sysconf(_SC_PAGESIZE);
}

/// What a call threw: nothing, an Error with its text, status and kind, or something else.
struct Thrown {
    std::string text;
    std::optional<ExitStatus> status;
    std::optional<ErrorKind> kind;
};
template <class Call>
Thrown thrown_by(Call&& call) {
    try {
        call();
    } catch (const Error& e) {
        return {e.what(), e.status(), e.kind()};
    } catch (const std::exception& e) {
        return {std::string("not an Error: ") + e.what(), std::nullopt, std::nullopt};
    }
    return {"", std::nullopt, std::nullopt};
}

/// Collective: every rank threw an Error of this status and kind with the same text, and the text holds
/// `name`: a file, tensor or value, never prose.
template <class Call>
void expect_error_on_all_ranks(Call&& call, ExitStatus status, ErrorKind kind, const std::string& name,
                               MPI_Comm comm = MPI_COMM_WORLD) {
    const Thrown thrown = thrown_by(call);
    EXPECT_TRUE(thrown.status.has_value()) << "threw: " << thrown.text;
    EXPECT_EQ(static_cast<int>(thrown.status.value_or(ExitStatus{})), static_cast<int>(status));
    EXPECT_EQ(thrown.kind, kind) << thrown.text;
    EXPECT_NE(thrown.text.find(name), std::string::npos)
        << "'" << thrown.text << "' does not hold '" << name << "'";
    const std::vector<std::string> texts = gather_to_all(comm, thrown.text);
    for (const std::string& text : texts) EXPECT_EQ(text, texts.front());
}

}  // namespace tangram::testing

/// Collective over the world: the condition holds on every rank; fails on every rank otherwise.
#define EXPECT_ON_ALL_RANKS(condition) \
    EXPECT_FALSE(::tangram::any_rank(MPI_COMM_WORLD, !(condition))) << "not on every rank: " #condition
/// The same, and every rank leaves the test function together.
#define ASSERT_ON_ALL_RANKS(condition) \
    ASSERT_FALSE(::tangram::any_rank(MPI_COMM_WORLD, !(condition))) << "not on every rank: " #condition
