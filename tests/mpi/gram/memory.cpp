#include <gtest/gtest.h>
#include <omp.h>

#include "mpi/gram/failing_allocation.hpp"
#include "mpi/gram/problem.hpp"
#include "support/model_fixture.hpp"
#include "support/mpi_test.hpp"

namespace tangram {
namespace {

using namespace testing;

/// A kernel of all ways of contraction, whose k-th allocation on the last rank fails.
/// @return what was thrown
Thrown assembled_without_allocation(long k) {
    const auto folder = test_data() / "models" / "llama-tied";
    Network<float> network(program_of(Config(folder / "config.json")), Weights(folder), {3, 8});
    const auto parameters = select_parameters(network.program(), {"all"});
    const DataSet train = made_up_data(150, 1, 50), test = made_up_data(20, 2, 50);
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    std::vector<KernelFormula> formulas;
    for (const Formula formula : {Formula::sgd, Formula::signgd})
        formulas.push_back(formula_of(network.program(), parameters, train, {}, 0, formula));
    const KernelInputs<float> inputs{
        {train, &test, KernelOutputs(KernelOutput::margin, 2), parameters, formulas, 1e6}, network};
    KernelMatrices matrices = empty_matrices(grid, 150, 20, parameters.size(), 2);
    const std::function<bool(const AssemblyProgress&)> go_on = [](const AssemblyProgress& at) {
        // What follows is the matrices' own: both triangles are set.
        if (at.done == at.of) allocations_left = -1;
        return true;
    };
    allocation_failed = false;
    if (grid.comm().rank() == grid.comm().size() - 1) allocations_left = k;
    const Thrown thrown = thrown_by([&] { assemble<float>(inputs, matrices, go_on); });
    allocations_left = -1;
    return thrown;
}

class Memory : public ::testing::TestWithParam<int> {};

TEST_P(Memory, LackedByOneRankAtAnyAllocationEndsAllOfThemWithOneMessage) {
    const int threads_before = omp_get_max_threads();
    omp_set_num_threads(GetParam());
    Index failures = 0;
    for (long k = 0;; k += 1 + k / 8) {
        const Thrown thrown = assembled_without_allocation(k);
        const std::vector<std::string> texts = gather_to_all(MPI_COMM_WORLD, thrown.text);
        for (const std::string& text : texts) EXPECT_EQ(text, texts.front()) << "allocation " << k;
        if (!any_rank(MPI_COMM_WORLD, allocation_failed)) break;
        if (thrown.text.empty()) continue;  // a sort that does without its buffer
        ++failures;
        EXPECT_EQ(thrown.status, ExitStatus::study) << thrown.text << ", allocation " << k;
    }
    omp_set_num_threads(threads_before);
    EXPECT_GT(failures, 40);
}

INSTANTIATE_TEST_SUITE_P(Threads, Memory, ::testing::Values(1, 4));

}  // namespace
}  // namespace tangram
