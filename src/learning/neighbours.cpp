#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <span>

#include "tangram/learning/kernel_rates.hpp"
#include "tangram/not_known.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/parallel/rank_groups.hpp"
#include "tangram/rates/local_regression.hpp"

namespace tangram {

namespace {

/// k(x, x) of examples: the trace over an example's rows.
std::vector<double> example_norms(const Targets& targets, const std::vector<double>& diagonal) {
    std::vector<double> squares;
    for (Index e = 0; e < targets.examples(); ++e) {
        double sum = 0;
        for (Index row = targets.first_row(e); row < targets.first_row(e + 1); ++row)
            sum += std::max(0.0, diagonal[static_cast<std::size_t>(row)]);
        squares.push_back(sum);
    }
    return squares;
}

/// Collective.
std::vector<double> diagonal_of(const DistributedMatrix& G) {
    const MPI_Comm comm = G.grid().comm().get();
    std::vector<double> entries =
        collectively(comm, [&] { return std::vector<double>(static_cast<std::size_t>(G.rows()), 0.0); });
    for (Index j = 0; j < G.local_columns(); ++j)
        for (Index i = 0; i < G.local_rows(); ++i)
            if (G.global_row(i) == G.global_column(j))
                entries[static_cast<std::size_t>(G.global_column(j))] = G.data()[i + j * G.lld()];
    sum_over_ranks(comm, entries);
    return entries;
}

/// One test example per rank and round: its row of the cross Gram matrix first, then the Gram matrix of its
/// nearest.
class Neighbourhoods {
  public:
    /// Collective, as all members that do not say that they are local.
    Neighbourhoods(const RatesInput& input, const KernelRegression& regression, Index largest, double ridge)
        : input_(input),
          regression_(regression),
          train_(*input.train),
          test_(*input.test),
          largest_(largest),
          ridge_(ridge),
          single_(comm(), 1) {
        const std::vector<double> diagonal = diagonal_of(*input.gram);
        collectively(comm(), [&] {
            train_norms_ = example_norms(train_, diagonal);
            test_norms_ = example_norms(test_, *input.test_diagonal);
            all_.resize(static_cast<std::size_t>(input.gram->rows()));
            std::iota(all_.begin(), all_.end(), Index{0});
            result_.test_examples = test_.examples();
            for (Index k = 1; k < largest; k *= 2) result_.sizes.push_back(k);
            result_.sizes.push_back(largest);
            result_.nearest.assign(static_cast<std::size_t>(test_.examples() * largest), 0);
            result_.cosines.assign(result_.nearest.size(), 0.0);
            sums_.assign(3 * result_.sizes.size(), 0.0);
        });
    }

    Index at_once() const { return single_.count(); }

    /// Test examples `first` to `last`, at most at_once() of them.
    void round(Index first, Index last) {
        const Index x = first + single_.mine();
        const bool busy = x < last;
        std::optional<DistributedMatrix> cross, gram;
        for (Index other = first; other < last; ++other) {
            std::vector<Index> rows;
            collectively(comm(), [&] { rows = test_.rows_of(std::array{other}); });
            auto part = submatrix(*input_.cross, rows, all_, single_, static_cast<int>(other - first),
                                  input_.cross->block());
            if (part) cross = std::move(part);
        }
        std::vector<double> nearest, cosines;  // of this round: zero but for this rank's
        collectively(comm(), [&] {
            nearest.assign(static_cast<std::size_t>((last - first) * largest_), 0.0);
            cosines.assign(nearest.size(), 0.0);
            if (busy) find_nearest(x, *cross, (x - first) * largest_, nearest, cosines);
        });
        sum_over_ranks(comm(), nearest);
        sum_over_ranks(comm(), cosines);
        std::copy(cosines.begin(), cosines.end(), result_.cosines.begin() + first * largest_);
        std::transform(nearest.begin(), nearest.end(), result_.nearest.begin() + first * largest_,
                       [](double example) { return static_cast<std::int32_t>(example); });
        for (Index other = first; other < last; ++other) {
            std::vector<Index> rows;
            collectively(comm(), [&] { rows = train_.rows_of(nearest_of(other)); });
            auto part = submatrix(*input_.gram, rows, rows, single_, static_cast<int>(other - first),
                                  input_.gram->block());
            if (part) gram = std::move(part);
        }
        std::vector<double> scores;  // as nearest
        collectively(comm(), [&] {
            scores.assign(static_cast<std::size_t>(last - first) * sums_.size(), 0.0);
            if (busy)
                score(x, *cross, *gram,
                      std::span(scores).subspan(static_cast<std::size_t>(x - first) * sums_.size(),
                                                sums_.size()));
        });
        sum_over_ranks(comm(), scores);
        // Example after example, so that no bit depends on the ranks.
        for (std::size_t i = 0; i < scores.size(); ++i) sums_[i % sums_.size()] += scores[i];
    }

    /// After the last round: means over the test examples, and the regression on all examples beside them.
    Neighbours means() {
        const TestScore global =
            regression_.scores(1, [&](Index) { return regression_.ridge(ridge_); }).front();
        result_.global_accuracy = global.accuracy;
        result_.global_mse = global.mse;
        const auto count = static_cast<double>(test_.examples());
        collectively(comm(), [&] {
            for (std::size_t s = 0; s < result_.sizes.size(); ++s) {
                result_.accuracy.push_back(sums_[3 * s] / count);
                result_.mse.push_back(sums_[3 * s + 1] / count);
                result_.effective_dimension.push_back(sums_[3 * s + 2] / count);
            }
        });
        return std::move(result_);
    }

