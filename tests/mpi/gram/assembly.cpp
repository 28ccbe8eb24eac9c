#include "tangram/gram/assembly.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "support/expect_error.hpp"
#include "support/model_fixture.hpp"
#include "support/mpi_test.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/gram/assembly_cost.hpp"
#include "tangram/gram/sketch_error.hpp"
#include "tangram/jacobian/selection.hpp"

namespace tangram {
namespace {

using testing::test_data;

/// Examples of 1 to 18 tokens from a fixed linear congruential generator (Knuth's MMIX constants).
DataSet made_up_data(Index examples, std::uint64_t seed, std::int32_t vocabulary) {
    std::uint64_t state = seed;
    const auto draw = [&](std::uint64_t bound) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        return (state >> 33) % bound;
    };
    DataSet data;
    for (Index e = 0; e < examples; ++e) {
        std::vector<std::int32_t> tokens(
            1 + draw(vocabulary < 50 ? 16 : 18));  // the small ones have 16 positions
        for (std::int32_t& token : tokens)
            token = static_cast<std::int32_t>(draw(static_cast<std::uint64_t>(vocabulary)));
        data.append(tokens, 0, e);
    }
    return data;
}

DataSet reordered(const DataSet& data, const std::vector<Index>& order) {
    DataSet out;
    for (const Index e : order)
        out.append(data.tokens(e), data.labels[static_cast<std::size_t>(e)],
                   data.rows[static_cast<std::size_t>(e)]);
    return out;
}

/// Whole matrices, on every rank.
struct Whole {
    std::vector<double> gram, cross, test_diagonal, traces, outputs;
    std::vector<std::vector<double>> groups;
    bool operator==(const Whole&) const = default;
};

std::vector<double> gathered(const DistributedMatrix& matrix) {
    std::vector<double> all = gather(matrix, 0);
    broadcast(matrix.grid().comm().get(), all, 0);
    return all;
}

/// The matrix in another place: as a checkpoint would carry it. Collective over the new grid; `all` on every
/// rank.
void fill(DistributedMatrix& matrix, const std::vector<double>& all) {
    for (Index j = 0; j < matrix.local_columns(); ++j)
        for (Index i = 0; i < matrix.local_rows(); ++i)
            matrix.data()[i + j * matrix.lld()] =
                all[static_cast<std::size_t>(matrix.global_row(i) + matrix.global_column(j) * matrix.rows())];
}

struct Problem {
    const char* model = "neo-odd";
    KernelOutput output = KernelOutput::margin;
    std::vector<std::int32_t> labels{3, 8};
    std::vector<std::string> parameters{"all"};
    Index examples = 300, test_examples = 40;
    std::optional<Contraction> contraction = {};  ///< of every tensor that has it; else as chosen
    double factor_bytes = std::numeric_limits<double>::infinity();
    Index sketch = 0;
    std::uint64_t sketch_seed = 1;
    std::vector<Formula> formulas{Formula::sgd};
    std::string groups = "none";
    std::int32_t vocabulary = 50;
    bool left_in_pass = false;  ///< the stop comes on one rank within the first pass behind it
};

KernelFormula formula_of(const Program& program, const std::vector<ParameterId>& parameters,
                         const DataSet& train, std::optional<Contraction> wanted = {}, Index sketch = 0,
                         Formula formula = Formula::sgd) {
    KernelFormula of{formula, choose_contractions(program, parameters, mean_tokens(train), sketch, formula)};
    for (ContractionChoice& choice : of.choices)
        if (wanted == Contraction::multiply_out ||
            (wanted == Contraction::factors && std::isfinite(choice.in_factors)) ||
            (wanted == Contraction::matching_rows && std::isfinite(choice.matching)))
            choice.chosen = *wanted;
    return of;
}

/// Of every formula.
template <class Real>
std::vector<Whole> compute_all(const Problem& problem, const ProcessGrid& grid, const DataSet& train,
                               const DataSet& test, Index stop_after = -1,
                               const ProcessGrid* then_on = nullptr) {
    const auto folder = test_data() / "models" / problem.model;
    Network<Real> network(program_of(Config(folder / "config.json")), Weights(folder), problem.labels);
    const auto parameters = select_parameters(network.program(), problem.parameters);
    std::vector<KernelFormula> formulas;
    for (const Formula formula : problem.formulas)
        formulas.push_back(
            formula_of(network.program(), parameters, train, problem.contraction, problem.sketch, formula));
    const ParameterGroups groups = group_parameters(network.program(), parameters, problem.groups);
    const KernelInputs<Real> inputs{network,
                                    train,
                                    &test,
                                    KernelOutputs(problem.output, network.labels()),
                                    parameters,
                                    formulas,
                                    problem.factor_bytes,
                                    problem.sketch,
                                    problem.sketch_seed,
                                    groups.group_of};
    const Index per_example = shape(problem.output, network.labels()).rows_per_example;
    const auto empty = [&](const ProcessGrid& on) {
        return empty_matrices(on, train.examples() * per_example, test.examples() * per_example,
                              parameters.size(), formulas.size(), groups.names.size());
    };
    KernelMatrices matrices = empty(grid);
    Index calls = 0;
    AssemblyResult outputs;
    bool left = false;
    try {
        outputs = assemble<Real>(
            inputs, matrices,
            [&](const AssemblyProgress& at) {
                EXPECT_EQ(at.done, ++calls);
                EXPECT_LE(at.done, at.of);
                return problem.left_in_pass || at.done != stop_after;
            },
            [&](const AssemblyProgress& at) {
                EXPECT_LE(at.done, at.of);
                if (problem.left_in_pass && matrices.units_done >= stop_after && grid.comm().rank() == 0)
                    throw Error(ExitStatus::stopped, "in a pass");
            });
    } catch (const Error& e) {
        left = e.status() == ExitStatus::stopped;
        for (FormulaMatrices& of : matrices.formulas) {
            sum_over_ranks(grid.comm().get(), of.test_diagonal);
            sum_over_ranks(grid.comm().get(), of.tile_traces);
        }
    }
    EXPECT_EQ(left, problem.left_in_pass);
    if (then_on != nullptr) {
        if (!left) {
            EXPECT_EQ(matrices.units_done, stop_after);
        }
        KernelMatrices moved = empty(*then_on);
        for (std::size_t f = 0; f < formulas.size(); ++f) {
            FormulaMatrices &to = moved.formulas[f], &from = matrices.formulas[f];
            fill(to.gram, gathered(from.gram));
            fill(*to.cross, gathered(*from.cross));
            for (std::size_t g = 0; g < to.groups.size(); ++g) fill(to.groups[g], gathered(from.groups[g]));
            to.test_diagonal = from.test_diagonal;
            to.tile_traces = from.tile_traces;
        }
        moved.units_done = matrices.units_done;
        outputs = assemble<Real>(inputs, moved, [](const AssemblyProgress&) { return true; });
        matrices = std::move(moved);
    }
    std::vector<Whole> all;
    for (const FormulaMatrices& found : matrices.formulas) {
        Whole& whole = all.emplace_back(gathered(found.gram), gathered(*found.cross), found.test_diagonal,
                                        found.tile_traces, outputs.train_outputs);
        whole.outputs.insert(whole.outputs.end(), outputs.test_outputs.begin(), outputs.test_outputs.end());
        for (const DistributedMatrix& group : found.groups) whole.groups.push_back(gathered(group));
    }
    return all;
}

template <class Real>
Whole compute(const Problem& problem, const ProcessGrid& grid, const DataSet& train, const DataSet& test,
              Index stop_after = -1, const ProcessGrid* then_on = nullptr) {
    return compute_all<Real>(problem, grid, train, test, stop_after, then_on).front();
}

template <class Real>
Whole compute(const Problem& problem, const ProcessGrid& grid) {
    return compute<Real>(problem, grid, made_up_data(problem.examples, 1, problem.vocabulary),
                         made_up_data(problem.test_examples, 2, problem.vocabulary));
}

/// What one process alone computes: the reference of every grid.
template <class Real>
Whole alone(const Problem& problem) {
    return compute<Real>(problem, ProcessGrid(MPI_COMM_SELF, 1, 1));
}

template <class Visit>
void for_each_grid(Visit visit) {
    int size = 0;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int p = 1; p <= size; ++p)
        if (size % p == 0) visit(ProcessGrid(MPI_COMM_WORLD, p, size / p));
}

