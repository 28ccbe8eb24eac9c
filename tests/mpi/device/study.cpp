#include "tangram/stages/study_run.hpp"

#include <gtest/gtest.h>

#include <filesystem>

#include "../src/device/device_passes.hpp"
#include "../src/device/device_products.hpp"
#include "../src/program/chosen_device.hpp"
#include "mpi/spectrum/whole_solver.hpp"
#include "support/failing_runtime.hpp"
#include "support/model_fixture.hpp"
#include "support/mpi_test.hpp"
#include "support/temporary_folder.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/parallel/collective_error.hpp"

namespace tangram {
namespace {

using testing::world_rank;
using testing::world_size;

/// Two GPUs on every rank, some of 64 GB; products on the host in their place, whose memory is kept.
GpuSource two_gpus(std::vector<double>& memory) {
    return {[] {
                return Gpus{{"a", "b"}, 64e9, true, {}, ""};
            },
            [&memory](int gpu, double bytes, bool messages_reach_it) {
                memory = {static_cast<double>(gpu), bytes};
                return device::device_products(device::host_runtime(bytes, messages_reach_it), bytes,
                                               messages_reach_it);
            },
            [](int, double) { return std::make_unique<testing::LapackAsDevice>(); }, [](int) { return 63e9; },
            [](int, double bytes) { return device::device_passes(device::host_runtime(bytes), bytes); }};
}

/// A device that claims more memory than it takes, so that no plan refuses it, or less.
class Boasting final : public ProductBackEnd {
  public:
    explicit Boasting(std::unique_ptr<ProductBackEnd> device, double claimed = 1e12)
        : device_(std::move(device)), claimed_(claimed) {}
    std::string name() const override { return device_->name(); }
    double memory() const override { return claimed_; }
    void add(const SliceProducts<float>& slice, const std::function<void()>& between) override {
        device_->add(slice, between);
    }
    void add(const SliceProducts<double>& slice, const std::function<void()>& between) override {
        device_->add(slice, between);
    }
    void add(const FactorProducts<float>& slice, const std::function<void()>& between) override {
        device_->add(slice, between);
    }
    void add(const FactorProducts<double>& slice, const std::function<void()>& between) override {
        device_->add(slice, between);
    }
    void add(const MatchProducts<float>& slice, const std::function<void()>& between) override {
        device_->add(slice, between);
    }
    void add(const MatchProducts<double>& slice, const std::function<void()>& between) override {
        device_->add(slice, between);
    }
    bool begin_packing(const SliceToPack<float>& slice) override { return device_->begin_packing(slice); }
    bool begin_packing(const SliceToPack<double>& slice) override { return device_->begin_packing(slice); }
    void end_packing() override { device_->end_packing(); }
    bool messages_reach_it() const override { return device_->messages_reach_it(); }
    std::vector<std::byte*> places_for_messages(std::span<const void* const> homes) override {
        return device_->places_for_messages(homes);
    }
    FactorMemory* factor_memory(double beside) override { return device_->factor_memory(beside); }
    void forget_factors() noexcept override { device_->forget_factors(); }
    void finish() override { device_->finish(); }
    void store_sums() override { device_->store_sums(); }
    void drop_sums() noexcept override { device_->drop_sums(); }
    bool failed() const override { return device_->failed(); }
    bool sums_are_torn() const override { return device_->sums_are_torn(); }

  private:
    std::unique_ptr<ProductBackEnd> device_;
    double claimed_;
};

class OnADevice : public ::testing::Test {
  protected:
    OnADevice() {
        std::string name = folder_.path().string();
        broadcast(MPI_COMM_WORLD, name, 0);
        folder_of_all_ = name;
    }
    ~OnADevice() override { MPI_Barrier(MPI_COMM_WORLD); }

