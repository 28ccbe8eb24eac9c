#include "mpi/gram/problem.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "support/model_fixture.hpp"
#include "support/unrecorded.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/parallel/collective_error.hpp"

namespace tangram::testing {

namespace {

/// The matrix in another place: as a checkpoint would carry it. Collective over the new grid; `all` on every
/// rank.
void fill(DistributedMatrix& matrix, const std::vector<double>& all) {
    for (Index j = 0; j < matrix.local_columns(); ++j)
        for (Index i = 0; i < matrix.local_rows(); ++i)
            matrix.data()[i + j * matrix.lld()] =
                all[static_cast<std::size_t>(matrix.global_row(i) + matrix.global_column(j) * matrix.rows())];
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

}  // namespace

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

DataSet answered(const DataSet& data, std::int32_t vocabulary) {
    DataSet out;
    for (Index e = 0; e < data.examples(); ++e) {
        std::vector<std::int32_t> ids;
        std::vector<Index> ends{0};
        for (Index a = 0; a < 2; ++a) {
            for (Index t = 0; t <= (e + a) % 3; ++t)
                ids.push_back(
                    static_cast<std::int32_t>((data.tokens(e).front() + 7 * a + 3 * t) % vocabulary));
            ends.push_back(std::ssize(ids));
        }
        out.append_from(data, e);
        out.append_answers(ids, ends);
    }
    return out;
}

DataSet reordered(const DataSet& data, const std::vector<Index>& order) {
    DataSet out;
    for (const Index e : order) out.append_from(data, e);
    return out;
}

namespace {

Program program_for(const Problem& problem, const std::filesystem::path& folder) {
    Program program = program_of(Config(folder / "config.json", testing::Unrecorded()));
    if (problem.answers) program.score_answers(false);
    return program;
}

template <class Real>
Network<Real> network_for(const Problem& problem) {
    const auto folder = test_data() / "models" / problem.model;
    Network<Real> network(program_for(problem, folder), Weights(folder, testing::Unrecorded()),
                          problem.answers ? std::vector<std::int32_t>() : problem.labels);
    if (problem.pass_back_end == nullptr) return network;
    return network.on([&](std::shared_ptr<const NetworkWeights<Real>> weights) {
        constexpr Index tokens_at_once = 100;
        return problem.pass_back_end->passes(std::move(weights), tokens_at_once);
    });
}

}  // namespace

std::vector<double> gathered(const DistributedMatrix& matrix) {
    std::vector<double> all = gather(matrix, 0);
    broadcast(matrix.grid().comm().get(), all, 0);
    return all;
}

KernelFormula formula_of(const Program& program, const std::vector<ParameterId>& parameters,
                         const DataSet& train, std::optional<Contraction> wanted, Index sketch,
                         Formula formula) {
    KernelFormula of{formula, choose_contractions(program, parameters, mean_tokens(train), sketch, formula)};
    for (ContractionChoice& choice : of.choices)
        if (wanted == Contraction::multiply_out ||
            (wanted == Contraction::factors && std::isfinite(choice.in_factors)) ||
            (wanted == Contraction::matching_rows && std::isfinite(choice.matching)))
            choice.chosen = *wanted;
    return of;
}

template <class Real>
std::vector<Whole> compute_all(const Problem& problem, const ProcessGrid& grid, const DataSet& train,
                               const DataSet& test, Index stop_after, const ProcessGrid* then_on) {
    Network<Real> network = network_for<Real>(problem);
    const Index labels = std::ssize(problem.labels);
    const auto parameters = select_parameters(network.program(), problem.parameters);
    std::vector<KernelFormula> formulas;
    for (const Formula formula : problem.formulas)
        formulas.push_back(
            formula_of(network.program(), parameters, train, problem.contraction, problem.sketch, formula));
    const ParameterGroups groups = group_parameters(network.program(), parameters, problem.groups);
    const KernelInputs<Real> inputs{
        {train, &test, KernelOutputs(problem.output, labels), parameters, formulas, problem.factor_bytes,
         problem.sketch, problem.sketch_seed, groups.group_of, problem.back_end},
        network};
    const Index per_example = shape(problem.output, labels).rows_per_example;
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
                    throw Error(ExitStatus::stopped, ErrorKind::stopped, "in a pass");
            });
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::stopped) throw;
        left = true;
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
        Whole& whole = all.emplace_back(Whole{gathered(found.gram), gathered(*found.cross),
                                              found.test_diagonal, found.tile_traces, outputs.train_outputs});
        whole.outputs.insert(whole.outputs.end(), outputs.test_outputs.begin(), outputs.test_outputs.end());
        for (const DistributedMatrix& group : found.groups) whole.groups.push_back(gathered(group));
    }
    return all;
}