/// EXPECT on every rank that the two are the same bits.
void expect_same_bits(const Whole& found, const Whole& expected, const std::string& where) {
    const auto same = [](const std::vector<double>& a, const std::vector<double>& b) {
        return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
    };
    EXPECT_TRUE(same(found.gram, expected.gram)) << where;
    EXPECT_TRUE(same(found.cross, expected.cross)) << where;
    EXPECT_TRUE(same(found.test_diagonal, expected.test_diagonal)) << where;
    EXPECT_TRUE(same(found.traces, expected.traces)) << where;
    EXPECT_TRUE(same(found.outputs, expected.outputs)) << where;
    ASSERT_EQ(found.groups.size(), expected.groups.size()) << where;
    for (std::size_t g = 0; g < found.groups.size(); ++g)
        EXPECT_TRUE(same(found.groups[g], expected.groups[g])) << where << " group " << g;
}

std::string text(const ProcessGrid& grid) {
    return std::to_string(grid.rows()) + " x " + std::to_string(grid.columns());
}

/// G and the cross Gram from gradients multiplied out whole and products in long double: no tiles, no slices,
/// no BLAS. Signs are taken of the whole gradients, as the formula has it.
Whole naive(const Problem& problem, Formula formula = Formula::sgd) {
    const auto folder = test_data() / "models" / problem.model;
    Network<double> network(program_of(Config(folder / "config.json")), Weights(folder), problem.labels);
    const Program program = network.program();
    const auto parameters = select_parameters(program, problem.parameters);
    const OutputShape rows = shape(problem.output, network.labels());
    const auto jacobian = [&](const DataSet& data) {
        std::vector<Index> examples(static_cast<std::size_t>(data.examples()));
        std::iota(examples.begin(), examples.end(), Index{0});
        const JacobianFactors<double> factors(network, data, examples,
                                              KernelOutputs(problem.output, network.labels()), parameters);
        std::vector<std::vector<double>> J;
        for (Index e = 0; e < data.examples(); ++e)
            for (Index r = 0; r < rows.rows_per_example; ++r) {
                J.emplace_back();
                for (Index c = 0; c < rows.components; ++c)
                    for (const ParameterId p : parameters) {
                        const Index size = program.parameters()[p].size();
                        std::vector<double> g(static_cast<std::size_t>(size));
                        factors.multiply_out(p, 0, size, e, r * rows.components + c, g.data());
                        J.back().insert(J.back().end(), g.begin(), g.end());
                    }
            }
        return J;
    };
    const auto train = jacobian(made_up_data(problem.examples, 1, problem.vocabulary));
    const auto test = jacobian(made_up_data(problem.test_examples, 2, problem.vocabulary));
    const auto signs_of = [&](auto J) {
        for (auto& row : J)
            for (double& entry : row)
                entry = (entry > 0   ? 1
                         : entry < 0 ? -1
                                     : 0) /
                        std::sqrt(static_cast<double>(rows.components));
        return J;
    };
    const auto left = [&](const auto& J) { return formula == Formula::signgd ? signs_of(J) : J; };
    const auto right = [&](const auto& J) { return formula == Formula::sgd ? J : signs_of(J); };
    const auto product = [](const auto& A, const auto& B) {
        std::vector<double> out(A.size() * B.size());
        for (std::size_t j = 0; j < B.size(); ++j)
            for (std::size_t i = 0; i < A.size(); ++i) {
                long double sum = 0;
                for (std::size_t k = 0; k < A[i].size(); ++k)
                    sum += static_cast<long double>(A[i][k]) * B[j][k];
                out[i + j * A.size()] = static_cast<double>(sum);
            }
        return out;
    };
    Whole whole;
    whole.gram = product(left(train), right(train));
    whole.cross = product(left(test), right(train));
    const auto squares = product(left(test), right(test));
    for (std::size_t i = 0; i < test.size(); ++i) whole.test_diagonal.push_back(squares[i + i * test.size()]);
    return whole;
}