    /// The last layer on 40 reviews, three row tiles: all slices on the device.
    Study study(const std::string& output, double checkpoint_minutes) const {
        const auto data = testing::test_data();
        Study study;
        study.model.path = data / "neo-mini";
        study.data.train = data / "reviews/train.tsv";
        study.data.test = data / "reviews/test.tsv";
        study.data.tmpl = "{text} It was";
        study.data.label_words = {" bad", " great"};
        study.data.samples = 40;
        study.data.test_samples = 10;
        study.kernel.parameters = {"transformer.h.3.*"};
        study.output.path = (folder_of_all_ / output).string();
        study.output.checkpoint_minutes = checkpoint_minutes;
        return study;
    }
    /// Every data set of the kernel, on the first rank.
    std::vector<double> kernel(const std::string& output) const {
        std::vector<double> all;
        const InputFile file(MPI_COMM_WORLD, folder_of_all_ / output, ExitStatus::output);
        const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
        for (const auto& [path, orientation] : {std::pair{"/kernel/gram", Orientation::transposed},
                                                std::pair{"/kernel/cross", Orientation::as_is}}) {
            const std::vector<double> whole = gather(file.read_matrix(path, grid, 32, orientation), 0);
            all.insert(all.end(), whole.begin(), whole.end());
        }
        const auto numbers =
            file.read([](const Hdf5File& h5) { return h5.read_doubles("/kernel/test_diagonal"); });
        all.insert(all.end(), numbers.begin(), numbers.end());
        return all;
    }

