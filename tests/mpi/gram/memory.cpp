#include <gtest/gtest.h>
#include <omp.h>

#include "mpi/gram/problem.hpp"
#include "support/failing_allocation.hpp"
#include "support/model_fixture.hpp"
#include "support/mpi_test.hpp"
#include "support/unrecorded.hpp"
#include "tangram/gram/sketch_error.hpp"

namespace tangram {
namespace {

using namespace testing;

struct Assembled {
    Thrown thrown;
    bool failed;  ///< there was such an allocation
};
/// A kernel of all ways of contraction, whose k-th allocation on the last rank fails. Collective.
Assembled assembled_without_allocation(Index k) {
    const auto folder = test_data() / "models" / "llama-tied";
    Network<float> network(program_of(Config(folder / "config.json", testing::Unrecorded())),
                           Weights(folder, testing::Unrecorded()), {3, 8});
    const auto parameters = select_parameters(network.program(), {"all"});
    const DataSet train = made_up_data(150, 1, 50), test = made_up_data(20, 2, 50);
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    std::vector<KernelFormula> formulas;
    for (const Formula formula : {Formula::sgd, Formula::signgd})
        formulas.push_back(formula_of(network.program(), parameters, train, {}, 0, formula));
    const KernelInputs<float> inputs{
        {train, &test, KernelOutputs(KernelOutput::margin, 2), parameters, formulas, 1e6}, network};
    KernelMatrices matrices = empty_matrices(grid, 150, 20, parameters.size(), 2);
    std::optional<FailingAllocation> failing;
    if (grid.comm().rank() == grid.comm().size() - 1) failing.emplace(k, 1);
    const Thrown thrown =
        thrown_by([&] { assemble<float>(inputs, matrices, [](const AssemblyProgress&) { return true; }); });
    const bool failed = failing && failing->happened();
    failing.reset();
    return {thrown, any_rank(MPI_COMM_WORLD, failed)};
}

class Memory : public ::testing::TestWithParam<int> {};

TEST_P(Memory, LackedByOneRankAtAnyAllocationEndsAllOfThemWithOneMessage) {
    if (world_size() == 2 || world_size() == 6) return;  // as on four: rows and columns of ranks
    const int threads_before = omp_get_max_threads();
    omp_set_num_threads(GetParam());
    Index failures = 0;
    for (Index k = 1;; k += 1 + k / 64) {
        const auto [thrown, failed] = assembled_without_allocation(k);
        const std::vector<std::string> texts = gather_to_all(MPI_COMM_WORLD, thrown.text);
        for (const std::string& text : texts) EXPECT_EQ(text, texts.front()) << "allocation " << k;
        if (!failed) break;
        if (thrown.text.empty()) continue;  // a sort that does without its buffer
        ++failures;
        EXPECT_EQ(thrown.status, ExitStatus::study) << thrown.text << ", allocation " << k;
        EXPECT_EQ(thrown.kind, ErrorKind::no_memory) << thrown.text << ", allocation " << k;
    }
    omp_set_num_threads(threads_before);
    EXPECT_GT(failures, 40);
}

INSTANTIATE_TEST_SUITE_P(Threads, Memory, ::testing::Values(1, 4));

TEST(MemoryOfProducts, LackedByOneRankEndsAllOfThemWithOneMessage) {
    const auto folder = test_data() / "models" / "llama-tied";
    Network<float> network(program_of(Config(folder / "config.json", testing::Unrecorded())),
                           Weights(folder, testing::Unrecorded()), {3, 8});
    const auto parameters = select_parameters(network.program(), {"mlp"});
    const DataSet train = made_up_data(300, 1, 50);  // two units
    const KernelInputs<float> inputs{{train,
                                      nullptr,
                                      KernelOutputs(KernelOutput::margin, 2),
                                      parameters,
                                      {formula_of(network.program(), parameters, train)}},
                                     network};
    const std::vector<double> X(600, 0.5);
    expect_shared_failures(
        [&] {
            JacobianOperator<float> G(inputs, MPI_COMM_WORLD);
            G.product(X, 2);
            G.squares();
        },
        256, 8);
}

TEST(MemoryOfASketch, LackedByOneRankEndsAllOfThemWithOneMessage) {
    const auto folder = test_data() / "models" / "llama-tied";
    Network<float> network(program_of(Config(folder / "config.json", testing::Unrecorded())),
                           Weights(folder, testing::Unrecorded()), {3, 8});
    const auto parameters = select_parameters(network.program(), {"mlp"});
    const DataSet train = made_up_data(12, 1, 50);
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const KernelInputs<float> inputs{{train,
                                      nullptr,
                                      KernelOutputs(KernelOutput::margin, 2),
                                      parameters,
                                      {formula_of(network.program(), parameters, train, {}, 100)},
                                      1e6,
                                      100},
                                     network};
    const DistributedMatrix sketched(grid, 12, 12, 128);
    const std::vector<Index> compared{1, 5, 7};
    Index failures = 0;
    // What an assembly allocates is tried above: here the first allocations, which come before it.
    for (Index k = 1; k <= 40; ++k) {
        std::optional<FailingAllocation> failing;
        if (grid.comm().rank() == grid.comm().size() - 1) failing.emplace(k, 1);
        const Thrown thrown = thrown_by([&] { sketch_error(inputs, sketched, compared); });
        failing.reset();
        for (const std::string& text : gather_to_all(MPI_COMM_WORLD, thrown.text))
            EXPECT_EQ(text, thrown.text) << "allocation " << k;
        if (thrown.text.empty()) continue;
        ++failures;
        EXPECT_EQ(thrown.status, ExitStatus::study) << thrown.text << ", allocation " << k;
        EXPECT_EQ(thrown.kind, ErrorKind::no_memory) << thrown.text << ", allocation " << k;
    }
    EXPECT_GT(failures, 20);
}

}  // namespace
}  // namespace tangram
