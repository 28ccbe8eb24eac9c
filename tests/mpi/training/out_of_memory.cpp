#include "mpi/training/problem.hpp"
#include "support/failing_allocation.hpp"
#include "tangram/training/linearised_model.hpp"

namespace tangram {
namespace {

using testing::all_of;
using testing::expect_shared_failures;
using testing::Problem;

// What does not grow with the examples or the weights is taken to be there.
constexpr std::size_t bytes = 20 * sizeof(double);

TEST(OutOfMemory, GradientOfABatch) {
    Problem<float> problem({"neo-odd", KernelOutput::margin, Loss::squared}, 37);
    const std::vector<Index> batch = all_of(problem.data);
    expect_shared_failures(
        [&] {
            const auto gradient_of = collectively(MPI_COMM_WORLD, [&] {
                return std::make_unique<LossGradient<float>>(problem.network, problem.data, problem.targets,
                                                             problem.loss, problem.parameters,
                                                             MPI_COMM_WORLD);
            });
            (*gradient_of)(batch, [](Index, std::span<const double>) {});
        },
        bytes, 8);
    expect_shared_failures([&] { logits_of(problem.network, problem.data, MPI_COMM_WORLD); }, bytes, 8);
}

TEST(OutOfMemory, LinearisedModel) {
    Problem<double> problem({"neo-odd", KernelOutput::margin, Loss::squared}, 37);
    const ProcessGrid grid(MPI_COMM_WORLD, testing::world_size(), 1);
    const DistributedMatrix G(grid, 37, 37, 3), cross(grid, 37, 37, 3);
    const std::vector<double> zero(37, 0.0);
    const LinearisedProblem linear{G, &cross, problem.targets, problem.loss, zero, zero};
    const std::vector<Index> batch = all_of(problem.data);
    expect_shared_failures(
        [&] {
            const auto model = collectively(MPI_COMM_WORLD, [&] {
                return std::make_unique<LinearisedModel>(linear, OptimizerSettings{.learning_rate = 1});
            });
            model->step(batch);
            model->outputs();
            model->test_outputs();
        },
        bytes);
}

}  // namespace
}  // namespace tangram
