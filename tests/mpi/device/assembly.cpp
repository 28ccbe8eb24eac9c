#include "tangram/gram/assembly.hpp"

#include <gtest/gtest.h>

#include "../src/device/device_passes.hpp"
#include "../src/device/device_products.hpp"
#include "mpi/gram/problem.hpp"
#include "support/counted_memory.hpp"
#include "support/failing_runtime.hpp"

namespace tangram {
namespace {

using namespace testing;

/// The devices' kernels on this machine's cores; counts what they are asked for.
class Counted : public ProductBackEnd {
  public:
    /// @param memory   bytes of the device
    /// @param largest  as FailingRuntime's
    /// @param reached  whether messages reach it
    Counted(double memory, double* largest, bool reached)
        : executor_(device::device_products(
              std::make_unique<FailingRuntime>(Index{1} << 40, memory, largest, nullptr, nullptr, reached),
              memory, reached)) {}
    std::string name() const override { return executor_->name(); }
    void add(const SliceProducts<float>& slice, const std::function<void()>& between) override {
        products += std::ssize(slice.products);
        executor_->add(slice, between);
    }
    void add(const SliceProducts<double>& slice, const std::function<void()>& between) override {
        products += std::ssize(slice.products);
        executor_->add(slice, between);
    }
    void add(const FactorProducts<float>& slice, const std::function<void()>& between) override {
        ++factor_slices;
        executor_->add(slice, between);
    }
    void add(const FactorProducts<double>& slice, const std::function<void()>& between) override {
        ++factor_slices;
        executor_->add(slice, between);
    }
    void add(const MatchProducts<float>& slice, const std::function<void()>& between) override {
        ++match_slices;
        executor_->add(slice, between);
    }
    void add(const MatchProducts<double>& slice, const std::function<void()>& between) override {
        ++match_slices;
        executor_->add(slice, between);
    }
    bool begin_packing(const SliceToPack<float>& slice) override {
        return count(executor_->begin_packing(slice));
    }
    bool begin_packing(const SliceToPack<double>& slice) override {
        return count(executor_->begin_packing(slice));
    }
    void end_packing() override { executor_->end_packing(); }
    bool messages_reach_it() const override { return executor_->messages_reach_it(); }
    std::vector<std::byte*> places_for_messages(std::span<const void* const> homes) override {
        direct += std::ssize(homes);
        return executor_->places_for_messages(homes);
    }
    FactorMemory* factor_memory(double beside) override {
        FactorMemory* const memory = executor_->factor_memory(beside);
        if (!factors) factors.emplace(*memory);
        return &*factors;
    }
    void forget_factors() noexcept override { executor_->forget_factors(); }
    double memory() const override { return executor_->memory(); }
    void finish() override { executor_->finish(); }
    void store_sums() override { executor_->store_sums(), ++stores; }
    void drop_sums() noexcept override { executor_->drop_sums(); }
    bool sums_are_torn() const override { return executor_->sums_are_torn(); }
    bool failed() const override { return executor_->failed(); }
    Index products = 0, factor_slices = 0, match_slices = 0, stores = 0, formed = 0, not_formed = 0,
          direct = 0;
    std::optional<CountedMemory> factors;

