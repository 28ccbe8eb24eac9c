#include "tangram/training/linearised_model.hpp"

#include "tangram/parallel/communicator.hpp"

namespace tangram {

namespace {

/// f - A a for all rows of A. Collective over its grid.
std::vector<double> behind(const DistributedMatrix& A, const std::vector<double>& a,
                           const std::vector<double>& f) {
    const MPI_Comm comm = A.grid().comm().get();
    std::vector<double> products = collectively(comm, [&] {
        std::vector<double> own(static_cast<std::size_t>(A.local_rows()), 0.0), all(f.size(), 0.0);
        for (Index j = 0; j < A.columns(); ++j) {
            const double factor = a[static_cast<std::size_t>(j)];
            if (factor == 0) continue;
            const double* const column = A.data() + j * A.lld();
            for (std::size_t i = 0; i < own.size(); ++i) own[i] += column[i] * factor;
        }
        for (Index i = 0; i < A.local_rows(); ++i)
            all[static_cast<std::size_t>(A.global_row(i))] = own[static_cast<std::size_t>(i)];
        return all;
    });
    // One rank's number and zeros: exact.
    sum_over_ranks(comm, products);
    for (std::size_t i = 0; i < f.size(); ++i) products[i] = f[i] - products[i];
    return products;
}

}  // namespace

LinearisedModel::LinearisedModel(const LinearisedProblem& problem, const OptimizerSettings& settings)
    : problem_(&problem), settings_(settings) {
    state_.coefficients.assign(problem.initial.size(), 0.0);
    if (settings.momentum != 0) state_.velocity.assign(problem.initial.size(), 0.0);
}

bool LinearisedModel::follows(const OptimizerSettings& settings, Index rows_of_batch) {
    if (settings.rule == Rule::signgd) return rows_of_batch == 1;
    return settings.rule != Rule::adamw && settings.weight_decay == 0;
}

/// Outputs of some training rows: the bits that outputs() has. Collective.
std::vector<double> LinearisedModel::outputs_of(std::span<const Index> rows) const {
    const DistributedMatrix& G = problem_->gram;
    const MPI_Comm comm = G.grid().comm().get();
    std::vector<double> products = collectively(comm, [&] {
        std::vector<double> all(rows.size(), 0.0);
        for (std::size_t r = 0; r < rows.size(); ++r) {
            if (G.row_layout().owner(rows[r]) != G.grid().row()) continue;
            const double* const row = G.data() + G.row_layout().to_local(rows[r]);
            double sum = 0;
            for (Index j = 0; j < G.columns(); ++j)
                if (const double factor = state_.coefficients[static_cast<std::size_t>(j)]; factor != 0)
                    sum += row[j * G.lld()] * factor;
            all[r] = sum;
        }
        return all;
    });
    sum_over_ranks(comm, products);
    for (std::size_t r = 0; r < rows.size(); ++r)
        products[r] = problem_->initial[static_cast<std::size_t>(rows[r])] - products[r];
    return products;
}

std::vector<double> LinearisedModel::outputs() const {
    return behind(problem_->gram, state_.coefficients, problem_->initial);
}

std::vector<double> LinearisedModel::test_outputs() const {
    return problem_->cross == nullptr ? std::vector<double>{}
                                      : behind(*problem_->cross, state_.coefficients, problem_->initial_test);
}

void LinearisedModel::step(std::span<const Index> batch) {
    const MPI_Comm comm = problem_->gram.grid().comm().get();
    const Index per_example = problem_->targets.rows(), all = std::ssize(problem_->initial);
    const std::vector<Index> rows = collectively(comm, [&] {
        std::vector<Index> of_batch;
        for (const Index example : batch)
            for (Index r = 0; r < per_example; ++r) of_batch.push_back(example * per_example + r);
        return of_batch;
    });
    // Of most rows all products at once are faster.
    const bool whole = 8 * std::ssize(rows) >= all;
    const std::vector<double> f = whole ? outputs() : outputs_of(rows);
    collectively(comm, [&] {
        std::vector<double> own(static_cast<std::size_t>(per_example)), slopes(own);
        const double rate = settings_.rate(state_.done);
        for (double& v : state_.velocity) v *= settings_.momentum;
        for (std::size_t e = 0; e < batch.size(); ++e) {
            const std::size_t first = e * own.size();
            for (std::size_t r = 0; r < own.size(); ++r)
                own[r] = f[whole ? static_cast<std::size_t>(rows[first + r]) : first + r];
            loss_of_example(problem_->loss, problem_->targets, batch[e], own, slopes);
            for (std::size_t r = 0; r < own.size(); ++r)
                add_slope(static_cast<std::size_t>(rows[first + r]),
                          slopes[r] / static_cast<double>(batch.size()), rate);
        }
        for (std::size_t i = 0; i < state_.velocity.size(); ++i)
            state_.coefficients[i] += rate * state_.velocity[i];
        ++state_.done;
    });
}

/// What a row's slope adds to its coefficient, or to its velocity. Local.
void LinearisedModel::add_slope(std::size_t row, double slope, double rate) {
    if (settings_.rule == Rule::signgd) slope = static_cast<double>((slope > 0) - (slope < 0));
    if (state_.velocity.empty())
        state_.coefficients[row] += rate * slope;
    else
        state_.velocity[row] += slope;
}

}  // namespace tangram
