#include <cmath>
#include <numeric>

#include "support/failing_allocation.hpp"
#include "tangram/learning/kernel_rates.hpp"
#include "tangram/spectrum/eigenpairs.hpp"
#include "tangram/spectrum/quality.hpp"

namespace tangram {
namespace {

using testing::expect_shared_failures;

/// Vectors of a number per example are the smallest that count: what does not grow with the problem is taken
/// to be there.
constexpr Index examples = 40, test_examples = 9;
constexpr std::size_t bytes = examples / 2 * sizeof(double);

/// exp(-|x - x'|) on points of the unit interval, whose spectrum falls like a power of the rank, and a step
/// to be learned.
struct Problem {
    ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    DistributedMatrix gram = kernel(examples, examples), cross = kernel(test_examples, examples);
    std::vector<double> test_diagonal = std::vector<double>(test_examples, 1.0);
    Eigenpairs pairs = eigenpairs(gram.copy(), Solver::lapack, true);
    RatesInput input;

    Problem() {
        input.eigenvalues = pairs.values;
        input.noise_floor = quality(gram, pairs, false).noise_floor;
        input.rows = examples;
        input.vectors = &*pairs.vectors;
        input.gram = &gram;
        input.cross = &cross;
        input.test_diagonal = &test_diagonal;
        input.train = step(examples);
        input.test = step(test_examples);
    }

    DistributedMatrix kernel(Index rows, Index columns) const {
        DistributedMatrix K(grid, rows, columns, 8);
        for (Index j = 0; j < K.local_columns(); ++j)
            for (Index i = 0; i < K.local_rows(); ++i)
                K.data()[i + j * K.lld()] =
                    std::exp(-std::abs(point(K.global_row(i), rows) - point(K.global_column(j), columns)));
        return K;
    }
    static double point(Index i, Index count) {
        return (static_cast<double>(i) + (count == examples ? 0.5 : 0.3)) / static_cast<double>(count);
    }
    /// Every fifth label is wrong.
    static Targets step(Index count) {
        Targets targets;
        for (Index i = 0; i < count; ++i) {
            targets.labels.push_back((point(i, count) > 0.4) != (i % 5 == 2) ? 1.0 : -1.0);
            targets.initial.push_back(0.1);
            targets.groups.push_back(0);
            targets.offsets.push_back(i + 1);
        }
        return targets;
    }
    /// The first examples are one task's, the others another's.
    void divide() {
        input.task_names = {"first", "second"};
        input.train_tasks.assign(examples, 0);
        input.test_tasks.assign(test_examples, 0);
        std::fill(input.train_tasks.begin() + examples / 2, input.train_tasks.end(), 1);
        std::fill(input.test_tasks.begin() + test_examples / 2, input.test_tasks.end(), 1);
    }
};

RatesOptions options() {
    RatesOptions chosen;
    chosen.sizes = {10, 20, 30, 40};
    chosen.repeats = 3;
    return chosen;
}

// Several subsets side by side on groups of ranks, each of which works on its own.
TEST(OutOfMemory, NestedSubsets) {
    const Problem problem;
    const SubsetInputs inputs{&problem.gram,
                              &problem.cross,
                              *problem.input.train,
                              &*problem.input.test,
                              Centring::kernel,
                              false,
                              0.3,
                              1.0,
                              std::nullopt,
                              std::nullopt,
                              std::nullopt,
                              1,
                              every_rank,
                              1};
    expect_shared_failures([&] { nested_subsets(inputs, {10, 20, 30}, 3, 20, Listener{}); }, bytes);
    SubsetInputs held_out = inputs;
    held_out.cross = nullptr;
    held_out.test = nullptr;
    expect_shared_failures([&] { nested_subsets(held_out, {10, 20}, 2, 20, Listener{}); }, bytes);
}

TEST(OutOfMemory, Rates) {
    const Problem problem;
    expect_shared_failures([&] { compute_rates(problem.input, options(), Listener{}); }, bytes);
    RatesOptions centred = options();
    centred.center = Centring::kernel;
    expect_shared_failures([&] { compute_rates(problem.input, centred, Listener{}); }, bytes);
}

TEST(OutOfMemory, Neighbours) {
    const Problem problem;
    const KernelRegression regression = [&] {
        KernelRegression made(problem.pairs.values, *problem.pairs.vectors, *problem.input.train, true);
        made.set_test(problem.cross, *problem.input.test);
        return made;
    }();
    expect_shared_failures([&] { nearest_examples(problem.input, regression, 6, 0.1, Listener{}); }, bytes);
}

TEST(OutOfMemory, Tasks) {
    Problem problem;
    problem.divide();
    expect_shared_failures([&] { task_arithmetic(problem.input, options(), Listener{}); }, bytes);
}

}  // namespace
}  // namespace tangram