  private:
    bool count(bool taken) {
        ++(taken ? formed : not_formed);
        return taken;
    }
    std::unique_ptr<ProductBackEnd> executor_;
};

/// What devices were asked for: slices that all of them formed and did not, arrays of factors that passes
/// left there, stores of rank 0's sums, slices in factors and of matching rows, tiles that messages find
/// there.
struct Asked {
    Index formed, not_formed, left, stores, in_factors, matched, direct;
    double largest;  ///< bytes that one was asked for at once
};
template <class Real>
Asked expect_bits_of_the_host(Problem problem, const std::string& what, Index stop_after = -1,
                              double memory = 0x1p40, bool reached = false) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    DataSet train = made_up_data(problem.examples, 1, problem.vocabulary),
            test = made_up_data(problem.test_examples, 2, problem.vocabulary);
    if (problem.answers) {
        train = answered(train, problem.vocabulary);
        test = answered(test, problem.vocabulary);
    }
    Problem undisturbed = problem;
    undisturbed.left_in_pass = false;
    undisturbed.pass_back_end = nullptr;
    const std::vector<Whole> expected = compute_all<Real>(undisturbed, grid, train, test);
    double largest = 0;
    Counted device(memory, &largest, reached);
    problem.back_end = &device;
    const std::vector<Whole> found =
        compute_all<Real>(problem, grid, train, test, stop_after, stop_after < 0 ? nullptr : &grid);
    for (std::size_t f = 0; f < found.size(); ++f) expect_same_bits(found[f], expected[f], what);
    const Index products = sum_over_ranks(grid.comm().get(), device.products);
    EXPECT_GT(products + device.factor_slices + device.match_slices, 0) << what;
    return {sum_over_ranks(grid.comm().get(), device.formed),
            sum_over_ranks(grid.comm().get(), device.not_formed),
            sum_over_ranks(grid.comm().get(), device.factors ? device.factors->left : 0),
            device.stores,
            sum_over_ranks(grid.comm().get(), device.factor_slices),
            sum_over_ranks(grid.comm().get(), device.match_slices),
            sum_over_ranks(grid.comm().get(), device.direct),
            max_over_ranks(grid.comm().get(), largest)};
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
    EXPECT_EQ(expect_bits_of_the_host<double>(problem, "float64, formulas and groups").stores, 1);
    problem = small;
    problem.parameters = {"attention"};
    problem.sketch = 20;
    expect_bits_of_the_host<float>(problem, "sketched");
    // Passes there: both sides of these tensors are projected here; several formulas.
    const auto passes = device::device_passes(std::make_unique<FailingRuntime>(Index{1} << 40), 0x1p40);
    problem.pass_back_end = passes.get();
    problem.examples = 40;
    problem.test_examples = 10;
    const Index left = expect_bits_of_the_host<float>(problem, "sketched, with passes").left;
    problem.sketch = 0;
    EXPECT_GT(expect_bits_of_the_host<float>(problem, "not sketched").left, left);
    problem.contraction = Contraction::multiply_out;
    problem.formulas = {Formula::sgd, Formula::asymmetric_signgd};
    EXPECT_GT(expect_bits_of_the_host<double>(problem, "formulas, with passes").left, 0);
}

TEST(AKernelOnADevice, FormsGradientsThereWhereFactorsFindRoom) {
    // Several tensors in a slice, among them vectors, which the host packs.
    Problem problem{.parameters = {"attention", "norm", "mlp"},
                    .examples = 80,
                    .test_examples = 20,
                    .contraction = Contraction::multiply_out};
    double slice = 0;
    for (const Formula formula : {Formula::sgd, Formula::signgd, Formula::asymmetric_signgd}) {
        problem.formulas = {formula};
        const Asked asked = expect_bits_of_the_host<float>(problem, "much memory");
        EXPECT_GT(asked.formed, 0);
        EXPECT_EQ(asked.not_formed, 0);
        if (formula == Formula::sgd) slice = asked.largest;
    }
    problem.formulas = {Formula::sgd};
    // Beside two slices there is room for a tile's sums; for all sums and the factors of some tensors.
    constexpr double sums = 8.0 * 100 * 80;
    const auto with_room = [&](double bytes) {
        return expect_bits_of_the_host<float>(problem, "little memory", -1,
                                              (2 * slice + bytes) / (1 - back_end_overhead));
    };
    EXPECT_GT(with_room(1.2 * 8 * 32 * 32).not_formed, 0);
    EXPECT_GT(with_room(1.5 * sums + 6e5).formed, 0);
    // The same of factors that passes leave there: they come home for the host, or for others' sums.
    const auto passes = device::device_passes(std::make_unique<FailingRuntime>(Index{1} << 40), 0x1p40);
    problem.pass_back_end = passes.get();
    EXPECT_GT(expect_bits_of_the_host<float>(problem, "left there").left, 0);
    EXPECT_EQ(with_room(1.5 * sums).left, 0);
    EXPECT_GT(with_room(20 * sums + 4e6).left, 0);
    problem.factor_bytes = 1;
    const Asked groups = expect_bits_of_the_host<double>(problem, "many groups");
    EXPECT_GT(groups.formed, 0);
    EXPECT_GT(groups.left, 0);
    problem.contraction.reset();
    EXPECT_GT(expect_bits_of_the_host<float>(problem, "contracted by choice").left, 0);
    problem.contraction = Contraction::multiply_out;
    problem.pass_back_end = nullptr;
    problem.parameters = {"attention"};
    problem.output = KernelOutput::trace;
    EXPECT_GT(expect_bits_of_the_host<float>(problem, "labels").formed, 0);
    problem.model = "llama-tied";
    problem.vocabulary = 23;
    problem.answers = true;
    problem.output = KernelOutput::logits;
    problem.pass_back_end = passes.get();
    const Asked answers = expect_bits_of_the_host<float>(problem, "answers");
    EXPECT_GT(answers.formed, 0);
    EXPECT_GT(answers.left, 0);
}

TEST(AKernelOnADevice, MultipliesFactorsThere) {
    Problem problem{.parameters = {"attention", "mlp"},
                    .examples = 80,
                    .test_examples = 20,
                    .contraction = Contraction::factors,
                    .groups = "kind"};
    const Asked asked = expect_bits_of_the_host<float>(problem, "float32, groups");
    EXPECT_GT(asked.in_factors, 0);
    EXPECT_GT(asked.formed, 0);
    EXPECT_EQ(asked.not_formed, 0);
    EXPECT_EQ(asked.stores, 1) << "sums stay from slice to slice";
    EXPECT_GT(expect_bits_of_the_host<double>(problem, "float64").in_factors, 0);
    problem.groups = {};
    // Passes leave them there, in several groups, too.
    const auto passes = device::device_passes(std::make_unique<FailingRuntime>(Index{1} << 40), 0x1p40);
    problem.pass_back_end = passes.get();
    EXPECT_GT(expect_bits_of_the_host<float>(problem, "left there").left, 0);
    problem.factor_bytes = 1;
    EXPECT_GT(expect_bits_of_the_host<double>(problem, "many groups", 3).left, 0);
    problem.pass_back_end = nullptr;
    problem.factor_bytes = std::numeric_limits<double>::infinity();
    // Beside slices and sums there is no room for them: the host packs.
    constexpr double sums = 8.0 * 100 * 80;
    Index packed_here = 0;
    for (const double share : {1.1, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0}) {
        if (packed_here > 0) break;
        const Asked packed = expect_bits_of_the_host<float>(
            problem, "no room for factors", -1, (2 * asked.largest + share * sums) / (1 - back_end_overhead));
        packed_here += packed.in_factors > 0 && packed.not_formed > 0 ? 1 : 0;
    }
    EXPECT_GT(packed_here, 0);
    // The host adds them where two slices find no room.
    EXPECT_EQ(expect_bits_of_the_host<float>(problem, "little memory", -1, asked.largest).in_factors, 0);
    EXPECT_GT(expect_bits_of_the_host<float>(problem, "behind a slice", 3).in_factors, 0);
    problem.contraction.reset();
    problem.parameters = {"all"};
    const Asked chosen = expect_bits_of_the_host<float>(problem, "contracted by choice");
    EXPECT_GT(chosen.formed, 0);
    EXPECT_GT(chosen.in_factors, 0);
    EXPECT_GT(chosen.matched, 0);
    problem.contraction = Contraction::factors;
    problem.output = KernelOutput::trace;
    problem.parameters = {"attention"};
    EXPECT_GT(expect_bits_of_the_host<float>(problem, "labels").in_factors, 0);
    // Several tokens that are read of each text; a matrix over the vocabulary.
    problem = {.model = "llama-tied",
               .examples = 40,
               .test_examples = 10,
               .contraction = Contraction::factors,
               .vocabulary = 23,
               .answers = true};
    EXPECT_GT(expect_bits_of_the_host<float>(problem, "answers").in_factors, 0);
}

TEST(AKernelOnADevice, MatchesRowsThere) {
    Problem problem{.examples = 80, .test_examples = 20, .contraction = Contraction::matching_rows};
    problem.formulas = {Formula::sgd, Formula::signgd, Formula::asymmetric_signgd};
    problem.groups = "kind";
    const Asked asked = expect_bits_of_the_host<float>(problem, "formulas, groups");
    EXPECT_GT(asked.matched, 0);
    EXPECT_EQ(asked.stores, 1) << "sums stay from slice to slice";
    problem.formulas = {Formula::sgd};
    problem.groups = "none";
    EXPECT_GT(expect_bits_of_the_host<double>(problem, "float64", 3).matched, 0);
    problem.output = KernelOutput::trace;
    problem.model = "llama-tied";
    problem.vocabulary = 23;
    EXPECT_GT(expect_bits_of_the_host<float>(problem, "labels").matched, 0);
}

TEST(AKernelOnADevice, ExchangesTilesWithItsMemory) {
    // Vectors are packed on the host; test rows have squares that are summed there.
    Problem problem{.parameters = {"attention", "norm"},
                    .examples = 80,
                    .test_examples = 20,
                    .contraction = Contraction::multiply_out};
    problem.formulas = {Formula::sgd, Formula::asymmetric_signgd};
    const bool alone = world_size() == 1;
    const auto expect_direct = [&](const Asked& asked) {
        EXPECT_GT(asked.formed, 0);
        EXPECT_EQ(asked.direct > 0, !alone);
        // Behind those of the trial of messages.
        EXPECT_EQ(asked.stores, alone ? 1 : 3) << "sums stay from slice to slice";
    };
    expect_direct(expect_bits_of_the_host<float>(problem, "float32, formulas", -1, 0x1p40, true));
    problem.formulas = {Formula::sgd};
    expect_direct(expect_bits_of_the_host<double>(problem, "float64", -1, 0x1p40, true));
    problem.contraction.reset();
    problem.parameters = {"all"};
    expect_direct(expect_bits_of_the_host<float>(problem, "contracted by choice", -1, 0x1p40, true));
    problem.contraction = Contraction::factors;
    problem.parameters = {"attention", "mlp"};
    expect_direct(expect_bits_of_the_host<double>(problem, "in factors", -1, 0x1p40, true));
    problem.contraction.reset();
    problem.parameters = {"all"};
    // Messages of the others start and end on the host.
    EXPECT_EQ(
        expect_bits_of_the_host<float>(problem, "of every second rank", -1, 0x1p40, world_rank() % 2 == 0)
                .direct > 0,
        !alone);
    const auto passes = device::device_passes(std::make_unique<FailingRuntime>(Index{1} << 40), 0x1p40);
    problem.pass_back_end = passes.get();
    problem.contraction = Contraction::multiply_out;
    problem.parameters = {"attention", "norm"};
    problem.factor_bytes = 1;
    EXPECT_EQ(expect_bits_of_the_host<float>(problem, "many groups", 1, 0x1p40, true).direct > 0, !alone);
}

/// On the last rank what arrives ends elsewhere, or what is sent does not stand there yet.
class Astray final : public Counted {
  public:
    explicit Astray(bool sent) : Counted(0x1p40, nullptr, true), sent_(sent) {}
    std::vector<std::byte*> places_for_messages(std::span<const void* const> homes) override {
        std::vector<std::byte*> places = Counted::places_for_messages(homes);
        if (world_rank() == world_size() - 1) places[sent_ ? 0 : 1] = elsewhere_.data();
        return places;
    }

  private:
    bool sent_;
    std::vector<std::byte> elsewhere_ = std::vector<std::byte>(std::size_t{1} << 21);
};

TEST(AKernelOnADevice, IsNotBegunWhereMessagesGoAstray) {
    if (world_size() == 1) return;
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    for (const bool sent : {false, true}) {
        Astray device(sent);
        const Problem problem{.examples = 80, .test_examples = 20, .back_end = &device};
        expect_error_on_all_ranks([&] { compute<float>(problem, grid); }, ExitStatus::numerical,
                                  ErrorKind::failed_check, "use --device cuda");
    }
    // None where the trial would find no room.
    const Problem small{.examples = 80, .test_examples = 20};
    EXPECT_EQ(expect_bits_of_the_host<float>(small, "little memory", -1, 8e6, true).stores, 1);
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
    const auto passes = device::device_passes(std::make_unique<FailingRuntime>(Index{1} << 40), 0x1p40);
    problem.pass_back_end = passes.get();
    EXPECT_GT(expect_bits_of_the_host<float>(problem, "in a pass of the device", 2).left, 0);
}

}  // namespace
}  // namespace tangram
