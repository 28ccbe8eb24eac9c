#include "../src/stages/forecast.hpp"

#include <gtest/gtest.h>
#include <omp.h>

#include <numeric>

#include "../src/stages/stored_kernels.hpp"
#include "support/expect_error.hpp"
#include "support/model_fixture.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/jacobian/selection.hpp"
#include "tangram/jacobian/token_blocks.hpp"
#include "tangram/model/architectures.hpp"
#include "tangram/products.hpp"
#include "tangram/spectrum/whole_solver.hpp"
#include "tangram/study/initial_network.hpp"
#include "tangram/training/loss_gradient.hpp"

namespace tangram {
namespace {

/// A drawn GPT-Neo of some sizes and examples of 5 to 36 tokens; nothing of it has weights.
struct MadeUp {
    LoadedModel model;
    GramJob job;
    Study study;

    MadeUp(Index hidden, Index layers, Index examples, const std::string& parameters = "all",
           std::optional<Index> classes = std::nullopt) {
        const testing::TemporaryFolder folder;
        folder.write("config.json",
                     "{\"model_type\": \"gpt_neo\", \"vocab_size\": 500, \"hidden_size\": " +
                         std::to_string(hidden) + ", \"num_layers\": " + std::to_string(layers) +
                         ", \"num_heads\": " + std::to_string(std::max<Index>(4, hidden / 64)) +
                         ", \"max_position_embeddings\": 64, \"window_size\": 16, \"attention_types\": "
                         "[[[\"global\"], " +
                         std::to_string(layers) + "]]}");
        model.program = program_of(Config(folder.path() / "config.json", testing::Unrecorded()), classes);
        model.parameters = select_parameters(model.program, {parameters});
        std::vector<std::int32_t> tokens(36);
        std::iota(tokens.begin(), tokens.end(), 3);
        for (Index e = 0; e < examples; ++e)
            job.data.train.append(std::span(tokens).first(static_cast<std::size_t>(5 + e * 7 % 32)),
                                  static_cast<std::int32_t>(e % 2), e);
        job.data.label_ids = {0, 1};
        job.data.task_labels = {2};
        job.output_names = {"margin"};
        job.outputs.add(KernelOutput::margin, 2);
        job.parameters = model.parameters;
        job.formulas.push_back(
            {Formula::sgd, choose_contractions(model.program, job.parameters, mean_tokens(job.data.train), 0,
                                               Formula::sgd)});
        for (const ParameterId p : job.parameters)
            job.parameter_count += model.program.parameters()[p].size();
        job.train_rows = examples;
        job.idle_bytes = 40e6;
        study.model.init = "random";
    }
    PlannedStudy planned(double limit = 1e18, int ranks_of_host = 1) const {
        return {model, job, study, limit, weight_bytes<float>(model, study), ranks_of_host};
    }
};

TEST(Forecast, IsOfTheMostSquareGrid) {
    const MadeUp small(32, 2, 100);
    for (const auto& [ranks, rows, columns] :
         {std::tuple{1, 1, 1}, {2, 1, 2}, {6, 2, 3}, {7, 1, 7}, {16, 4, 4}}) {
        const Forecast on = forecast<float>(small.planned(), ranks);
        EXPECT_EQ(on.grid_rows, rows) << ranks;
        EXPECT_EQ(on.grid_columns, columns) << ranks;
        EXPECT_EQ(on.ranks(), ranks);
    }
}

TEST(Forecast, MoreRanksNeedLessMemoryEach) {
    const MadeUp study(64, 3, 3000);
    double gram = 1e30, spectrum = 1e30;
    for (const int ranks : {1, 4, 16, 64}) {
        const Forecast on = forecast<float>(study.planned(), ranks);
        EXPECT_LT(on.gram().own_bytes, gram) << ranks;
        EXPECT_LE(on.stages[1].own_bytes, spectrum) << ranks;
        EXPECT_GE(on.gram().own_bytes, study.planned().own_before() + on.assembly.pass_bytes +
                                           on.assembly.matrix_bytes + on.assembly.slice_bytes +
                                           on.assembly.factor_bytes);
        EXPECT_EQ(on.bytes(),
                  std::max({on.bytes(on.stages[0]), on.bytes(on.stages[1]), on.bytes(on.stages[2])}));
        gram = on.gram().own_bytes;
        spectrum = on.stages[1].own_bytes;
    }
}

// The file system holds the finished file, its copy and what a stage adds: last the spectrum's vectors.
TEST(Forecast, OfTheDiskCountsTheCopiesThatStagesAddTo) {
    const MadeUp study(32, 2, 1000);
    const Forecast on = forecast<float>(study.planned(), 4);
    const double matrix = 8.0 * 1000 * 1000, rates = on.of("rates")->written_bytes;
    EXPECT_EQ(on.gram().written_bytes, matrix);
    EXPECT_EQ(on.of("spectrum")->written_bytes, matrix);
    EXPECT_LT(rates, 0.1 * matrix);
    EXPECT_EQ(on.disk_bytes(), 4 * matrix + rates);
}

// A third of 3000 columns each is two thirds on the first of two ranks; in tiles of 256 it has 1536 of them.
TEST(Forecast, CountsTheSolversOwnBlock) {
    MadeUp study(64, 3, 3000);
    study.study.spectrum.solver = "scalapack-dc";
    const double usual = forecast<float>(study.planned(), 2).of("spectrum")->own_bytes;
    study.study.spectrum.block = 1000;
    // Five matrices and workspaces of its size, beside G as it was.
    EXPECT_EQ(forecast<float>(study.planned(), 2).of("spectrum")->own_bytes - usual,
              5.0 * 8 * 3000 * (2000 - 1536));
}

// What runs into ScaLAPACK's 32-bit integers once the matrix is there is known before.
TEST(Forecast, SaysWhatASolverCannotCount) {
    MadeUp study(32, 2, 40000, "norm");
    const Forecast alone = forecast<float>(study.planned(), 1), shared = forecast<float>(study.planned(), 4);
    EXPECT_NE(alone.solver_refusal.find("40000"), std::string::npos) << alone.solver_refusal;
    EXPECT_FALSE(alone.fits(study.planned(), false));
    EXPECT_TRUE(alone.fits(study.planned(), true));  // the matrix alone can be had
    EXPECT_EQ(shared.solver_refusal, "");
    EXPECT_GT(fewest_ranks<float>(study.planned(), false), 1);
    EXPECT_EQ(fewest_ranks<float>(study.planned(), true), 1);
}

TEST(Forecast, CountsAllMatricesOfASolverThatHasNoEigenvaluesAlone) {
    MadeUp study(32, 2, 3000);
    const auto spectrum = [&](const char* solver, bool vectors) {
        study.study.spectrum.solver = solver;
        study.study.spectrum.vectors = vectors;
        return forecast<float>(study.planned(), 2).of("spectrum")->own_bytes;
    };
    EXPECT_EQ(spectrum("scalapack-dc", false), spectrum("scalapack-dc", true));
    EXPECT_LT(spectrum("scalapack-mrrr", false), spectrum("scalapack-mrrr", true));
}

TEST(Forecast, OfADensityBesideSomePairsCountsTheseOnEveryRank) {
    MadeUp study(32, 2, 3000);
    study.study.spectrum.count = 1500;
    const double without = forecast<float>(study.planned(), 64).of("spectrum")->own_bytes;
    study.study.spectrum.density = true;
    const double with = forecast<float>(study.planned(), 64).of("spectrum")->own_bytes;
    EXPECT_GE(with, 8.0 * 3000 * 1500);
    EXPECT_LT(without, 8.0 * 3000 * 1500 + study.job.idle_bytes);
}

// Up to 1000 rows LAPACK takes a subset, on the first rank of its group: with two workspaces of its size. A
// rank's part of the whole matrix, of which so many were counted once, is a sixteenth of that.
TEST(Forecast, OfRatesCountsTheSolverOfTheLargestSubset) {
    MadeUp study(32, 2, 2000);
    const double whole = 8.0 * 1000 * 1000,
                 rates = forecast<float>(study.planned(1e18, 8), 64).of("rates")->own_bytes;
    EXPECT_GT(rates - study.job.idle_bytes, 3 * whole);  // the half
}

// Each of several tasks is decomposed by itself, here of 1950 rows and 50: LAPACK's four matrices.
TEST(Forecast, OfRatesCountsTheLargestTask) {
    MadeUp study(32, 2, 2000);
    const auto rates = [&] { return forecast<float>(study.planned(), 1).of("rates")->own_bytes; };
    const double one = rates();
    study.job.data.task_labels = {2, 2};
    study.job.outputs.add(KernelOutput::margin, 2);
    study.job.data.train.tasks.assign(2000, 0);
    std::fill_n(study.job.data.train.tasks.rbegin(), 50, 1);
    EXPECT_GT(rates() - one, 2 * 8.0 * 1950 * 1950);
}

TEST(Forecast, OfADeviceCountsWhatStandsOnIt) {
    const MadeUp study(64, 3, 3000);
    PlannedStudy planned = study.planned();
    const Forecast without = forecast<float>(planned, 1);
    EXPECT_EQ(without.device_least, 0);
    planned.device_memory = 1e12;
    const Forecast alone = forecast<float>(planned, 1);
    const double slice = alone.assembly.back_end_slice_bytes, sums = alone.assembly.back_end_sum_bytes;
    // 11 tiles of 256 rows and one of 184; half of the tiles are computed, those on the diagonal whole.
    EXPECT_EQ(sums, 8.0 * (3000.0 * 3000 + 11 * 256 * 256 + 184 * 184) / 2);
    // Tiles end in whole panels of rows, whose height is the processor's.
    const auto padded = [](Index rows) {
        return (rows + products::panel_rows - 1) / products::panel_rows * products::panel_rows;
    };
    EXPECT_EQ(slice, static_cast<double>(4 * (11 * padded(256) + padded(184)) * slice_depth_of(256, 3000)));
    EXPECT_GE(alone.device_least, 2 * slice + 8 * 256 * 256);
    EXPECT_GE(alone.device_whole, 2 * slice + sums);
    EXPECT_LE(alone.device_whole, 1.05 * (2 * slice + sums));
    EXPECT_EQ(alone.gram().own_bytes - without.gram().own_bytes,
              slice + std::min(std::max(sums, alone.assembly.factor_bytes), 64.0 * (1 << 20)));

    EXPECT_LT(forecast<float>(planned, 16).device_least, alone.device_least);
    EXPECT_NO_THROW(check_device_memory(planned, alone));
    planned.device_memory = alone.device_least;
    EXPECT_NO_THROW(check_device_memory(planned, alone));
    EXPECT_EQ(fewest_ranks<float>(planned, true), 1);
    planned.device_memory = 0.75 * alone.device_least;
    testing::expect_error(ExitStatus::study, ErrorKind::no_memory, {"--device-memory"},
                          [&] { check_device_memory(planned, alone); });
    EXPECT_GT(fewest_ranks<float>(planned, true).value(), 1);
    // Nothing is multiplied out, nothing stands there.
    const MadeUp table(32, 1, 100, "transformer.wte.weight");
    PlannedStudy of_table = table.planned();
    of_table.device_memory = 1;
    EXPECT_EQ(forecast<float>(of_table, 1).device_least, 0);
}

TEST(Forecast, OfASpectrumOnADeviceHoldsTheWholeMatrixOnTheHost) {
    MadeUp study(64, 3, 3000);
    study.study.spectrum.solver = "auto";
    study.study.spectrum.vectors = true;
    PlannedStudy planned = study.planned();
    const auto bytes = [&](int ranks, double device_memory) {
        planned.device_memory = device_memory;
        return forecast<float>(planned, ranks).of("spectrum")->own_bytes - study.job.idle_bytes;
    };
    constexpr double whole = 8.0 * 3000 * 3000;
    const double roomy = 10 * planned_whole_solver_bytes(3000, true);
    // The matrix that is kept, its copy or the vectors, and on several ranks the whole one. Of 2 x 2 ranks
    // the largest has 1536 rows and columns. Vectors are checked beside 512 columns of products.
    EXPECT_EQ(bytes(1, roomy), 2 * whole + 8.0 * 3000 * 512);
    EXPECT_EQ(bytes(4, roomy), 2 * 8.0 * 1536 * 1536 + whole + 8.0 * 3000 * 512);
    planned.device_memory.reset();
    const double of_cpu = forecast<float>(planned, 1).of("spectrum")->own_bytes - study.job.idle_bytes;
    EXPECT_GT(of_cpu, 3 * whole);
    EXPECT_EQ(bytes(1, 0.5 * planned_whole_solver_bytes(3000, true)), of_cpu) << "no room";
    EXPECT_EQ(bytes(1, 1.1 * planned_whole_solver_bytes(3000, true)), of_cpu) << "a close fit";
}

TEST(Forecast, OfPassesOnADeviceCountsWhatFactorsTakeOfABlock) {
    const MadeUp study(64, 3, 300);
    PlannedStudy planned = study.planned();
    const Forecast on_cpu = forecast<float>(planned, 1);
    EXPECT_FALSE(on_cpu.device_passes);
    planned.pass_memory = 1e12;
    const Forecast on = forecast<float>(planned, 1);
    ASSERT_TRUE(on.device_passes);
    const PassNeeds& needs = *on.device_passes;
    double entries = 0;
    for (const Parameter& parameter : study.model.program.parameters())
        entries += static_cast<double>(parameter.size());
    EXPECT_GE(needs.weights, 4 * entries);
    EXPECT_LE(needs.weights,
              4 * entries + 256 * static_cast<double>(study.model.program.parameters().size()));
    const Index all = study.job.data.train.passed().tokens, longest = longest_sequence(study.job);
    EXPECT_GE(needs.tokens, all);  // one block
    EXPECT_EQ(on.gram().own_bytes - on_cpu.gram().own_bytes,
              needs.copies * static_cast<double>(all) - on_cpu.assembly.pass_bytes);
    planned.pass_memory = needs.least(longest);
    const Forecast least = forecast<float>(planned, 1);
    ASSERT_TRUE(least.device_passes);
    EXPECT_LE(least.device_passes->bytes(longest), *planned.pass_memory);
    planned.pass_memory = 0.99 * needs.least(longest);
    EXPECT_FALSE(forecast<float>(planned, 1).device_passes);
}

TEST(Forecast, LittleMemoryIsKeptByMorePasses) {
    const MadeUp study(64, 3, 500);
    const Forecast whole = forecast<float>(study.planned(), 1);
    EXPECT_EQ(whole.assembly.passes, 1);
    const double limit = whole.gram().resident() - 0.5 * whole.assembly.factor_bytes;
    const Forecast little = forecast<float>(study.planned(limit), 1);
    EXPECT_GT(little.assembly.passes, 1);
    EXPECT_LE(little.gram().resident(), limit);
    EXPECT_LT(little.factor_limit, whole.assembly.factor_bytes);
}

TEST(Forecast, WhatTheRanksOfAHostShareCountsOnceAmongThem) {
    const MadeUp study(1024, 4, 4, "norm");  // weights that are drawn are most of it
    const double weights = study.planned().weights.shared;
    const Forecast apart = forecast<float>(study.planned(1e18, 1), 8),
                   together = forecast<float>(study.planned(1e18, 4), 8),
                   fewer = forecast<float>(study.planned(1e18, 4), 2);
    for (const Forecast* const on : {&apart, &together, &fewer}) {
        EXPECT_EQ(on->gram().shared_bytes, weights);
        EXPECT_EQ(on->gram().resident(), on->gram().own_bytes + weights);
    }
    EXPECT_EQ(apart.gram().own_bytes, together.gram().own_bytes);
    EXPECT_EQ(apart.bytes(apart.gram()), apart.gram().own_bytes + weights);
    EXPECT_EQ(together.bytes(together.gram()), together.gram().own_bytes + weights / 4);
    EXPECT_EQ(fewer.bytes(fewer.gram()), fewer.gram().own_bytes + weights / 2);
    const double limit = together.bytes();
    ASSERT_LT(limit, weights);
    EXPECT_EQ(fewest_ranks<float>(study.planned(limit, 1), true), std::nullopt);
    EXPECT_LE(fewest_ranks<float>(study.planned(limit, 4), true).value(), 8);
}

TEST(Forecast, BuffersOfPassesAreThoseOfTheLargestBlockThatComesUp) {
    // The 16 longest examples stand in no block together.
    MadeUp study(64, 3, 64);
    const int ranks = 2;
    std::vector<Index> tokens;
    for (Index e = 0; e < 64; ++e) tokens.push_back(study.job.data.train.passed(e).tokens);
    const auto bytes = [&](int threads) {
        omp_set_num_threads(threads);
        return forecast<float>(study.planned(), ranks).assembly.pass_bytes;
    };
    const int before = omp_get_max_threads();
    const double one = bytes(1), two = bytes(2);
    omp_set_num_threads(before);
    // The tiles of 64 rows go round the ranks, one block each.
    double largest = 0;
    for (Index first = 0; first < 64; first += arithmetic::examples_per_block) {
        std::vector<Index> block(arithmetic::examples_per_block);
        std::iota(block.begin(), block.end(), first);
        largest = std::max(largest, static_cast<double>(planned_pass_bytes<float>(
                                        study.model.program, token_block(study.job.data.train, block), 2,
                                        study.job.parameters)));
    }
    EXPECT_EQ(one, largest);
    EXPECT_GT(two, 1.5 * one);
    EXPECT_LE(two, 2 * one);
}

TEST(FewestRanks, AreTheFirstThatFitOfThoseTried) {
    const MadeUp study(32, 2, 1500);
    const double one = forecast<float>(study.planned(), 1).bytes(),
                 many = forecast<float>(study.planned(), 32).bytes();
    for (const double share : {0.05, 0.3, 0.5, 0.8, 1.0}) {
        const PlannedStudy planned = study.planned(many + share * (one - many));
        const auto fits = [&](int ranks) { return forecast<float>(planned, ranks).bytes() <= planned.limit; };
        int first = 1;
        while (!fits(first)) ++first;
        EXPECT_EQ(fewest_ranks<float>(planned, false), first) << share;
    }
    EXPECT_EQ(fewest_ranks<float>(study.planned(study.job.idle_bytes), false), std::nullopt);
}

TEST(FewestRanks, OfTheGramStageAloneIgnoreTheSpectrum) {
    const MadeUp study(16, 1, 1500, "norm");
    const Forecast on = forecast<float>(study.planned(), 1);
    ASSERT_GT(on.bytes(), on.bytes_until_written());
    const PlannedStudy planned = study.planned(on.bytes_until_written());
    EXPECT_EQ(fewest_ranks<float>(planned, true), 1);
    EXPECT_GT(fewest_ranks<float>(planned, false), 1);
}

TEST(Forecast, CountsWeightsThatAreDrawnBeforeTheyAre) {
    const MadeUp small(64, 2, 20);
    double weights = 0;
    for (const Parameter& parameter : small.model.program.parameters())
        weights += 4 * static_cast<double>(parameter.size());
    const StageForecast gram = forecast<float>(small.planned(), 1).gram();
    EXPECT_GT(gram.resident(), weights);
    const WeightBytes twice = weight_bytes<double>(small.model, small.study);
    EXPECT_GT(twice.own + twice.shared, 2 * weights);
    const MadeUp deep(64, 4096, 20), wide(Index{1} << 16, 2, 20);
    EXPECT_GT(deep.planned().weights.shared, 4096 * 12 * 64 * 64 * 4.0);
    EXPECT_GT(wide.planned().weights.shared, 2 * 12 * 0x1p32 * 4);
    EXPECT_EQ(fewest_ranks<float>(wide.planned(8e9), true), std::nullopt);
}

TEST(FittedHead, IsAStageOfItsOwnWithFeaturesAndTheirDecomposition) {
    MadeUp study(64, 2, 4000, "head", 2);
    EXPECT_EQ(forecast<float>(study.planned(), 4).stages.front().stage, "gram");
    study.study.model.head_init = "least-squares";
    const Forecast on = forecast<float>(study.planned(), 4);
    ASSERT_EQ(on.stages.front().stage, "head");
    EXPECT_GE(on.stages.front().own_bytes, study.planned().own_before() + 2 * 8.0 * 4000 * 64);
    EXPECT_GE(on.bytes_until_written(), on.bytes(on.stages.front()));
    EXPECT_EQ(on.gram().stage, "gram");
}

TEST(Finetuning, HoldsASumForEveryBitOfTheLeavesThatAreDone) {
    // Parts of 8 examples: 1, 4, and 64 of them on a rank, two at a time.
    EXPECT_EQ(gradient_vectors(8, 1, 1), 1);
    EXPECT_EQ(gradient_vectors(8, 2, 1), 1);
    EXPECT_EQ(gradient_vectors(32, 1, 1), 2);    // the sum of two, and the others'
    EXPECT_EQ(gradient_vectors(32, 1, 4), 4);    // one for each thread
    EXPECT_EQ(gradient_vectors(512, 1, 1), 6);   // of 32, 16, 8, 4, 2, and the last two
    EXPECT_EQ(gradient_vectors(512, 1, 4), 7);   // of 32, 16, 8, and four of two
    EXPECT_EQ(gradient_vectors(1024, 1, 1), 7);  // of 16 examples: of 32, 16, 8, 4, 2, 1, and the last
    EXPECT_EQ(gradient_vectors(512, 64, 4), 1);
}

TEST(Finetuning, IsAStageWhereItIsAskedForWithVectorsOfTheTrainedWeights) {
    MadeUp made(64, 2, 400);
    EXPECT_EQ(forecast<float>(made.planned(), 4).of("finetune"), nullptr);
    made.study.finetune.asked = true;
    const auto weights = static_cast<double>(made.job.parameter_count);
    const Forecast gd = forecast<float>(made.planned(), 1);
    ASSERT_EQ(gd.stages.back().stage, "finetune");
    EXPECT_TRUE(is_later(gd.stages.back()));
    EXPECT_EQ(gd.training_steps, training_steps_assumed);
    EXPECT_GE(gd.stages.back().own_bytes,
              made.planned().own_before() + weights * (4 + 8 * 3) + 8 * 400.0 * 400);
    made.study.finetune.optimizer = "adamw";
    made.study.finetune.batch = 8;
    made.study.finetune.steps = 50;
    const Forecast adamw = forecast<float>(made.planned(), 1);
    made.study.finetune.optimizer = "sgd";
    const Forecast sgd = forecast<float>(made.planned(), 1);
    // Two vectors more, and twice where a checkpoint's copies are what takes most.
    EXPECT_GE(adamw.stages.back().own_bytes - sgd.stages.back().own_bytes, 16 * weights - 1);
    EXPECT_LE(adamw.stages.back().own_bytes - sgd.stages.back().own_bytes, 3 * 16 * weights + 1);
    EXPECT_EQ(sgd.training_steps, 50);
    EXPECT_LT(sgd.stages.back().flops, gd.stages.back().flops);
    // Little memory: the factors of the kernel after training in several groups.
    const MadeUp many(64, 2, 4000);
    Study asked = many.study;
    asked.finetune.asked = true;
    const PlannedStudy ample{many.model, many.job, asked, 1e18, many.planned().weights};
    const PlannedStudy little{many.model, many.job, asked,
                              forecast<float>(ample, 1).stages.back().resident() - 1e7, ample.weights};
    EXPECT_LE(forecast<float>(little, 1).stages.back().resident(), little.limit);
    EXPECT_LT(forecast<float>(little, 1).trained_factor_limit,
              forecast<float>(ample, 1).trained_factor_limit);
}

// Rows are dealt in blocks of 64: of 1100 on 16 ranks the first has 128, and no number of ranks leaves less
// than a block.
TEST(Finetuning, HoldsWholeBlocksOfRows) {
    Study study;
    study.kernel.formula = {"sgd"};
    study.finetune.optimizer = "sgd";
    EXPECT_EQ(StoredKernels::bytes(study, 1100, 0, 16), 8.0 * 1100 * 128);
    EXPECT_EQ(StoredKernels::bytes(study, 1100, 30, 1000), 8.0 * 1100 * (64 + 30));
    study.kernel.formula = {"sgd", "asymmetric-signgd"};
    study.finetune.optimizer = "signgd";  // judged by the sgd kernel, linearised by the other
    EXPECT_EQ(StoredKernels::bytes(study, 1100, 30, 16), 8.0 * 1100 * (2 * 128 + 30));
}

TEST(Finetuning, TakesTimeByWhatIsTrainedAndByHowManyShareABatch) {
    const auto seconds = [](const char* parameters, int ranks) {
        MadeUp made(64, 2, 400, parameters);
        made.study.finetune.asked = true;
        made.study.finetune.optimizer = "sgd";
        made.study.finetune.batch = 32;       // four parts
        made.study.finetune.steps = 1000000;  // beside which the kernel after training is nothing
        PlannedStudy planned = made.planned();
        planned.calibration = {3e-11, 7e-10, 1e-11, 2e-11};
        return forecast<float>(planned, ranks).stages.back().seconds;
    };
    EXPECT_LT(seconds("attention", 1), 0.9 * seconds("all", 1));
    EXPECT_LT(seconds("all", 4), 0.7 * seconds("all", 1));
    EXPECT_NEAR(seconds("all", 8) / seconds("all", 4), 1, 1e-3);
}

}  // namespace
}  // namespace tangram