  private:
    MPI_Comm comm() const { return input_.gram->grid().comm().get(); }
    Index rows_of_test(Index x) const { return test_.first_row(x + 1) - test_.first_row(x); }

    /// Cosine of the kernel's angle between test example x and every training example, summed over an
    /// example's rows where it has several. Local.
    std::vector<double> cosines_of(Index x, const DistributedMatrix& cross) const {
        const Index test_rows = rows_of_test(x);
        std::vector<double> angle(static_cast<std::size_t>(train_.examples()));
        for (Index e = 0; e < train_.examples(); ++e) {
            double sum = 0;
            const Index train_rows = train_.first_row(e + 1) - train_.first_row(e);
            for (Index c = 0; c < std::min(test_rows, train_rows); ++c)
                sum += cross.data()[c + (train_.first_row(e) + c) * test_rows];
            const double length = std::sqrt(train_norms_[static_cast<std::size_t>(e)] *
                                            test_norms_[static_cast<std::size_t>(x)]);
            angle[static_cast<std::size_t>(e)] = length > 0 ? sum / length : 0;
        }
        return angle;
    }

    /// Local; writes from entry `at` on.
    void find_nearest(Index x, const DistributedMatrix& cross, Index at, std::vector<double>& nearest,
                      std::vector<double>& cosines) const {
        const std::vector<double> angle = cosines_of(x, cross);
        std::vector<Index> order(angle.size());
        std::iota(order.begin(), order.end(), Index{0});
        std::partial_sort(order.begin(), order.begin() + largest_, order.end(), [&](Index a, Index b) {
            const double ca = angle[static_cast<std::size_t>(a)], cb = angle[static_cast<std::size_t>(b)];
            return ca > cb || (ca == cb && a < b);
        });
        for (Index k = 0; k < largest_; ++k) {
            const Index example = order[static_cast<std::size_t>(k)];
            nearest[static_cast<std::size_t>(at + k)] = static_cast<double>(example);
            cosines[static_cast<std::size_t>(at + k)] = angle[static_cast<std::size_t>(example)];
        }
    }

    /// The nearest examples of test example x, nearest first. Local.
    std::vector<Index> nearest_of(Index x) const {
        const auto from = result_.nearest.begin() + x * largest_;
        return {from, from + largest_};
    }

    /// What the regressions on the nearest examples of x make of it, as sums_. Local.
    void score(Index x, const DistributedMatrix& own_cross, const DistributedMatrix& gram,
               std::span<double> scores) const {
        const std::vector<Index> examples = nearest_of(x), rows = train_.rows_of(examples);
        const Targets local = train_.of(examples), judged = test_.of(std::array{x});
        const Index test_rows = rows_of_test(x);
        const std::vector<double>& means = regression_.residual_mean();
        std::vector<double> cross, residual, start;
        for (const Index row : rows)
            for (Index c = 0; c < test_rows; ++c) cross.push_back(own_cross.data()[c + row * test_rows]);
        for (std::size_t i = 0; i < local.labels.size(); ++i)
            residual.push_back(local.labels[i] - local.initial[i] -
                               means[static_cast<std::size_t>(local.groups[i])]);
        for (std::size_t i = 0; i < judged.labels.size(); ++i)
            start.push_back(judged.initial[i] + means[static_cast<std::size_t>(judged.groups[i])]);
        const Neighbourhood neighbourhood{gram.local(),     cross,     residual,
                                          std::ssize(rows), test_rows, train_.outputs};
        for (std::size_t s = 0; s < result_.sizes.size(); ++s) {
            const LocalRegression fit = local_regression(neighbourhood, local.first_row(result_.sizes[s]),
                                                         ridge_ * static_cast<double>(input_.rows));
            std::vector<double> f = start;
            double error = 0;
            for (std::size_t i = 0; i < f.size(); ++i) {
                f[i] += fit.changes[i];
                error += std::pow(judged.labels[i] - f[i], 2) / static_cast<double>(f.size());
            }
            scores[3 * s] = test_.classes ? accuracy(judged, f) : not_known;
            scores[3 * s + 1] = error;
            scores[3 * s + 2] = fit.effective_dimension;
        }
    }

    const RatesInput& input_;
    const KernelRegression& regression_;
    const Targets &train_, &test_;
    Index largest_;
    double ridge_;
    RankGroups single_;
    std::vector<double> train_norms_, test_norms_;
    std::vector<Index> all_;  ///< rows of the Gram matrix
    Neighbours result_;
    std::vector<double> sums_;  ///< per size: accuracy, error, effective dimension of the examples so far
};

}  // namespace

Neighbours nearest_examples(const RatesInput& input, const KernelRegression& regression, Index largest,
                            double ridge, const Listener& listener) {
    Neighbourhoods neighbourhoods(input, regression, largest, ridge);
    const Index m = input.test->examples();
    for (Index first = 0; first < m; first += neighbourhoods.at_once()) {
        listener.progress("neighbours", first, m);
        neighbourhoods.round(first, std::min(m, first + neighbourhoods.at_once()));
    }
    listener.progress("neighbours", m, m);
    return neighbourhoods.means();
}

}  // namespace tangram
