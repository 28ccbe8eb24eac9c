#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

#include "../src/spectrum/choice.hpp"
#include "tangram/error.hpp"
#include "tangram/spectrum/eigenpairs.hpp"
#include "tangram/spectrum/quality.hpp"

namespace tangram {
namespace {

template <class Call>
std::string refusal(ErrorKind kind, Call&& call) {
    try {
        call();
    } catch (const Error& e) {
        EXPECT_EQ(e.status(), ExitStatus::study);
        EXPECT_EQ(e.kind(), kind) << e.what();
        return e.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return "";
}
bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Names, RoundTrip) {
    EXPECT_EQ(solver_by_name("auto"), Solver::automatic);
    EXPECT_EQ(solver_by_name("lapack"), Solver::lapack);
    EXPECT_EQ(solver_by_name("scalapack-dc"), Solver::scalapack_dc);
    EXPECT_EQ(solver_by_name("scalapack-mrrr"), Solver::scalapack_mrrr);
    for (const Solver solver : solvers()) EXPECT_EQ(solver_by_name(name(solver)), solver);
}

TEST(Names, UnknownAndMissingAreRefusedWithTheList) {
    const std::string unknown = refusal(ErrorKind::unknown_name, [] { solver_by_name("scalapack"); });
    EXPECT_TRUE(holds(unknown, "\"scalapack\"")) << unknown;
    EXPECT_TRUE(holds(unknown, "\"scalapack-mrrr\"")) << unknown;
    const std::string later = refusal(ErrorKind::unsupported, [] { solver_by_name("lanczos"); });
    EXPECT_TRUE(holds(later, "\"lanczos\"")) << later;
    const auto list = solvers();
    if (std::find(list.begin(), list.end(), Solver::elpa1) == list.end()) {
        EXPECT_TRUE(holds(refusal(ErrorKind::unsupported, [] { solver_by_name("elpa1"); }), "elpa1"));
    } else {
        EXPECT_EQ(solver_by_name("elpa2"), Solver::elpa2);
    }
}

TEST(Choice, GivesASolverOfThisBuildAndAReason) {
    const auto list = solvers();
    for (const Index n : {1, 100, 1000, 3000, 10000, 100000})
        for (const int ranks : {1, 2, 3, 16, 1024})
            for (const bool vectors : {false, true}) {
                const auto [solver, reason] = choose_solver(n, ranks, ranks, vectors);
                EXPECT_NE(std::find(list.begin(), list.end(), solver), list.end());
                EXPECT_TRUE(holds(reason, "auto")) << reason;
                EXPECT_NE(solver, Solver::elpa2);
                if (solver == Solver::lapack) {
                    EXPECT_NO_THROW(check_lapack_size(n, vectors));
                    EXPECT_TRUE(n <= 8192 || ranks == 1);  // more of one rank's memory is not taken
                }
                if (n <= 1000) {
                    EXPECT_EQ(solver, Solver::lapack);
                }
            }
}

TEST(Choice, TheTableHoldsLayoutsThatThereAre) {
    for (const MeasuredSolvers& row : measured_solvers)
        for (const MeasuredSolver& by : row.by) {
            const bool in_one_piece = &by == &row.by[0];
            EXPECT_GT(by.seconds, 0);
            EXPECT_EQ(by.block > 0, by.grid_rows > 0);
            EXPECT_EQ(by.block > 0, !in_one_piece && by.seconds != not_measured);
            if (by.block == 0) continue;
            EXPECT_EQ(row.ranks % by.grid_rows, 0);
            EXPECT_LE(by.block * std::max(by.grid_rows, row.ranks / by.grid_rows), row.n);
        }
}

constexpr MeasuredSolvers by_hand[] = {
    {1, 2000, true, {{4.0}, {6.0, 64, 1}, {8.0, 64, 1}, {8.0, 64, 1}}},
    {2, 2000, true, {{3.0}, {2.0, 32, 2}, {4.0, 128, 1}, {5.0, 16, 1}}},
    {2, 4000, true, {{24.0}, {23.96, 256, 1}, {40.0, 64, 2}, {not_measured}}},
    {8, 4000, true, {{8.0}, {5.0, 64, 2}, {7.0, 64, 2}, {not_measured}}},
};

TEST(Choice, FollowsATableByHand) {
    const auto list = solvers();
    const bool elpa = std::ranges::find(list, Solver::elpa1) != list.end();
    const auto chosen = [](Index n, int ranks, int cores) {
        return choose_solver(by_hand, n, ranks, cores, true);
    };
    EXPECT_EQ(chosen(2100, 2, 2).first, elpa ? Solver::elpa1 : Solver::lapack);
    EXPECT_TRUE(holds(chosen(2100, 2, 2).second, "measured nearest at n = 2000 on 2: lapack 3 s"));
    // 0.04 s is nothing that anybody notices.
    EXPECT_EQ(chosen(4000, 2, 2).first, Solver::lapack);
    EXPECT_EQ(chosen(4000, 8, 8).first, elpa ? Solver::elpa1 : Solver::scalapack_dc);
    // Two ranks of four threads: LAPACK has eight cores, 8 s at n = 4000, a second at 2000.
    EXPECT_EQ(chosen(2000, 2, 8).first, Solver::lapack);
    EXPECT_TRUE(holds(chosen(2000, 2, 8).second, "lapack 8 s (n = 4000 on 8 cores)"))
        << chosen(2000, 2, 8).second;
    // Eight ranks of a thread on hosts of their own: LAPACK has one core, 32 s.
    EXPECT_EQ(chosen(4000, 8, 1).first, elpa ? Solver::elpa1 : Solver::scalapack_dc);
    EXPECT_EQ(chosen(8193, 2, 2).first, elpa ? Solver::elpa1 : Solver::scalapack_dc);
}

TEST(Choice, BlockAndGridAreThoseOfTheTable) {
    const auto layout = [](Solver solver, Index n, int ranks, SolverLayout asked = {}, int grid_rows = 1) {
        const SolverLayout found = solver_layout(by_hand, solver, n, ranks, true, asked, grid_rows);
        return std::pair(found.block, found.grid_rows);
    };
    EXPECT_EQ(layout(Solver::elpa1, 2000, 2), std::pair(Index{32}, 2));
    EXPECT_EQ(layout(Solver::elpa2, 2000, 2), std::pair(Index{32}, 2));
    EXPECT_EQ(layout(Solver::scalapack_dc, 2000, 2), std::pair(Index{128}, 1));
    EXPECT_EQ(layout(Solver::scalapack_dc, 4000, 2), std::pair(Index{64}, 2));
    EXPECT_EQ(layout(Solver::scalapack_mrrr, 4000, 2, {}, 2), std::pair(Index{64}, 2));  // not measured
    // What is asked for wins.
    EXPECT_EQ(layout(Solver::elpa1, 2000, 2, {100}), std::pair(Index{100}, 2));
    EXPECT_EQ(layout(Solver::elpa1, 2000, 2, {100, 1}), std::pair(Index{100}, 1));
    // Every rank owns something: 50 rows over two, 3 rows on the grid that G is on.
    EXPECT_EQ(layout(Solver::elpa1, 50, 2), std::pair(Index{25}, 2));
    EXPECT_EQ(layout(Solver::elpa1, 50, 2, {64}), std::pair(Index{25}, 2));
    EXPECT_EQ(layout(Solver::elpa1, 3, 2), std::pair(Index{1}, 1));
    // Of another number of ranks the block alone.
    EXPECT_EQ(layout(Solver::elpa1, 2000, 3, {}, 3), std::pair(Index{32}, 3));
    EXPECT_EQ(layout(Solver::elpa1, 60, 3, {}, 1), std::pair(Index{20}, 1));
}

// By hand, n = 128, nb = 70 on 2 x 2: np0 = nq0 = 70; 512 + (768 + 9800) + 70 * 140 + 140 * 70 + 4900.
TEST(Workspace, LessonOneByHand) {
    EXPECT_EQ(pdsyevd_workspace(128, 70, 2, 2), 512 + (768 + 9800) + 9800 + 9800 + 4900);
    // n = 13, nb = 8 on 3 x 2: np0 = 8, nq0 = 8; the two maxima are 8 * 16 and 128.
    EXPECT_EQ(pdsyevd_workspace(13, 8, 3, 2), 52 + (78 + 128) + 128 + 128 + 64);
    // n = 20, nb = 2 on 3 x 2, where np0 = 8 and nq0 = 10 differ: the two maxima are 8 * 12 and 18 * 2.
    EXPECT_EQ(pdsyevd_workspace(20, 2, 3, 2), 80 + (120 + 160) + 96 + 36 + 4);
    // n = 1, nb = 1: max(1, 1 * 2) and max(0, 2).
    EXPECT_EQ(pdsyevd_workspace(1, 1, 1, 1), 4 + (6 + 2) + 2 + 2 + 1);
}

TEST(Workspace, CountsBeyondThirtyTwoBits) {
    // 3 n^2 and terms of n nb: a wrapped count would be small or negative.
    const Index n = 100000;
    EXPECT_GT(pdsyevd_workspace(n, 64, 1, 1), 3 * n * n);
    EXPECT_LT(pdsyevd_workspace(n, 64, 1, 1), 3 * n * n + 1000 * n);
    EXPECT_GT(pdsyevr_workspace(n, 64, 1, 1), 2 * n * n);
}

// Lesson 3: refused without allocating anything, and the number of ranks in the message does suffice, one
// less does not.
TEST(Workspace, TooFewRanksAreToldHowManyWouldDo) {
    const std::vector<std::pair<Index (*)(Index, Index, int, int), Index>> cases{{pdsyevd_workspace, 32767},
                                                                                 {pdsyevd_workspace, 100000},
                                                                                 {pdsyevr_workspace, 65536},
                                                                                 {pdsyevr_workspace, 200000}};
    for (const auto& [workspace, n] : cases) {
        const std::string text = refusal(
            ErrorKind::out_of_range, [&, w = workspace, size = n] { check_scalapack_size(size, 1, 1, w); });
        std::smatch match;
        ASSERT_TRUE(std::regex_search(text, match, std::regex("use (\\d+) ranks"))) << text;
        const int enough = std::stoi(match[1]);
        const auto most_square = [](int ranks) {
            int rows = 1;
            for (int p = 1; p * p <= ranks; ++p)
                if (ranks % p == 0) rows = p;
            return std::pair{rows, ranks / rows};
        };
        const auto [rows, columns] = most_square(enough);
        EXPECT_NO_THROW(check_scalapack_size(n, rows, columns, workspace)) << text;
        const auto [fewer_rows, fewer_columns] = most_square(enough - 1);
        EXPECT_THROW(check_scalapack_size(n, fewer_rows, fewer_columns, workspace), Error) << text;
        // Lesson 3's rule of thumb: about n^2 / 2^30 ranks, 1.4 times that for pdsyevd's three local
        // matrices.
        const double rule = static_cast<double>(n) * static_cast<double>(n) / 1073741824.0;
        EXPECT_LE(enough, 2 * rule + 2) << text;
    }
    EXPECT_NO_THROW(check_scalapack_size(20000, 1, 1, pdsyevd_workspace));
}

TEST(Workspace, LapackOnOneRank) {
    // 1 + 6n + 2n^2 <= 2^31 - 1 up to n = 32766.
    EXPECT_NO_THROW(check_lapack_size(32766, true));
    EXPECT_TRUE(holds(refusal(ErrorKind::out_of_range, [] { check_lapack_size(32767, true); }), "n = 32767"));
    EXPECT_NO_THROW(check_lapack_size(46340, false));
    EXPECT_TRUE(
        holds(refusal(ErrorKind::out_of_range, [] { check_lapack_size(46341, false); }), "scalapack-dc"));
    EXPECT_TRUE(holds(refusal(ErrorKind::out_of_range, [] { check_lapack_size(Index{1} << 40, false); }),
                      "scalapack-dc"));
}

TEST(NoiseFloor, LargestOfItsThreeParts) {
    const std::vector<double> positive{8, 4, 2, 1};
    EXPECT_EQ(noise_floor(positive, 15, false), 4 * 0x1p-52 * 8);
    // sqrt(4) 2^-24 15/4
    EXPECT_EQ(noise_floor(positive, 15, true), 2 * 0x1p-24 * 3.75);
    EXPECT_EQ(noise_floor({8, 4, 2, -0.25}, 13.75, true), 0.25);
    EXPECT_EQ(noise_floor({8, 4, 2, -1e-300}, 14, false), 4 * 0x1p-52 * 8);
    EXPECT_EQ(noise_floor({-1, -2}, -3, false), 2);
}

TEST(GramRounding, OfTheSolverAndOfMixedPrecision) {
    const std::vector<double> values{8, 4, 2, -1};
    EXPECT_EQ(gram_rounding(values, 5, 13, false), 10 * 4 * 0x1p-52 * 8);
    EXPECT_DOUBLE_EQ(gram_rounding(values, 4, 16, true), 8 * 0x1p-24 * 8);
    EXPECT_EQ(gram_rounding({1, -100}, 1, -99, true), 10 * 2 * 0x1p-52 * 100);
    EXPECT_EQ(gram_rounding({}, 0, 0, true), 0);
}

TEST(GramRounding, WhatItDoesNotExplainIsCounted) {
    EXPECT_EQ(beyond_rounding({3, 1e-9, -1e-9}, 1e-9), "");
    EXPECT_EQ(beyond_rounding({}, 0), "");
    const std::string text = beyond_rounding({3, -1e-9, -1e-8, -0.25}, 5e-9);
    EXPECT_TRUE(holds(text, "2 of 4")) << text;
    EXPECT_TRUE(holds(text, "-0.25")) << text;
}

}  // namespace
}  // namespace tangram