/// max |a_ij - b_ij| / sqrt(G_ii G_jj); a NaN counts as infinite.
double scaled_error(const std::vector<double>& a, const std::vector<double>& b,
                    const std::vector<double>& row_squares, const std::vector<double>& column_squares) {
    double worst = 0;
    const std::size_t m = row_squares.size();
    for (std::size_t j = 0; j < column_squares.size(); ++j)
        for (std::size_t i = 0; i < m; ++i) {
            if (a[i + j * m] == b[i + j * m]) continue;  // also where a row's gradient is zero
            const double error =
                std::abs(a[i + j * m] - b[i + j * m]) / std::sqrt(row_squares[i] * column_squares[j]);
            worst = std::isnan(error) ? INFINITY : std::max(worst, error);
        }
    return worst;
}

void expect_close(const Whole& found, const Whole& expected, double tolerance) {
    const std::size_t n = expected.gram.size() / (expected.cross.size() / expected.test_diagonal.size());
    std::vector<double> squares(n);
    for (std::size_t i = 0; i < n; ++i) squares[i] = expected.gram[i + i * n];
    ASSERT_EQ(found.gram.size(), n * n);
    EXPECT_TRUE(scaled_error(found.gram, expected.gram, squares, squares) <= tolerance);
    EXPECT_TRUE(scaled_error(found.cross, expected.cross, expected.test_diagonal, squares) <= tolerance);
    for (std::size_t i = 0; i < expected.test_diagonal.size(); ++i)
        EXPECT_TRUE(std::abs(found.test_diagonal[i] - expected.test_diagonal[i]) <=
                    tolerance * expected.test_diagonal[i]);
    double trace = 0;
    for (const double square : squares) trace += square;
    // The last parameter's tiles hold the whole trace.
    const auto block = static_cast<std::size_t>(arithmetic::tile_rows_of(static_cast<Index>(n)));
    const std::size_t tiles = (n + block - 1) / block;
    const double found_trace =
        std::accumulate(found.traces.end() - static_cast<Index>(tiles), found.traces.end(), 0.0);
    EXPECT_TRUE(std::abs(found_trace - trace) <= tolerance * trace);
}