namespace {

/// What products are made of, but for the network.
struct ProductsInputs {
    DataSet train;
    std::vector<ParameterId> parameters;

    ProductsInputs(const Problem& problem, const Program& program)
        : train(made_up_data(problem.examples, 1, problem.vocabulary)),
          parameters(select_parameters(program, problem.parameters)) {
        if (problem.answers) train = answered(train, problem.vocabulary);
    }
    KernelProblem kernel(const Problem& problem, const Program& program) const {
        return {train,
                nullptr,
                KernelOutputs(problem.output, std::ssize(problem.labels)),
                parameters,
                {formula_of(program, parameters, train, problem.contraction, problem.sketch,
                            problem.formulas.front())},
                problem.factor_bytes,
                problem.sketch,
                problem.sketch_seed};
    }
};

}  // namespace

template <class Real>
void with_operator(const Problem& problem, MPI_Comm comm,
                   const std::function<void(JacobianOperator<Real>&)>& work) {
    Network<Real> network = network_for<Real>(problem);
    const ProductsInputs of(problem, network.program());
    const KernelInputs<Real> inputs{of.kernel(problem, network.program()), network};
    JacobianOperator<Real> G(inputs, comm);
    work(G);
}

template <class Real>
Products products(const Problem& problem, MPI_Comm comm, Index vectors) {
    Products found;
    with_operator<Real>(problem, comm, [&](JacobianOperator<Real>& G) {
        found.X.resize(static_cast<std::size_t>(G.rows() * vectors));
        for (std::size_t i = 0; i < found.X.size(); ++i)
            found.X[i] = std::sin(1.7 * static_cast<double>(i) + 0.3);
        found.GX = G.product(found.X, vectors);
        found.squares = G.squares();
        EXPECT_TRUE(found.GX == G.product(found.X, vectors)) << "the same product twice";
    });
    return found;
}

OperatorCost planned_products(const Problem& problem, int ranks) {
    const Program program = program_for(problem, test_data() / "models" / problem.model);
    const ProductsInputs of(problem, program);
    return operator_cost<float>(program, of.kernel(problem, program), ranks);
}

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

namespace {

Whole naive_here(const Problem& problem, Formula formula) {
    Network<double> network = network_for<double>(problem);
    const Index labels = std::ssize(problem.labels);
    const Program program = network.program();
    const auto parameters = select_parameters(program, problem.parameters);
    const OutputShape rows = shape(problem.output, labels);
    const auto jacobian = [&](const DataSet& data) {
        std::vector<Index> examples(static_cast<std::size_t>(data.examples()));
        std::iota(examples.begin(), examples.end(), Index{0});
        const JacobianFactors<double> factors(network, data, examples, KernelOutputs(problem.output, labels),
                                              parameters);
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
    const auto data = [&](Index examples, std::uint64_t seed) {
        const DataSet plain = made_up_data(examples, seed, problem.vocabulary);
        return problem.answers ? answered(plain, problem.vocabulary) : plain;
    };
    const auto train = jacobian(data(problem.examples, 1)), test = jacobian(data(problem.test_examples, 2));
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

}  // namespace

Whole naive(const Problem& problem, Formula formula) {
    Whole whole = collectively(
        MPI_COMM_WORLD, [&] { return testing::world_rank() == 0 ? naive_here(problem, formula) : Whole{}; });
    for (std::vector<double>* const of : {&whole.gram, &whole.cross, &whole.test_diagonal})
        broadcast(MPI_COMM_WORLD, *of, 0);
    return whole;
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

template void with_operator<float>(const Problem&, MPI_Comm,
                                   const std::function<void(JacobianOperator<float>&)>&);
template void with_operator<double>(const Problem&, MPI_Comm,
                                    const std::function<void(JacobianOperator<double>&)>&);
template Products products<float>(const Problem&, MPI_Comm, Index);
template Products products<double>(const Problem&, MPI_Comm, Index);
template std::vector<Whole> compute_all<float>(const Problem&, const ProcessGrid&, const DataSet&,
                                               const DataSet&, Index, const ProcessGrid*);
template std::vector<Whole> compute_all<double>(const Problem&, const ProcessGrid&, const DataSet&,
                                                const DataSet&, Index, const ProcessGrid*);

}  // namespace tangram::testing
