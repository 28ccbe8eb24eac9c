#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "mpi/gram/problem.hpp"
#include "support/model_fixture.hpp"
#include "support/unrecorded.hpp"
#include "tangram/gram/sketch_error.hpp"

namespace tangram {
namespace {

using namespace testing;

TEST(Sketch, SameBitsOnEveryGridInEveryGroupingAndAfterAStop) {
    for (const Index sketch : {Index{30}, Index{400}, Index{700}}) {
        Problem problem{.sketch = sketch};
        const Whole expected = alone<float>(problem);
        for (const ProcessGrid& grid : all_grids()) {
            expect_same_bits(compute<float>(problem, grid), expected, text(grid));
        }
        const ProcessGrid last = ProcessGrid::most_square(MPI_COMM_WORLD);
        expect_same_bits(compute<float>(problem, ProcessGrid(MPI_COMM_WORLD, 1, last.comm().size()),
                                        made_up_data(problem.examples, 1, 50),
                                        made_up_data(problem.test_examples, 2, 50), 2, &last),
                         expected, "stopped");
        problem.factor_bytes = 1e5;
        expect_same_bits(compute<float>(problem, last), expected, "in groups of parameters");
        problem.sketch_seed = 2;
        EXPECT_NE(compute<float>(problem, last).gram, expected.gram);
    }
}

TEST(Sketch, IsExactWhereNoTensorIsLarger) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    Problem problem{.examples = 40, .test_examples = 7};
    const Whole exact = compute<float>(problem, grid);
    problem.sketch = 20 * 80;  // hidden size 20
    expect_same_bits(compute<float>(problem, grid), exact, "");
}

TEST(Sketch, MeanOverSeedsIsTheExactMatrix) {
    if (world_size() > 1) return;  // every seed has the same bits on every grid: above
    Problem problem{.parameters = {"mlp"}, .examples = 6, .test_examples = 3};
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const Whole expected = naive(problem);
    problem.sketch = 48;
    constexpr int seeds = 300;
    std::vector<double> sums(expected.gram.size(), 0.0), squares(expected.gram.size(), 0.0);
    for (int seed = 0; seed < seeds; ++seed) {
        problem.sketch_seed = static_cast<std::uint64_t>(seed);
        const Whole found = compute<double>(problem, grid);
        for (std::size_t i = 0; i < sums.size(); ++i) {
            const double error = found.gram[i] - expected.gram[i];
            sums[i] += error;
            squares[i] += error * error;
        }
    }
    for (std::size_t i = 0; i < sums.size(); ++i) {
        const double standard_error = std::sqrt(squares[i]) / seeds;
        EXPECT_GT(standard_error, 0);
        EXPECT_TRUE(std::abs(sums[i] / seeds) <= 5 * standard_error) << i;
    }
}

TEST(Sketch, ErrorIsThatOfTheSubBlock) {
    Problem problem{.output = KernelOutput::logits, .labels = {3, 8, 20}};
    problem.examples = 100;
    const Whole exact = compute<double>(problem, ProcessGrid::most_square(MPI_COMM_WORLD));
    problem.sketch = 100;
    const auto folder = test_data() / "models" / problem.model;
    Network<double> network(program_of(Config(folder / "config.json", testing::Unrecorded())),
                            Weights(folder, testing::Unrecorded()), problem.labels);
    const auto parameters = select_parameters(network.program(), problem.parameters);
    const DataSet train = made_up_data(problem.examples, 1, 50);
    const std::vector<Index> examples{3, 4, 50, 99};
    for (const ProcessGrid& grid : all_grids()) {
        const KernelInputs<double> inputs{
            {train,
             nullptr,
             KernelOutputs(problem.output, 3),
             parameters,
             {formula_of(network.program(), parameters, train, std::nullopt, problem.sketch)},
             problem.factor_bytes,
             problem.sketch},
            network};
        KernelMatrices matrices = empty_matrices(grid, 300, 0, parameters.size());
        assemble<double>(inputs, matrices, [](const AssemblyProgress&) { return true; });
        const std::vector<double> sketched = gathered(matrices.formulas[0].gram);
        const SketchError found = sketch_error(inputs, matrices.formulas[0].gram, examples);
        double error = 0, norm = 0, largest = 0;
        for (const Index e : examples)
            for (Index row = 3 * e; row < 3 * e + 3; ++row)
                for (const Index f : examples)
                    for (Index column = 3 * f; column < 3 * f + 3; ++column) {
                        const auto at = [](const std::vector<double>& G, Index i, Index j) {
                            return G[static_cast<std::size_t>(i + 300 * j)];
                        };
                        const double G = at(exact.gram, row, column), S = at(sketched, row, column);
                        error += (S - G) * (S - G);
                        norm += G * G;
                        largest =
                            std::max(largest, std::abs(S - G) / std::sqrt(at(exact.gram, row, row) *
                                                                          at(exact.gram, column, column)));
                    }
        EXPECT_EQ(found.rows, 12);
        EXPECT_GT(found.relative, 0.01);
        EXPECT_TRUE(std::abs(found.relative - std::sqrt(error / norm)) <= 1e-10) << found.relative;
        EXPECT_TRUE(std::abs(found.largest - largest) <= 1e-10) << found.largest;
    }
}

}  // namespace
}  // namespace tangram
