#include "tangram/gram/assembly.hpp"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "mpi/gram/problem.hpp"
#include "support/expect_error.hpp"
#include "support/model_fixture.hpp"
#include "support/mpi_test.hpp"
#include "support/unrecorded.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/gram/assembly_cost.hpp"

namespace tangram {
namespace {

using namespace testing;

TEST(Assembly, SameBitsOnEveryGrid) {
    // 300 rows are three tiles, the last one ragged; more ranks than tiles leave some without any.
    const Problem problem;
    const Whole expected = alone<float>(problem);
    for (const ProcessGrid& grid : all_grids()) {
        expect_same_bits(compute<float>(problem, grid), expected, text(grid));
    }
}

TEST(Assembly, ContractionsAgreeOnEveryTensor) {
    if (world_size() > 1) return;  // each has the same bits on every grid: below
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    // GPT-2's weights are stored transposed, RoBERTa's positions begin at 2 and its head has a bias.
    for (const char* model : {"neo-odd", "llama-odd", "llama-tied", "gpt2-odd", "roberta-odd"}) {
        Problem problem{.model = model, .labels = {3, 8, 20}};
        if (!std::string(model).starts_with("llama") && std::string(model) != "neo-odd")
            problem.vocabulary = 23;
        problem.output = KernelOutput::logits;
        problem.examples = 30;
        problem.test_examples = 5;
        const auto folder = test_data() / "models" / model;
        const Program program = program_of(Config(folder / "config.json", testing::Unrecorded()));
        std::vector<ParameterId> all(program.parameters().size());
        std::iota(all.begin(), all.end(), ParameterId{0});
        const auto choices = choose_contractions(program, all, 9.5);
        Index compared = 0;
        for (const ParameterId p : all) {
            problem.parameters = {program.parameters()[p].name};
            problem.contraction = Contraction::multiply_out;
            const Whole expected = compute<double>(problem, grid);
            if (std::isfinite(choices[p].in_factors)) problem.contraction = Contraction::factors;
            if (std::isfinite(choices[p].matching)) problem.contraction = Contraction::matching_rows;
            if (problem.contraction == Contraction::multiply_out) continue;
            // Sums of up to 18^2 products of chains of up to 50: some 10^2 roundings of the rows' norms.
            SCOPED_TRACE(std::string(model) + " " + program.parameters()[p].name);
            expect_close(compute<double>(problem, grid), expected, 1e-13);
            ++compared;
        }
        EXPECT_GE(compared, 9) << model;
    }
}

TEST(Assembly, EveryContractionHasTheSameBitsOnEveryGridAndInEveryOrder) {
    for (const Contraction contraction :
         {Contraction::multiply_out, Contraction::factors, Contraction::matching_rows}) {
        Problem problem{.contraction = contraction};
        const DataSet train = made_up_data(problem.examples, 1, 50),
                      test = made_up_data(problem.test_examples, 2, 50);
        const Whole expected = alone<float>(problem);
        for (const ProcessGrid& grid : all_grids()) {
            expect_same_bits(compute<float>(problem, grid), expected, text(grid) + " " + name(contraction));
        }
        std::vector<Index> order(static_cast<std::size_t>(problem.examples));
        for (std::size_t i = 0; i < order.size(); ++i)
            order[i] = static_cast<Index>((i * 77 + 5) % order.size());
        const Whole moved =
            compute<float>(problem, ProcessGrid::most_square(MPI_COMM_WORLD), reordered(train, order), test);
        Index wrong = 0;
        for (std::size_t j = 0; j < order.size(); ++j)
            for (std::size_t i = 0; i < order.size(); ++i)
                if (!(moved.gram[i + j * order.size()] ==
                      expected.gram[static_cast<std::size_t>(order[i] + order[j] * problem.examples)]))
                    ++wrong;
        EXPECT_EQ(wrong, 0) << name(contraction);
    }
}

TEST(Assembly, LittleMemoryRepeatsPassesAndChangesNoBit) {
    Problem problem{.model = "llama-tied"};
    const Whole expected = alone<float>(problem);
    for (const double bytes : {0.0, 1e5, 1e6}) {
        problem.factor_bytes = bytes;
        expect_same_bits(compute<float>(problem, ProcessGrid::most_square(MPI_COMM_WORLD)), expected,
                         std::to_string(bytes));
    }
}

TEST(Assembly, OfAnswersIsJacobianTimesItselfWithTheSameBitsOnEveryGrid) {
    // The head apart, in factors and multiplied out, and tied to the token table; a row for every answer, the
    // sum over both, and the mean of their kernels, whose answers differ in length.
    for (const char* model : {"llama3-odd", "qwen2-odd"})
        for (const KernelOutput output : {KernelOutput::logits, KernelOutput::margin, KernelOutput::trace}) {
            Problem problem{.model = model,
                            .output = output,
                            .examples = output == KernelOutput::logits ? 70 : 30,
                            .test_examples = 5,
                            .vocabulary = 23,
                            .answers = true};
            const Whole expected = naive(problem);
            for (const Contraction contraction : {Contraction::factors, Contraction::multiply_out}) {
                problem.contraction = contraction;
                SCOPED_TRACE(std::string(model) + " " + name(output) + " " + name(contraction));
                // As of the contractions above.
                expect_close(compute<double>(problem, ProcessGrid::most_square(MPI_COMM_WORLD)), expected,
                             1e-13);
                if (output != KernelOutput::logits) continue;
                const Whole on_one = alone<float>(problem);
                for (const ProcessGrid& grid : all_grids())
                    expect_same_bits(compute<float>(problem, grid), on_one, text(grid));
            }
        }
}

TEST(Assembly, OfAVocabularyInBlocksIsTheOneMultipliedOut) {
    // Two whole blocks of the vocabulary and a rest.
    const nlohmann::json config = {{"model_type", "llama"},
                                   {"vocab_size", 2 * arithmetic::vocabulary_block + 9},
                                   {"hidden_size", 8},
                                   {"num_attention_heads", 2},
                                   {"num_hidden_layers", 1},
                                   {"intermediate_size", 8},
                                   {"max_position_embeddings", 32},
                                   {"tie_word_embeddings", false}};
    Program program = program_of(Config("config.json", config));
    program.score_answers(false);
    Network<double> network(program, InitialWeights{.deviation = 0.5}, {});
    const auto vocabulary = static_cast<std::int32_t>(program.vocabulary_size);
    const DataSet train = answered(made_up_data(20, 1, vocabulary), vocabulary),
                  test = answered(made_up_data(3, 2, vocabulary), vocabulary);
    const auto parameters = select_parameters(program, {"lm_head.weight"});
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    std::vector<std::vector<double>> grams;
    for (const Contraction contraction : {Contraction::factors, Contraction::multiply_out}) {
        const KernelInputs<double> inputs{{train,
                                           &test,
                                           KernelOutputs(KernelOutput::margin, 2),
                                           parameters,
                                           {formula_of(program, parameters, train, contraction)}},
                                          network};
        KernelMatrices matrices = empty_matrices(grid, 20, 3, 1);
        const AssemblyResult found =
            assemble<double>(inputs, matrices, [](const AssemblyProgress&) { return true; });
        const AssemblyCost cost = AssemblyShape::of<double>(program, {}, inputs)
                                      .cost(grid.rows(), grid.columns(), inputs.factor_bytes);
        EXPECT_EQ(cost.slices, contraction == Contraction::factors ? 3 : matrices.units_done);
        EXPECT_EQ(cost.received_bytes, max_over_ranks(grid.comm().get(), found.bytes_received));
        grams.push_back(gathered(matrices.formulas.front().gram));
    }
    double largest = 0;
    for (const double entry : grams[1]) largest = std::max(largest, std::abs(entry));
    EXPECT_GT(largest, 0);
    for (std::size_t i = 0; i < grams[0].size(); ++i) EXPECT_NEAR(grams[0][i], grams[1][i], 1e-12 * largest);
}

TEST(Assembly, OfDeepSlicesIsTheSumOverTheirParameters) {
    const nlohmann::json config = {{"model_type", "llama"},        {"vocab_size", 50},
                                   {"hidden_size", 288},           {"num_attention_heads", 2},
                                   {"num_hidden_layers", 1},       {"intermediate_size", 8},
                                   {"max_position_embeddings", 32}};
    EXPECT_GT(slice_depth_of(288, 20), 2 * arithmetic::slice_depth);
    const Program program = program_of(Config("config.json", config));
    Network<double> network(program, InitialWeights{.deviation = 0.1}, {3, 5});
    const DataSet train = made_up_data(20, 1, 50);
    const KernelOutputs margin(KernelOutput::margin, 2);
    const auto parameters = select_parameters(program, {"*.k_proj.weight", "*.o_proj.weight"});
    std::vector<KernelFormula> formulas;
    for (const Formula formula : {Formula::sgd, Formula::asymmetric_signgd})
        formulas.push_back(formula_of(program, parameters, train, Contraction::multiply_out, 0, formula));
    const KernelInputs<double> inputs{
        {train, nullptr, margin, parameters, formulas, 1e9, 0, 1, std::vector<std::size_t>{0, 0}}, network};
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    KernelMatrices matrices = empty_matrices(grid, 20, 0, parameters.size(), 2, 1);
    assemble<double>(inputs, matrices, [](const AssemblyProgress&) { return true; });

    std::vector<Index> examples(20);
    std::iota(examples.begin(), examples.end(), Index{0});
    const JacobianFactors<double> factors(network, train, examples, margin, parameters);
    std::vector<double> plain(400, 0.0), with_signs(400, 0.0);
    for (const ParameterId p : parameters) {
        const Index size = program.parameters()[p].size();
        std::vector<std::vector<double>> rows(20, std::vector<double>(static_cast<std::size_t>(size)));
        for (Index e = 0; e < 20; ++e)
            factors.multiply_out(p, 0, size, e, 0, rows[static_cast<std::size_t>(e)].data());
        for (std::size_t i = 0; i < 20; ++i)
            for (std::size_t j = 0; j < 20; ++j)
                for (std::size_t k = 0; k < rows[i].size(); ++k) {
                    const double sign = rows[j][k] > 0 ? 1 : rows[j][k] < 0 ? -1 : 0;
                    plain[i + 20 * j] += rows[i][k] * rows[j][k];
                    with_signs[i + 20 * j] += rows[i][k] * sign;
                }
    }
    for (const auto& [found, expected] : {std::pair{gathered(matrices.formulas[0].gram), plain},
                                          {gathered(matrices.formulas[0].groups[0]), plain},
                                          {gathered(matrices.formulas[1].gram), with_signs}}) {
        double largest = 0;
        for (const double entry : expected) largest = std::max(largest, std::abs(entry));
        // 10^5 terms in another order.
        for (std::size_t i = 0; i < 400; ++i) EXPECT_NEAR(found[i], expected[i], 1e-11 * largest);
    }
    double trace = 0;
    for (std::size_t i = 0; i < 20; ++i) trace += plain[21 * i];
    EXPECT_NEAR(matrices.formulas[0].trace(1), trace, 1e-11 * trace);
}

TEST(AssemblyCost, IsWhatTheAssemblyThenTakes) {
    for (const auto& [output, answers] : {std::pair{KernelOutput::margin, false},
                                          {KernelOutput::logits, false},
                                          {KernelOutput::trace, false},
                                          {KernelOutput::logits, true}}) {
        const Problem problem{
            .model = answers ? "llama-odd" : "llama-tied", .output = output, .test_examples = 300};
        const auto folder = test_data() / "models" / problem.model;
        Program program = program_of(Config(folder / "config.json", testing::Unrecorded()));
        if (answers) program.score_answers(true);
        Network<float> network(program, Weights(folder, testing::Unrecorded()), problem.labels);
        const auto parameters = select_parameters(network.program(), problem.parameters);
        DataSet train = made_up_data(problem.examples, 1, 50),
                test = made_up_data(problem.test_examples, 2, 50);
        for (DataSet* const data : {&train, &test})
            if (answers) *data = answered(*data, 50);
        const KernelOutputs outputs(output, 2);
        // One formula, and three with a matrix for every layer.
        std::vector<KernelFormula> formulas{formula_of(network.program(), parameters, train)};
        ParameterGroups groups;
        if (output == KernelOutput::trace) {
            for (const Formula formula : {Formula::signgd, Formula::asymmetric_signgd})
                formulas.push_back(formula_of(network.program(), parameters, train, {}, 0, formula));
            groups = group_parameters(network.program(), parameters, "layer");
        }
        for (const ProcessGrid& grid : all_grids()) {
            for (const double limit : {1e9, 1e5}) {
                const KernelInputs<float> inputs{
                    {train, &test, outputs, parameters, formulas, limit, 0, 1, groups.group_of}, network};
                KernelMatrices matrices = empty_matrices(grid, kernel_rows(train, outputs).back(),
                                                         kernel_rows(test, outputs).back(), parameters.size(),
                                                         formulas.size(), groups.names.size());
                const AssemblyResult found =
                    assemble<float>(inputs, matrices, [](const AssemblyProgress&) { return true; });
                const AssemblyCost cost =
                    AssemblyShape::of<float>(network.program(), network.label_ids(), inputs)
                        .cost(grid.rows(), grid.columns(), limit);
                EXPECT_EQ(cost.slices, matrices.units_done) << text(grid);
                const MPI_Comm comm = grid.comm().get();
                EXPECT_EQ(cost.received_bytes, max_over_ranks(comm, found.bytes_received)) << text(grid);
                EXPECT_EQ(cost.passes, found.passes) << text(grid);
                double flops = found.jacobian_flops;
                sum_over_ranks(comm, std::span(&flops, 1));
                EXPECT_DOUBLE_EQ(cost.pass_flops, flops) << text(grid);
                double products = found.product_flops;
                sum_over_ranks(comm, std::span(&products, 1));
                // The same numbers, added in another order.
                EXPECT_NEAR(products / cost.product_flops, 1, 1e-12) << text(grid);
                const double local = static_cast<double>(formulas.size()) *
                                         static_cast<double>(matrices.formulas[0].gram.local().size() +
                                                             matrices.formulas[0].cross->local().size()) +
                                     static_cast<double>(groups.names.size()) *
                                         static_cast<double>(matrices.formulas[0].gram.local().size());
                EXPECT_EQ(cost.matrix_bytes, 8 * max_over_ranks(comm, local)) << text(grid);
                EXPECT_TRUE(limit < 1e6 ? cost.passes > 1 : cost.passes == 1);
            }
        }
    }
}

TEST(Assembly, SameBitsInDoubleAndForSeveralRowsPerExample) {
    // 3 rows per example: a tile's rows are no multiple of 3, so examples straddle tiles.
    Problem problem{.model = "llama-odd", .output = KernelOutput::logits, .labels = {3, 8, 20}};
    problem.examples = 200;
    problem.test_examples = 90;
    const Whole expected = alone<double>(problem);
    for (const ProcessGrid& grid : all_grids()) {
        expect_same_bits(compute<double>(problem, grid), expected, text(grid));
    }
}

/// Two tasks in one kernel: the margin of labels 3 and 8, and the logits of 3, 8 and 20.
Whole two_tasks(const ProcessGrid& grid, Index first_examples, Index second_examples) {
    const auto folder = test_data() / "models" / "neo-odd";
    Network<float> network(program_of(Config(folder / "config.json", testing::Unrecorded())),
                           Weights(folder, testing::Unrecorded()), {3, 8, 3, 8, 20});
    KernelOutputs outputs;
    outputs.add(KernelOutput::margin, 2);
    outputs.add(KernelOutput::logits, 3);
    DataSet train, test;
    for (auto [data, n, m] :
         {std::tuple{&train, first_examples, second_examples}, std::tuple{&test, Index{5}, Index{7}}}) {
        const DataSet first = made_up_data(n, data == &train ? 1 : 3, 50),
                      second = made_up_data(m, data == &train ? 2 : 4, 50);
        for (const DataSet* part : {&first, &second})
            for (Index e = 0; e < part->examples(); ++e) {
                data->append(part->tokens(e), 0, e);
                data->tasks.push_back(part == &second ? 1 : 0);
            }
    }
    const auto parameters = select_parameters(network.program(), {"all"});
    EXPECT_EQ(kernel_rows(train, outputs).back(), first_examples + 3 * second_examples);
    KernelMatrices matrices = empty_matrices(grid, kernel_rows(train, outputs).back(),
                                             kernel_rows(test, outputs).back(), parameters.size());
    const AssemblyResult found = assemble<float>(
        {{train, &test, outputs, parameters, {formula_of(network.program(), parameters, train)}}, network},
        matrices, [](const AssemblyProgress&) { return true; });
    const FormulaMatrices& of = matrices.formulas[0];
    return {gathered(of.gram), gathered(*of.cross), of.test_diagonal,
            of.tile_traces,    found.train_outputs, {}};
}

TEST(Assembly, TasksOfDifferentRowsStandInOneKernel) {
    const Whole expected = two_tasks(ProcessGrid(MPI_COMM_SELF, 1, 1), 100, 70);
    for (const ProcessGrid& grid : all_grids())
        expect_same_bits(two_tasks(grid, 100, 70), expected, text(grid));
    // Each task's block is what the task alone gives, to the last bit.
    const Index rows = 100 + 3 * 70;
    for (const bool second : {false, true}) {
        Problem problem{.output = second ? KernelOutput::logits : KernelOutput::margin};
        if (second) problem.labels = {3, 8, 20};
        const Index first = second ? 100 : 0, count = second ? 210 : 100;
        const Whole single =
            compute<float>(problem, ProcessGrid(MPI_COMM_SELF, 1, 1),
                           made_up_data(second ? 70 : 100, second ? 2 : 1, 50), made_up_data(4, 5, 50));
        Index wrong = 0;
        for (Index i = 0; i < count; ++i)
            for (Index j = 0; j < count; ++j)
                if (!(expected.gram[static_cast<std::size_t>(first + i + (first + j) * rows)] ==
                      single.gram[static_cast<std::size_t>(i + j * count)]))
                    ++wrong;
        EXPECT_EQ(wrong, 0) << (second ? "logits" : "margin");
    }
    testing::expect_error(ExitStatus::study, ErrorKind::contradiction, {"trace", "margin"}, [] {
        KernelOutputs outputs(KernelOutput::margin, 2);
        outputs.add(KernelOutput::trace, 4);
    });
}

TEST(Assembly, AgreesWithTheJacobianMultipliedOutNaively) {
    Problem problem;
    problem.examples = 60;
    problem.test_examples = 9;
    for (const KernelOutput output : {KernelOutput::margin, KernelOutput::logits, KernelOutput::trace}) {
        problem.output = output;
        const Whole expected = naive(problem);
        const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
        // float64: sums of 10^4 products, sqrt(10^4) 2^-53 of the rows' norms and some slack.
        expect_close(compute<double>(problem, grid), expected, 1e-13);
        // float32 activations, gradients and products of depth 1024: as the gradients' own 2e-5.
        expect_close(compute<float>(problem, grid), expected, 2e-5);
    }
}

TEST(Assembly, SelectedKindsAddUpToTheWhole) {
    Problem problem;
    problem.examples = 50;
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const Whole whole = compute<double>(problem, grid);
    std::vector<double> sum(whole.gram.size(), 0.0);
    for (const char* kind : {"attention", "mlp", "norm", "embedding"}) {
        problem.parameters = {kind};
        const Whole part = compute<double>(problem, grid);
        for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += part.gram[i];
    }
    for (std::size_t i = 0; i < sum.size(); ++i)
        ASSERT_TRUE(std::abs(sum[i] - whole.gram[i]) <= 1e-12 * std::abs(whole.gram[0])) << i;
}

TEST(Assembly, IsExactlySymmetricAndPositiveOnTheDiagonal) {
    const Whole whole = compute<float>(Problem{}, ProcessGrid::most_square(MPI_COMM_WORLD));
    const Index n = 300;
    ASSERT_EQ(std::ssize(whole.gram), n * n);
    for (Index j = 0; j < n; ++j) {
        EXPECT_GT(whole.gram[static_cast<std::size_t>(j + j * n)], 0);
        for (Index i = 0; i < j; ++i)
            ASSERT_EQ(whole.gram[static_cast<std::size_t>(i + j * n)],
                      whole.gram[static_cast<std::size_t>(j + i * n)]);
    }
}

TEST(Assembly, FewerExamplesAreTheLeadingBlock) {
    // Each in tiles of another size.
    static_assert(arithmetic::tile_rows_of(1100) > arithmetic::tile_rows_of(300) &&
                  arithmetic::tile_rows_of(300) > arithmetic::tile_rows_of(123) &&
                  arithmetic::tile_rows_of(123) > arithmetic::tile_rows_of(43));
    Problem problem{.model = "llama-tied"};
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    problem.examples = 1100;
    const Whole larger = compute<float>(problem, grid);
    for (const std::size_t n : {300u, 123u, 43u}) {
        problem.examples = static_cast<Index>(n);
        const Whole smaller = compute<float>(problem, grid);
        Index wrong = 0;
        for (std::size_t j = 0; j < n; ++j)
            for (std::size_t i = 0; i < n; ++i)
                if (!(smaller.gram[i + j * n] == larger.gram[i + j * 1100])) ++wrong;
        EXPECT_EQ(wrong, 0) << n;
    }
}

TEST(Assembly, StoppedAndResumedOnAnotherGridGivesTheSameBits) {
    const Problem problem;
    const DataSet train = made_up_data(problem.examples, 1, 50),
                  test = made_up_data(problem.test_examples, 2, 50);
    const Whole expected = alone<float>(problem);
    const ProcessGrid last = ProcessGrid::most_square(MPI_COMM_WORLD);
    for (const ProcessGrid& grid : all_grids()) {
        for (const Index stop_after : {Index{1}, Index{7}})
            expect_same_bits(compute<float>(problem, grid, train, test, stop_after, &last), expected,
                             text(grid));
    }
}

TEST(Assembly, LeftWithinAPassItGoesOnWithTheSameBits) {
    Problem problem{
        .model = "llama-tied", .formulas = {Formula::sgd, Formula::asymmetric_signgd}, .groups = "kind"};
    const DataSet train = made_up_data(problem.examples, 1, 50),
                  test = made_up_data(problem.test_examples, 2, 50);
    const ProcessGrid alone(MPI_COMM_SELF, 1, 1);
    const std::vector<Whole> expected = compute_all<float>(problem, alone, train, test);
    problem.left_in_pass = true;
    problem.factor_bytes = 2e4;  // several passes on any number of ranks
    const ProcessGrid then = ProcessGrid::most_square(MPI_COMM_WORLD);
    for (const Index units : {0, 1, 5})
        for (const ProcessGrid& grid : all_grids()) {
            const std::vector<Whole> found = compute_all<float>(problem, grid, train, test, units, &then);
            for (std::size_t f = 0; f < found.size(); ++f)
                expect_same_bits(found[f], expected[f], text(grid));
        }
}

/// Bytes that this process has allocated and not given back (glibc; of other allocators nothing is known).
Index allocated_bytes() {
    const struct mallinfo2 found = mallinfo2();
    return static_cast<Index>(found.uordblks + found.hblkhd);
}

TEST(Assembly, OfManyInOneProcessNoneKeepsItsMemory) {
    if (world_size() != 2) return;  // where there are messages
    Problem problem;
    problem.examples = 40;
    problem.test_examples = 8;
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const Whole first = compute<float>(problem, grid);
    for (int i = 0; i < 5; ++i) compute<float>(problem, grid);  // MPI's own pools settle
    const Index before = allocated_bytes();
    constexpr Index times = 20;
    Whole last;
    for (Index i = 0; i < times; ++i) last = compute<float>(problem, grid);
    const auto kept = static_cast<Index>(8 * (last.gram.size() + last.cross.size()));  // by this test
    // A rank's half of a kernel of 40 rows is 6 kB, and what it is made of more.
    EXPECT_LT(allocated_bytes() - before, kept + times * 3000);
    expect_same_bits(last, first, "the last");
}

TEST(Assembly, NamesTheExampleAndTensorOfANonFiniteGradient) {
    const auto folder = test_data() / "models" / "neo-odd";
    Network<float> network(program_of(Config(folder / "config.json", testing::Unrecorded())),
                           Weights(folder, testing::Unrecorded()), {3, 8});
    const auto parameters = select_parameters(network.program(), {"mlp"});
    // Only token 49 meets the broken row of the table, and only example 17 holds token 49.
    DataSet train = made_up_data(30, 1, 49);
    train.token_ids[static_cast<std::size_t>(train.offsets[17])] = 49;
    const ParameterId table = 0;
    network.weights(table)[49 * 20] = INFINITY;
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    KernelMatrices matrices = empty_matrices(grid, 30, 0, parameters.size());
    bool thrown = false;
    try {
        assemble<float>({{train,
                          nullptr,
                          KernelOutputs(KernelOutput::margin, network.labels()),
                          parameters,
                          {formula_of(network.program(), parameters, train)}},
                         network},
                        matrices, [](const AssemblyProgress&) { return true; });
    } catch (const Error& e) {
        thrown = true;
        EXPECT_EQ(e.status(), ExitStatus::numerical);
        EXPECT_EQ(e.kind(), ErrorKind::non_finite);
        EXPECT_NE(std::string(e.what()).find("example 17"), std::string::npos) << e.what();
    }
    EXPECT_TRUE(thrown);  // on every rank
}

TEST(ComputedTiles, AreOneOfEveryPairAndAsManyOnEveryRank) {
    for (const Index tiles : {1, 2, 3, 8, 11, 16, 24})
        for (Index I = 0; I < tiles; ++I)
            for (Index J = 0; J <= I; ++J)
                EXPECT_EQ(static_cast<int>(is_computed(I, J, tiles)) +
                              static_cast<int>(I != J && is_computed(J, I, tiles)),
                          1);
    for (const Index tiles : {2, 8, 16, 24})
        for (const auto& [p, q] : {std::pair{1, 2}, std::pair{2, 1}, std::pair{2, 2}, std::pair{1, 4}}) {
            if (tiles % (p * q) != 0) continue;
            std::vector<double> work(static_cast<std::size_t>(p * q), 0.0);
            for (Index I = 0; I < tiles; ++I)
                for (Index J = 0; J < tiles; ++J)
                    if (is_computed(I, J, tiles))
                        work[static_cast<std::size_t>(I % p * q + J % q)] += I == J ? 0.5 : 1.0;
            const auto [least, most] = std::minmax_element(work.begin(), work.end());
            EXPECT_LE(*most - *least, 1.0) << tiles << " tiles on " << p << " x " << q;
        }
}

}  // namespace
}  // namespace tangram
