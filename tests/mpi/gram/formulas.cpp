#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "mpi/gram/problem.hpp"
#include "support/model_fixture.hpp"
#include "support/unrecorded.hpp"

namespace tangram {
namespace {

using namespace testing;

TEST(Formulas, AgreeWithTheSignsOfTheJacobianMultipliedOutNaively) {
    if (world_size() > 1) return;  // the same bits on every grid: below
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    for (const char* model : {"neo-odd", "llama-tied", "gpt2-odd"})
        for (const KernelOutput output : {KernelOutput::margin, KernelOutput::trace}) {
            Problem problem{.model = model, .output = output};
            problem.examples = 60;
            problem.test_examples = 9;
            if (std::string(model) == "gpt2-odd") problem.vocabulary = 23;
            problem.formulas = {Formula::sgd, Formula::signgd, Formula::asymmetric_signgd};
            const std::vector<Whole> found =
                compute_all<double>(problem, grid, made_up_data(60, 1, problem.vocabulary),
                                    made_up_data(9, 2, problem.vocabulary));
            ASSERT_EQ(found.size(), 3u);
            for (std::size_t f = 0; f < 3; ++f) {
                SCOPED_TRACE(std::string(model) + " " + name(output) + " " + name(problem.formulas[f]));
                // As for sgd; the same gradients in both, so no sign differs.
                expect_close(found[f], naive(problem, problem.formulas[f]), 1e-13);
            }
        }
}

TEST(Formulas, TogetherHaveTheBitsOfEachAloneOnEveryGridAndAfterAStop) {
    Problem all{.model = "llama-tied"};
    all.formulas = {Formula::signgd, Formula::sgd, Formula::asymmetric_signgd};
    const DataSet train = made_up_data(all.examples, 1, 50), test = made_up_data(all.test_examples, 2, 50);
    const ProcessGrid alone_grid(MPI_COMM_SELF, 1, 1), last = ProcessGrid::most_square(MPI_COMM_WORLD);
    std::vector<Whole> expected;
    for (const Formula formula : all.formulas) {
        Problem one = all;
        one.formulas = {formula};
        expected.push_back(compute<float>(one, alone_grid, train, test));
    }
    const auto compare = [&](const std::vector<Whole>& found, const std::string& where) {
        for (std::size_t f = 0; f < expected.size(); ++f)
            expect_same_bits(found[f], expected[f], where + " " + name(all.formulas[f]));
    };
    for (const ProcessGrid& grid : all_grids()) {
        compare(compute_all<float>(all, grid, train, test), text(grid));
        compare(compute_all<float>(all, grid, train, test, 5, &last), text(grid) + " stopped");
    }
    all.factor_bytes = 1e5;
    compare(compute_all<float>(all, last, train, test), "in groups of parameters");
    // Only the asymmetric one is not symmetric.
    const auto asymmetry = [&](const std::vector<double>& G) {
        double most = 0;
        for (Index i = 0; i < all.examples; ++i)
            for (Index j = 0; j < i; ++j)
                most = std::max(most, std::abs(G[static_cast<std::size_t>(i + j * all.examples)] -
                                               G[static_cast<std::size_t>(j + i * all.examples)]));
        return most;
    };
    EXPECT_EQ(asymmetry(expected[0].gram), 0);
    EXPECT_EQ(asymmetry(expected[1].gram), 0);
    EXPECT_GT(asymmetry(expected[2].gram), 0.01);
}

TEST(Groups, KeptApartTheyAddUpToTheWholeWhoseBitsStay) {
    for (const char* by : {"kind", "layer"}) {
        Problem problem{.model = "neo-odd"};
        const Whole whole = alone<float>(problem);
        problem.groups = by;
        const Whole apart = alone<float>(problem);
        EXPECT_GE(apart.groups.size(), 4u) << by;
        std::vector<double> sum(whole.gram.size(), 0.0);
        for (const auto& group : apart.groups)
            for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += group[i];
        double most = 0;
        for (std::size_t i = 0; i < sum.size(); ++i)
            most = std::max(most, std::abs(sum[i] - whole.gram[i]) / whole.gram[0]);
        EXPECT_TRUE(most <= 1e-13) << by << " " << most;  // float64 sums of some hundred pieces
        for (const ProcessGrid& grid : all_grids()) {
            const Whole found = compute<float>(problem, grid);
            expect_same_bits(found, apart, text(grid) + " " + by);
            Whole without = found;
            without.groups.clear();
            expect_same_bits(without, whole, text(grid) + " whole");
        }
        const ProcessGrid last = ProcessGrid::most_square(MPI_COMM_WORLD);
        expect_same_bits(compute<float>(problem, last, made_up_data(problem.examples, 1, 50),
                                        made_up_data(problem.test_examples, 2, 50), 3, &last),
                         apart, "stopped");
    }
    // A group is what its tensors alone give, to the last bit.
    Problem problem{.model = "neo-odd", .groups = "kind"};
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const Whole apart = compute<float>(problem, grid);
    const auto folder = test_data() / "models" / problem.model;
    const Program program = program_of(Config(folder / "config.json", testing::Unrecorded()));
    const ParameterGroups groups =
        group_parameters(program, select_parameters(program, {"all"}), problem.groups);
    problem.groups = "none";
    for (std::size_t g = 0; g < groups.names.size(); ++g) {
        problem.parameters = {groups.names[g]};
        EXPECT_EQ(compute<float>(problem, grid).gram, apart.groups[g]) << groups.names[g];
    }
}

}  // namespace
}  // namespace tangram