TEST(Assembly, SameBitsOnEveryGrid) {
    // 300 rows are three tiles, the last one ragged; more ranks than tiles leave some without any.
    const Problem problem;
    const Whole expected = alone<float>(problem);
    for_each_grid([&](const ProcessGrid& grid) {
        expect_same_bits(compute<float>(problem, grid), expected, text(grid));
    });
}

TEST(Assembly, ContractionsAgreeOnEveryTensor) {
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
        const Program program = program_of(Config(folder / "config.json"));
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
        for_each_grid([&](const ProcessGrid& grid) {
            expect_same_bits(compute<float>(problem, grid), expected, text(grid) + " " + name(contraction));
        });
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

TEST(AssemblyCost, IsWhatTheAssemblyThenTakes) {
    for (const KernelOutput output : {KernelOutput::margin, KernelOutput::logits, KernelOutput::trace}) {
        const Problem problem{.model = "llama-tied", .output = output, .test_examples = 300};
        const auto folder = test_data() / "models" / problem.model;
        Network<float> network(program_of(Config(folder / "config.json")), Weights(folder), problem.labels);
        const auto parameters = select_parameters(network.program(), problem.parameters);
        const DataSet train = made_up_data(problem.examples, 1, 50),
                      test = made_up_data(problem.test_examples, 2, 50);
        const KernelOutputs outputs(output, 2);
        // One formula, and three with a matrix for every layer.
        std::vector<KernelFormula> formulas{formula_of(network.program(), parameters, train)};
        ParameterGroups groups;
        if (output == KernelOutput::trace) {
            for (const Formula formula : {Formula::signgd, Formula::asymmetric_signgd})
                formulas.push_back(formula_of(network.program(), parameters, train, {}, 0, formula));
            groups = group_parameters(network.program(), parameters, "layer");
        }
        for_each_grid([&](const ProcessGrid& grid) {
            for (const double limit : {1e9, 1e5}) {
                const KernelInputs<float> inputs{network,  train, &test, outputs, parameters,
                                                 formulas, limit, 0,     1,       groups.group_of};
                KernelMatrices matrices = empty_matrices(grid, kernel_rows(train, outputs).back(),
                                                         kernel_rows(test, outputs).back(), parameters.size(),
                                                         formulas.size(), groups.names.size());
                const AssemblyResult found =
                    assemble<float>(inputs, matrices, [](const AssemblyProgress&) { return true; });
                const AssemblyCost cost = assembly_cost<float>(
                    network.program(), network.label_ids(), train, &test, outputs, parameters, formulas,
                    grid.rows(), grid.columns(), limit, 0, groups.names.size());
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
        });
    }
}

TEST(Sketch, SameBitsOnEveryGridInEveryGroupingAndAfterAStop) {
    for (const Index sketch : {Index{30}, Index{400}, Index{1000}}) {
        Problem problem{.sketch = sketch};
        const Whole expected = alone<float>(problem);
        for_each_grid([&](const ProcessGrid& grid) {
            expect_same_bits(compute<float>(problem, grid), expected, text(grid));
        });
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
    Network<double> network(program_of(Config(folder / "config.json")), Weights(folder), problem.labels);
    const auto parameters = select_parameters(network.program(), problem.parameters);
    const DataSet train = made_up_data(problem.examples, 1, 50);
    const std::vector<Index> examples{3, 4, 50, 99};
    for_each_grid([&](const ProcessGrid& grid) {
        const KernelInputs<double> inputs{
            network,
            train,
            nullptr,
            KernelOutputs(problem.output, 3),
            parameters,
            {formula_of(network.program(), parameters, train, std::nullopt, problem.sketch)},
            problem.factor_bytes,
            problem.sketch};
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
    });
}

TEST(Assembly, SameBitsInDoubleAndForSeveralRowsPerExample) {
    // 3 rows per example: a tile's rows are no multiple of 3, so examples straddle tiles.
    Problem problem{.model = "llama-odd", .output = KernelOutput::logits, .labels = {3, 8, 20}};
    problem.examples = 200;
    problem.test_examples = 90;
    const Whole expected = alone<double>(problem);
    for_each_grid([&](const ProcessGrid& grid) {
        expect_same_bits(compute<double>(problem, grid), expected, text(grid));
    });
}

/// Two tasks in one kernel: the margin of labels 3 and 8, and the logits of 3, 8 and 20.
Whole two_tasks(const ProcessGrid& grid, Index first_examples, Index second_examples) {
    const auto folder = test_data() / "models" / "neo-odd";
    Network<float> network(program_of(Config(folder / "config.json")), Weights(folder), {3, 8, 3, 8, 20});
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
        {network, train, &test, outputs, parameters, {formula_of(network.program(), parameters, train)}},
        matrices, [](const AssemblyProgress&) { return true; });
    const FormulaMatrices& of = matrices.formulas[0];
    return {gathered(of.gram), gathered(*of.cross), of.test_diagonal,
            of.tile_traces,    found.train_outputs, {}};
}

TEST(Assembly, TasksOfDifferentRowsStandInOneKernel) {
    const Whole expected = two_tasks(ProcessGrid(MPI_COMM_SELF, 1, 1), 100, 70);
    for_each_grid(
        [&](const ProcessGrid& grid) { expect_same_bits(two_tasks(grid, 100, 70), expected, text(grid)); });
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
    testing::expect_error(ExitStatus::study, {"trace", "margin"}, [] {
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

TEST(Formulas, AgreeWithTheSignsOfTheJacobianMultipliedOutNaively) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    for (const char* model : {"neo-odd", "llama-tied", "gpt2-odd"})
        for (const KernelOutput output : {KernelOutput::margin, KernelOutput::trace}) {
            Problem problem{.model = model, .output = output};
            problem.examples = 60;
            problem.test_examples = 9;
            if (std::string(model) == "gpt2-odd") problem.vocabulary = 23;
            problem.formulas = {Formula::sgd, Formula::signgd, Formula::asymmetric_signgd};
            const std::vector<Whole> found =
                compute_all<double>(problem, grid, made_up_data(60, 1, problem.vocabulary),
                                    made_up_data(9, 2, problem.vocabulary));
            ASSERT_EQ(found.size(), 3u);
            for (std::size_t f = 0; f < 3; ++f) {
                SCOPED_TRACE(std::string(model) + " " + name(output) + " " + name(problem.formulas[f]));
                // As for sgd; the same gradients in both, so no sign differs.
                expect_close(found[f], naive(problem, problem.formulas[f]), 1e-13);
            }
        }
}

TEST(Formulas, TogetherHaveTheBitsOfEachAloneOnEveryGridAndAfterAStop) {
    Problem all{.model = "llama-tied"};
    all.formulas = {Formula::signgd, Formula::sgd, Formula::asymmetric_signgd};
    const DataSet train = made_up_data(all.examples, 1, 50), test = made_up_data(all.test_examples, 2, 50);
    const ProcessGrid alone_grid(MPI_COMM_SELF, 1, 1), last = ProcessGrid::most_square(MPI_COMM_WORLD);
    std::vector<Whole> expected;
    for (const Formula formula : all.formulas) {
        Problem one = all;
        one.formulas = {formula};
        expected.push_back(compute<float>(one, alone_grid, train, test));
    }
    const auto compare = [&](const std::vector<Whole>& found, const std::string& where) {
        for (std::size_t f = 0; f < expected.size(); ++f)
            expect_same_bits(found[f], expected[f], where + " " + name(all.formulas[f]));
    };
    for_each_grid([&](const ProcessGrid& grid) {
        compare(compute_all<float>(all, grid, train, test), text(grid));
        compare(compute_all<float>(all, grid, train, test, 5, &last), text(grid) + " stopped");
    });
    all.factor_bytes = 1e5;
    compare(compute_all<float>(all, last, train, test), "in groups of parameters");
    // Only the asymmetric one is not symmetric.
    const auto asymmetry = [&](const std::vector<double>& G) {
        double most = 0;
        for (Index i = 0; i < all.examples; ++i)
            for (Index j = 0; j < i; ++j)
                most = std::max(most, std::abs(G[static_cast<std::size_t>(i + j * all.examples)] -
                                               G[static_cast<std::size_t>(j + i * all.examples)]));
        return most;
    };
    EXPECT_EQ(asymmetry(expected[0].gram), 0);
    EXPECT_EQ(asymmetry(expected[1].gram), 0);
    EXPECT_GT(asymmetry(expected[2].gram), 0.01);
}

TEST(Groups, KeptApartTheyAddUpToTheWholeWhoseBitsStay) {
    for (const char* by : {"kind", "layer"}) {
        Problem problem{.model = "neo-odd"};
        const Whole whole = alone<float>(problem);
        problem.groups = by;
        const Whole apart = alone<float>(problem);
        EXPECT_GE(apart.groups.size(), 4u) << by;
        std::vector<double> sum(whole.gram.size(), 0.0);
        for (const auto& group : apart.groups)
            for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += group[i];
        double most = 0;
        for (std::size_t i = 0; i < sum.size(); ++i)
            most = std::max(most, std::abs(sum[i] - whole.gram[i]) / whole.gram[0]);
        EXPECT_TRUE(most <= 1e-13) << by << " " << most;  // float64 sums of some hundred pieces
        for_each_grid([&](const ProcessGrid& grid) {
            const Whole found = compute<float>(problem, grid);
            expect_same_bits(found, apart, text(grid) + " " + by);
            Whole without = found;
            without.groups.clear();
            expect_same_bits(without, whole, text(grid) + " whole");
        });
        const ProcessGrid last = ProcessGrid::most_square(MPI_COMM_WORLD);
        expect_same_bits(compute<float>(problem, last, made_up_data(problem.examples, 1, 50),
                                        made_up_data(problem.test_examples, 2, 50), 3, &last),
                         apart, "stopped");
    }
    // A group is what its tensors alone give, to the last bit.
    Problem problem{.model = "neo-odd", .groups = "kind"};
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const Whole apart = compute<float>(problem, grid);
    const auto folder = test_data() / "models" / problem.model;
    const Program program = program_of(Config(folder / "config.json"));
    const ParameterGroups groups =
        group_parameters(program, select_parameters(program, {"all"}), problem.groups);
    problem.groups = "none";
    for (std::size_t g = 0; g < groups.names.size(); ++g) {
        problem.parameters = {groups.names[g]};
        EXPECT_EQ(compute<float>(problem, grid).gram, apart.groups[g]) << groups.names[g];
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

TEST(Assembly, ReorderedExamplesReorderTheBits) {
    const Problem problem;
    const DataSet train = made_up_data(problem.examples, 1, 50),
                  test = made_up_data(problem.test_examples, 2, 50);
    std::vector<Index> order(static_cast<std::size_t>(problem.examples));
    for (std::size_t i = 0; i < order.size(); ++i)
        order[i] = static_cast<Index>((i * 77 + 5) % order.size());  // 77 and 300 have no common divisor
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const Whole plain = compute<float>(problem, grid, train, test);
    const Whole moved = compute<float>(problem, grid, reordered(train, order), test);
    const std::size_t n = order.size();
    for (std::size_t j = 0; j < n; ++j)
        for (std::size_t i = 0; i < n; ++i)
            ASSERT_EQ(
                moved.gram[i + j * n],
                plain.gram[static_cast<std::size_t>(order[i]) + static_cast<std::size_t>(order[j]) * n]);
}

TEST(Assembly, FewerExamplesAreTheLeadingBlock) {
    // 1100 rows stand in large tiles, 300 and 123 in small ones.
    static_assert(arithmetic::tile_rows_of(1100) != arithmetic::tile_rows_of(300));
    Problem problem{.model = "llama-tied"};
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    problem.examples = 1100;
    const Whole larger = compute<float>(problem, grid);
    for (const std::size_t n : {300u, 123u}) {
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
    for_each_grid([&](const ProcessGrid& grid) {
        for (const Index stop_after : {Index{1}, Index{7}})
            expect_same_bits(compute<float>(problem, grid, train, test, stop_after, &last), expected,
                             text(grid));
    });
}

TEST(Assembly, LeftWithinAPassItGoesOnWithTheSameBits) {
    Problem problem{.model = "llama-tied",
                    .formulas = {Formula::sgd, Formula::asymmetric_signgd},
                    .groups = "kind"};
    const DataSet train = made_up_data(problem.examples, 1, 50),
                  test = made_up_data(problem.test_examples, 2, 50);
    const ProcessGrid alone(MPI_COMM_SELF, 1, 1);
    const std::vector<Whole> expected = compute_all<float>(problem, alone, train, test);
    problem.left_in_pass = true;
    problem.factor_bytes = 1e5;  // several passes
    const ProcessGrid then = ProcessGrid::most_square(MPI_COMM_WORLD);
    for (const Index units : {0, 1, 5})
        for_each_grid([&](const ProcessGrid& grid) {
            const std::vector<Whole> found = compute_all<float>(problem, grid, train, test, units, &then);
            for (std::size_t f = 0; f < found.size(); ++f) expect_same_bits(found[f], expected[f], text(grid));
        });
}

TEST(Assembly, TwoHundredInOneProcessKeepMemoryFlat) {
    Problem problem;
    problem.examples = 40;
    problem.test_examples = 8;
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const Whole first = compute<float>(problem, grid);
    for (int i = 0; i < 20; ++i) compute<float>(problem, grid);
    const Index before = testing::resident_bytes();
    Whole last;
    for (int i = 0; i < 200; ++i) last = compute<float>(problem, grid);
    // A kernel of 40 rows is 13 kB and its factors some MB: an assembly that kept either would show. MPI's own pools settle.
    EXPECT_LT(testing::resident_bytes() - before, Index{8} << 20);
    expect_same_bits(last, first, "the 200th");
}

TEST(Assembly, NamesTheExampleAndTensorOfANonFiniteGradient) {
    const auto folder = test_data() / "models" / "neo-odd";
    Network<float> network(program_of(Config(folder / "config.json")), Weights(folder), {3, 8});
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
        assemble<float>({network,
                         train,
                         nullptr,
                         KernelOutputs(KernelOutput::margin, network.labels()),
                         parameters,
                         {formula_of(network.program(), parameters, train)}},
                        matrices, [](const AssemblyProgress&) { return true; });
    } catch (const Error& e) {
        thrown = true;
        EXPECT_EQ(e.status(), ExitStatus::numerical);
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
