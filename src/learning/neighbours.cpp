#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tangram/learning/kernel_rates.hpp"
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

std::vector<double> diagonal_of(const DistributedMatrix& G) {
    std::vector<double> entries(static_cast<std::size_t>(G.rows()), 0.0);
    for (Index j = 0; j < G.local_columns(); ++j)
        for (Index i = 0; i < G.local_rows(); ++i)
            if (G.global_row(i) == G.global_column(j))
                entries[static_cast<std::size_t>(G.global_column(j))] = G.data()[i + j * G.lld()];
    sum_over_ranks(G.grid().comm().get(), entries);
    return entries;
}

}  // namespace

Neighbours nearest_examples(const RatesInput& input, const KernelRegression& regression, Index largest,
                            double ridge, const Listener& listener) {
    const Targets &train = *input.train, &test = *input.test;
    const MPI_Comm comm = input.gram->grid().comm().get();
    const Index m = test.examples(), n = train.examples();
    Neighbours result;
    result.test_examples = m;
    for (Index k = 1; k < largest; k *= 2) result.sizes.push_back(k);
    result.sizes.push_back(largest);
    const TestScore global = regression.scores({regression.ridge(ridge)}).front();
    result.global_accuracy = global.accuracy;
    result.global_mse = global.mse;

    const std::vector<double> train_norms = example_norms(train, diagonal_of(*input.gram)),
                              test_norms = example_norms(test, *input.test_diagonal);
    result.nearest.assign(static_cast<std::size_t>(m * largest), 0);
    result.cosines.assign(static_cast<std::size_t>(m * largest), 0.0);
    std::vector<double> sums(3 * result.sizes.size(), 0.0);

    // One test example per rank and round: its row of the cross Gram first, then the Gram matrix of its
    // nearest.
    const RankGroups single(comm, 1);
    std::vector<Index> all(static_cast<std::size_t>(input.gram->rows()));
    std::iota(all.begin(), all.end(), Index{0});
    const int ranks = single.count(), me = single.mine();
    for (Index first = 0; first < m; first += ranks) {
        listener.progress("neighbours", first, m);
        const Index last = std::min(m, first + ranks);
        std::vector<double> own_cross;
        for (Index x = first; x < last; ++x) {
            const std::vector<Index> one{x}, rows = test.rows_of(one);
            const auto part =
                submatrix(*input.cross, rows, all, single, static_cast<int>(x - first), input.cross->block());
            if (part) own_cross.assign(part->local().begin(), part->local().end());
        }
        // Nearest by the cosine of the kernel's angle, summed over an example's rows where it has several.
        std::vector<double> nearest(static_cast<std::size_t>((last - first) * largest), 0.0),
            cosines(nearest.size(), 0.0);
        const Index x = first + me;
        const bool busy = x < last;
        Index test_rows = 0;
        if (busy) {
            test_rows = test.first_row(x + 1) - test.first_row(x);
            std::vector<double> angle(static_cast<std::size_t>(n));
            for (Index e = 0; e < n; ++e) {
                double sum = 0;
                const Index train_rows = train.first_row(e + 1) - train.first_row(e);
                for (Index c = 0; c < std::min(test_rows, train_rows); ++c)
                    sum += own_cross[static_cast<std::size_t>(c + (train.first_row(e) + c) * test_rows)];
                const double length = std::sqrt(train_norms[static_cast<std::size_t>(e)] *
                                                test_norms[static_cast<std::size_t>(x)]);
                angle[static_cast<std::size_t>(e)] = length > 0 ? sum / length : 0;
            }
            std::vector<Index> order(static_cast<std::size_t>(n));
            std::iota(order.begin(), order.end(), Index{0});
            std::partial_sort(order.begin(), order.begin() + largest, order.end(), [&](Index a, Index b) {
                const double ca = angle[static_cast<std::size_t>(a)], cb = angle[static_cast<std::size_t>(b)];
                return ca > cb || (ca == cb && a < b);
            });
            for (Index k = 0; k < largest; ++k) {
                nearest[static_cast<std::size_t>(me * largest + k)] =
                    static_cast<double>(order[static_cast<std::size_t>(k)]);
                cosines[static_cast<std::size_t>(me * largest + k)] =
                    angle[static_cast<std::size_t>(order[static_cast<std::size_t>(k)])];
            }
        }
        sum_over_ranks(comm, nearest);
        sum_over_ranks(comm, cosines);
        std::copy(cosines.begin(), cosines.end(), result.cosines.begin() + first * largest);
        std::vector<double> own_gram;
        std::vector<Index> own_examples, own_rows;
        for (Index other = first; other < last; ++other) {
            std::vector<Index> examples;
            for (Index k = 0; k < largest; ++k) {
                examples.push_back(
                    static_cast<Index>(nearest[static_cast<std::size_t>((other - first) * largest + k)]));
                result.nearest[static_cast<std::size_t>(other * largest + k)] =
                    static_cast<std::int32_t>(examples.back());
            }
            const std::vector<Index> rows = train.rows_of(examples);
            const auto part = submatrix(*input.gram, rows, rows, single, static_cast<int>(other - first),
                                        input.gram->block());
            if (!part) continue;
            own_gram.assign(part->local().begin(), part->local().end());
            own_examples = examples;
            own_rows = rows;
        }
        collectively(comm, [&] {
            if (!busy) return;
            const Targets local = train.of(own_examples), judged = test.of(std::vector<Index>{x});
            std::vector<double> cross;
            for (const Index row : own_rows)
                for (Index c = 0; c < test_rows; ++c)
                    cross.push_back(own_cross[static_cast<std::size_t>(c + row * test_rows)]);
            std::vector<double> residual, start;
            for (std::size_t i = 0; i < local.labels.size(); ++i)
                residual.push_back(local.labels[i] - local.initial[i] -
                                   regression.residual_mean()[static_cast<std::size_t>(local.groups[i])]);
            for (std::size_t i = 0; i < judged.labels.size(); ++i)
                start.push_back(judged.initial[i] +
                                regression.residual_mean()[static_cast<std::size_t>(judged.groups[i])]);
            for (std::size_t s = 0; s < result.sizes.size(); ++s) {
                const Index rows = local.first_row(result.sizes[s]);
                const LocalRegression fit =
                    local_regression(own_gram, std::ssize(own_rows), cross, test_rows, residual,
                                     train.outputs, rows, ridge * static_cast<double>(input.rows));
                std::vector<double> f = start;
                double error = 0;
                for (std::size_t i = 0; i < f.size(); ++i) {
                    f[i] += fit.changes[i];
                    error += std::pow(judged.labels[i] - f[i], 2) / static_cast<double>(f.size());
                }
                sums[3 * s] += test.classes ? accuracy(judged, f) : std::numeric_limits<double>::quiet_NaN();
                sums[3 * s + 1] += error;
                sums[3 * s + 2] += fit.effective_dimension;
            }
        });
    }
    listener.progress("neighbours", m, m);
    sum_over_ranks(comm, sums);
    for (std::size_t s = 0; s < result.sizes.size(); ++s) {
        result.accuracy.push_back(sums[3 * s] / static_cast<double>(m));
        result.mse.push_back(sums[3 * s + 1] / static_cast<double>(m));
        result.effective_dimension.push_back(sums[3 * s + 2] / static_cast<double>(m));
    }
    return result;
}

}  // namespace tangram