    testing::TemporaryFolder folder_;  // the first rank's is everybody's
    std::filesystem::path folder_of_all_;
    Communicator world_{MPI_COMM_WORLD};
    Log log_{false, true, ""};
    StopFlag stop_;
    Session session_{world_, log_, stop_, ""};
};

TEST_F(OnADevice, EveryRankHasAGpuOrItIsSaidHowToLaunch) {
    std::vector<double> memory;
    EXPECT_EQ(chosen_device("cpu", std::nullopt, session_, two_gpus(memory)).products, nullptr);
    for (const char* const device : {"auto", "cuda"}) {
        const ChosenDevice chosen = chosen_device(device, std::nullopt, session_, two_gpus(memory));
        ASSERT_ON_ALL_RANKS(chosen.products != nullptr);
        EXPECT_EQ(registered_whole_solver(), chosen.solver.get());
        EXPECT_EQ(memory[0], world_rank() % 2);
        // Nine tenths, which others leave, divided among the ranks that share it: the first GPU has one more
        // where they are odd.
        const int sharing = (world_size() + 1 - world_rank() % 2) / 2;
        EXPECT_DOUBLE_EQ(memory[1], 0.9 * 64e9 / sharing);
    }
    GpuSource reached = two_gpus(memory);
    for (const bool all : {true, false}) {
        reached.messages_reach_them = [=] { return all || world_rank() > 0; };
        if (all)
            EXPECT_TRUE(
                chosen_device("cuda-direct", std::nullopt, session_, reached).products->messages_reach_it());
        else
            testing::expect_error_on_all_ranks(
                [&] { chosen_device("cuda-direct", std::nullopt, session_, reached); }, ExitStatus::study,
                ErrorKind::unsupported, "use --device cuda");
        EXPECT_FALSE(chosen_device("cuda", std::nullopt, session_, reached).products->messages_reach_it());
    }
    // Where every rank sees one alone, as SLURM shows it, nobody shares.
    GpuSource own = two_gpus(memory);
    own.usable = [] { return Gpus{{std::to_string(world_rank())}, 64e9, true, {}, ""}; };
    chosen_device("cuda", std::nullopt, session_, own);
    EXPECT_EQ(memory, (std::vector<double>{0, 0.9 * 64e9}));
    chosen_device("cuda", 5e9, session_, two_gpus(memory));
    EXPECT_EQ(memory[1], 5e9);
    const double most = 63e9 / ((world_size() + 1) / 2);  // for each of those that share the first GPU
    chosen_device("cuda", most, session_, two_gpus(memory));
    testing::expect_error_on_all_ranks(
        [&] { chosen_device("cuda", 1.01 * most, session_, two_gpus(memory)); }, ExitStatus::study,
        ErrorKind::contradiction, "--device-memory");
    // Others have taken half of it.
    GpuSource shared = two_gpus(memory);
    shared.free_memory = [](int) { return 32e9; };
    chosen_device("cuda", std::nullopt, session_, shared);
    EXPECT_DOUBLE_EQ(memory[1], 0.95 * 32e9 / ((world_size() + 1 - world_rank() % 2) / 2));
    // A plan is the run's: of unequal GPUs the least, on every rank.
    EXPECT_DOUBLE_EQ(*planned_device_memory("auto", std::nullopt, session_, two_gpus(memory)),
                     0.9 * 64e9 / ((world_size() + 1) / 2));
    own.usable = [] {
        return Gpus{
            {std::to_string(world_rank())}, world_rank() == world_size() - 1 ? 32e9 : 64e9, true, {}, ""};
    };
    EXPECT_DOUBLE_EQ(*planned_device_memory("cuda", std::nullopt, session_, own), 0.9 * 32e9);
    EXPECT_EQ(planned_device_memory("cuda", 7e9, session_, own), 7e9);
    testing::expect_error_on_all_ranks([&] { chosen_device("cpu", 5e9, session_, two_gpus(memory)); },
                                       ExitStatus::study, ErrorKind::contradiction, "--device-memory");

    const auto none = [](ErrorKind why) {
        return GpuSource{[why] { return Gpus{{}, 0, why == ErrorKind::unsupported, why, "GPU 7: too old"}; }};
    };
    for (const ErrorKind why : {ErrorKind::missing, ErrorKind::unsupported}) {
        EXPECT_EQ(chosen_device("auto", std::nullopt, session_, none(why)).products, nullptr);
        EXPECT_EQ(registered_whole_solver(), nullptr);
        testing::expect_error_on_all_ranks([&] { chosen_device("cuda", std::nullopt, session_, none(why)); },
                                           ExitStatus::study, why, "GPU 7: too old");
    }
    if (world_size() == 1) return;
    GpuSource some = two_gpus(memory);
    if (world_rank() == world_size() - 1) some.usable = none(ErrorKind::missing).usable;
    for (const char* const device : {"auto", "cuda"})
        for (const bool plan : {false, true})
            testing::expect_error_on_all_ranks(
                [&] {
                    if (plan)
                        planned_device_memory(device, std::nullopt, session_, some);
                    else
                        chosen_device(device, std::nullopt, session_, some);
                },
                ExitStatus::study, ErrorKind::contradiction, "--gpus-per-task");
    GpuSource broken = two_gpus(memory);
    if (world_rank() == world_size() - 1)
        broken.products = [](int, double, bool) -> std::unique_ptr<ProductBackEnd> {
            throw Error(ExitStatus::numerical, ErrorKind::library, "GPU 1 of node9");
        };
    testing::expect_error_on_all_ranks([&] { chosen_device("auto", std::nullopt, session_, broken); },
                                       ExitStatus::numerical, ErrorKind::library, "GPU 1 of node9");
}

// The first rank's device, which has tiles on any grid, fails early, in the middle and late; the run goes on
// without one, with the bits of a run that nothing has disturbed. Checkpoints behind every slice, and none
// but of what was stored when it failed: nothing, or slices that the host has added; all sums on the device,
// and sums that take turns, of which some are stored within a slice.
TEST_F(OnADevice, WhatAFailureLeavesGoesOnOnTheCpu) {
    double largest_slice = 0;
    const auto whole = device::device_products(
        std::make_unique<testing::FailingRuntime>(1 << 30, 0x1p40, &largest_slice), 0x1p30);
    StudyRun(study("whole.h5", 0), session_).gram(false, whole.get());
    constexpr double tile = 8.0 * 16 * 16;  // beside one there is no room for another
    const double little = (2 * largest_slice + 1.2 * tile) / (1 - back_end_overhead);
    struct Case {
        const char* name;
        double minutes, memory;
        bool behind_others;           ///< the host adds slices before the device does: those are stored
        bool some_keep, some_do_not;  ///< failures that leave a checkpoint
        bool reached;                 ///< by messages
    };
    for (const Case& at : std::vector<Case>{{"p", 1e-9, 0x1p30, false, true, true, false},
                                            {"w", 0, 0x1p30, false, false, true, true},
                                            {"o", 0, 0x1p30, true, true, false, false},
                                            {"t", 0, little, false, false, true, false}}) {
        const auto study_of = [&](const std::string& output, double of_minutes) {
            Study of = study(output, of_minutes);
            if (at.behind_others)
                of.kernel.parameters = {"transformer.wpe.weight", "transformer.h.3.ln_1.bias"};
            return of;
        };
        StudyRun(study_of(at.name + std::string("truth.h5"), 0), session_).gram(false);
        const std::vector<double> truth = kernel(at.name + std::string("truth.h5"));
        if (!at.behind_others) {
            EXPECT_EQ(kernel("whole.h5"), truth);
        }
        Index with_checkpoint = 0, without = 0, last = 0;
        for (Index good = 1; last == 0; good *= 5) {
            SCOPED_TRACE(::testing::Message() << at.name << ": " << good << " calls");
            const std::string name = at.name + std::to_string(good) + ".h5";
            const std::filesystem::path checkpoint = folder_of_all_ / (name + ".checkpoint");
            // Of little that is claimed, slices of a vector find room, those of the positions do not.
            Boasting device(device::device_products(std::make_unique<testing::FailingRuntime>(
                                                        world_rank() == 0 ? good : 1 << 30, at.memory,
                                                        nullptr, nullptr, nullptr, at.reached),
                                                    at.memory, at.reached),
                            at.behind_others ? 7e5 : 1e12);
            const testing::Thrown thrown = testing::thrown_by(
                [&] { StudyRun(study_of(name, at.minutes), session_).gram(false, &device); });
            const bool kept = any_rank(MPI_COMM_WORLD, std::filesystem::exists(checkpoint));
            if (!thrown.status) {
                last = good;
            } else {
                EXPECT_EQ(thrown.status, ExitStatus::numerical) << thrown.text;
                EXPECT_EQ(thrown.text.find("GPU 3 of node17"), 0u) << thrown.text;
                EXPECT_EQ(thrown.text.find(checkpoint.string()) != std::string::npos, kept) << thrown.text;
                ++(kept ? with_checkpoint : without);
                StudyRun(study_of(name, 0), session_).gram(false);
            }
            EXPECT_EQ(kernel(name), truth);
        }
        EXPECT_TRUE(!at.some_keep || with_checkpoint > 0) << at.name;
        EXPECT_TRUE(!at.some_do_not || without > 0) << at.name;
    }
}

// Passes in blocks of their own, beside products; the first rank's device fails in them.
TEST_F(OnADevice, PassesLeaveTheKernelOfTheCpu) {
    constexpr double memory = 0x1p30;
    const auto run = [&](const std::string& output, ProductBackEnd* products, PassBackEnd* passes) {
        Study small = study(output, 0);
        small.data.samples = 20;
        small.data.test_samples = 5;
        StudyRun(small, session_).gram(false, products, passes);
    };
    run("truth.h5", nullptr, nullptr);
    const std::vector<double> truth = kernel("truth.h5");
    const auto products = device::host_executor(memory);
    const auto passes = device::device_passes(device::host_runtime(memory), memory);
    run("both.h5", products.get(), passes.get());
    EXPECT_EQ(kernel("both.h5"), truth);
    EXPECT_FALSE(passes->failed());
    for (const Index good : {3, 150}) {
        const auto failing = device::device_passes(
            std::make_unique<testing::FailingRuntime>(world_rank() == 0 ? good : 1 << 30, memory), memory);
        const testing::Thrown thrown = testing::thrown_by([&] { run("failed.h5", nullptr, failing.get()); });
        EXPECT_EQ(thrown.status, ExitStatus::numerical) << thrown.text;
        EXPECT_EQ(thrown.text.find("GPU 3 of node17"), 0u) << thrown.text;
    }
    // One of the two fails where factors stay on the device that both are on.
    for (const auto& [good_passes, good_products] :
         std::vector<std::pair<Index, Index>>{{150, 1 << 30}, {1 << 30, 20}, {1 << 30, 60}}) {
        const auto on_gpu = [&](Index good) {
            return std::make_unique<testing::FailingRuntime>(world_rank() == 0 ? good : 1 << 30, memory);
        };
        const auto some_products = device::device_products(on_gpu(good_products), memory);
        const auto some_passes = device::device_passes(on_gpu(good_passes), memory);
        const testing::Thrown thrown =
            testing::thrown_by([&] { run("failed.h5", some_products.get(), some_passes.get()); });
        EXPECT_EQ(thrown.status, ExitStatus::numerical) << thrown.text;
        EXPECT_EQ(thrown.text.find("GPU 3 of node17"), 0u) << thrown.text;
    }
    run("failed.h5", nullptr, nullptr);
    EXPECT_EQ(kernel("failed.h5"), truth);
    // Too little for the weights: the CPU has them.
    const auto little = device::device_passes(device::host_runtime(1), 1);
    run("little.h5", nullptr, little.get());
    EXPECT_EQ(kernel("little.h5"), truth);
}

}  // namespace
}  // namespace tangram
