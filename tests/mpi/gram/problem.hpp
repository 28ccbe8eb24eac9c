#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "support/mpi_test.hpp"
#include "tangram/gram/assembly.hpp"
#include "tangram/gram/jacobian_operator.hpp"
#include "tangram/jacobian/selection.hpp"
#include "tangram/model/pass_back_end.hpp"

/// Kernels of small models of odd shapes on made-up texts, and what they are compared with.
namespace tangram::testing {

/// Examples of 1 to 18 tokens from a fixed linear congruential generator (Knuth's MMIX constants).
DataSet made_up_data(Index examples, std::uint64_t seed, std::int32_t vocabulary);

/// The same examples with two answers each, of one to three tokens that follow from the example's.
DataSet answered(const DataSet& data, std::int32_t vocabulary);

DataSet reordered(const DataSet& data, const std::vector<Index>& order);

/// Whole matrices, on every rank.
struct Whole {
    std::vector<double> gram, cross, test_diagonal, traces, outputs;
    std::vector<std::vector<double>> groups = {};
    bool operator==(const Whole&) const = default;
};

/// The whole matrix on every rank. Collective over its grid.
std::vector<double> gathered(const DistributedMatrix& matrix);

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
    bool answers = false;       ///< scores answers() in place of the labels' logits
    bool left_in_pass = false;  ///< the stop comes on one rank within the first pass behind it
    ProductBackEnd* back_end = nullptr;
    PassBackEnd* pass_back_end = nullptr;  ///< nullptr: this machine's cores
};

KernelFormula formula_of(const Program& program, const std::vector<ParameterId>& parameters,
                         const DataSet& train, std::optional<Contraction> wanted = {}, Index sketch = 0,
                         Formula formula = Formula::sgd);

/// Of every formula.
/// @param stop_after  slices, after which what there is goes on on another grid, as a checkpoint would carry
/// it
template <class Real>
std::vector<Whole> compute_all(const Problem& problem, const ProcessGrid& grid, const DataSet& train,
                               const DataSet& test, Index stop_after = -1,
                               const ProcessGrid* then_on = nullptr);

/// Of the first formula.
template <class Real>
Whole compute(const Problem& problem, const ProcessGrid& grid, const DataSet& train, const DataSet& test,
              Index stop_after = -1, const ProcessGrid* then_on = nullptr) {
    return compute_all<Real>(problem, grid, train, test, stop_after, then_on).front();
}

template <class Real>
Whole compute(const Problem& problem, const ProcessGrid& grid) {
    const DataSet train = made_up_data(problem.examples, 1, problem.vocabulary),
                  test = made_up_data(problem.test_examples, 2, problem.vocabulary);
    if (!problem.answers) return compute<Real>(problem, grid, train, test);
    return compute<Real>(problem, grid, answered(train, problem.vocabulary),
                         answered(test, problem.vocabulary));
}

/// What one process alone computes: the reference of every grid.
template <class Real>
Whole alone(const Problem& problem) {
    return compute<Real>(problem, ProcessGrid(MPI_COMM_SELF, 1, 1));
}

/// work(J J^T) of the first formula, without test examples. Collective over comm.
template <class Real>
void with_operator(const Problem& problem, MPI_Comm comm,
                   const std::function<void(JacobianOperator<Real>&)>& work);

/// The products of J J^T with some made-up vectors X (N x vectors, row-major), and its squares.
struct Products {
    std::vector<double> X, GX;
    JacobianSquares squares;
};
/// As with_operator().
template <class Real>
Products products(const Problem& problem, MPI_Comm comm, Index vectors);
/// What operator_cost() says of them in float32.
OperatorCost planned_products(const Problem& problem, int ranks);

/// EXPECT on every rank that the two are the same bits.
void expect_same_bits(const Whole& found, const Whole& expected, const std::string& where);

std::string text(const ProcessGrid& grid);

/// G and the cross Gram from gradients multiplied out whole and products in long double: no tiles, no slices,
/// no BLAS. Signs are taken of the whole gradients, as the formula has it. Collective; the first rank computes.
Whole naive(const Problem& problem, Formula formula = Formula::sgd);

/// Entries to `tolerance` of their rows' norms, the trace to as much of itself.
void expect_close(const Whole& found, const Whole& expected, double tolerance);

}  // namespace tangram::testing
