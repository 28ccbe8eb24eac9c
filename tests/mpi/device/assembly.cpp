#include "tangram/gram/assembly.hpp"

#include <gtest/gtest.h>

#include "../src/device/host_executor.hpp"
#include "mpi/gram/problem.hpp"

namespace tangram {
namespace {

using namespace testing;

/// The devices' kernel on this machine's cores; counts what it is asked for.
class Counted final : public ProductBackEnd {
  public:
    std::string name() const override { return executor_->name(); }
    void add(const SliceProducts<float>& slice, const std::function<void()>& between) override {
        products += std::ssize(slice.products);
        executor_->add(slice, between);
    }
    void add(const SliceProducts<double>& slice, const std::function<void()>& between) override {
        products += std::ssize(slice.products);
        executor_->add(slice, between);
    }
    double memory() const override { return executor_->memory(); }
    void finish() override { executor_->finish(); }
    void store_sums() override { executor_->store_sums(), ++stores; }
    void drop_sums() noexcept override { executor_->drop_sums(); }
    bool sums_are_torn() const override { return executor_->sums_are_torn(); }
    bool failed() const override { return executor_->failed(); }
    Index products = 0, stores = 0;

  private:
    std::unique_ptr<ProductBackEnd> executor_ = device::host_executor();
};

/// @return how often rank 0's device was asked for its sums
template <class Real>
Index expect_bits_of_the_host(Problem problem, const std::string& what, Index stop_after = -1) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const DataSet train = made_up_data(problem.examples, 1, problem.vocabulary),
                  test = made_up_data(problem.test_examples, 2, problem.vocabulary);
    Problem undisturbed = problem;
    undisturbed.left_in_pass = false;
    const std::vector<Whole> expected = compute_all<Real>(undisturbed, grid, train, test);
    Counted device;
    problem.back_end = &device;
    const std::vector<Whole> found =
        compute_all<Real>(problem, grid, train, test, stop_after, stop_after < 0 ? nullptr : &grid);
    for (std::size_t f = 0; f < found.size(); ++f) expect_same_bits(found[f], expected[f], what);
    const Index products = sum_over_ranks(grid.comm().get(), device.products);
    EXPECT_GT(products, 0) << what;
    return device.stores;
}

TEST(AKernelOnADevice, HasTheBitsOfTheHost) {
    // Two tiles, the second one ragged. Tensors as they are contracted by choice, all multiplied out,
    // sketched.
    const Problem small{.examples = 140, .test_examples = 20};
    expect_bits_of_the_host<float>(small, "float32");
    Problem problem = small;
    problem.contraction = Contraction::multiply_out;
    problem.parameters = {"attention", "norm"};
    problem.formulas = {Formula::sgd, Formula::asymmetric_signgd};
    problem.groups = "kind";
    // Sums stay with the device from the first slice to the last.
    EXPECT_EQ(expect_bits_of_the_host<double>(problem, "float64, formulas and groups"), 1);
    problem = small;
    problem.parameters = {"attention"};
    problem.sketch = 20;
    expect_bits_of_the_host<float>(problem, "sketched");
}

TEST(AKernelOnADevice, StopsAndGoesOn) {
    Problem problem{.examples = 140, .test_examples = 20};
    expect_bits_of_the_host<float>(problem, "behind a slice", 3);
    problem.contraction = Contraction::multiply_out;
    problem.examples = 40;  // three tiles
    problem.test_examples = 10;
    problem.factor_bytes = 1;  // passes for every slice
    problem.left_in_pass = true;
    expect_bits_of_the_host<float>(problem, "in a pass", 2);
}

}  // namespace
}  // namespace tangram
