#include "tangram/learning/kernel_regression.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tangram/blas.hpp"
#include "tangram/not_known.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/parallel_for.hpp"
#include "tangram/rates/tasks.hpp"
#include "tangram/spectrum/device_product.hpp"
#include "tangram/spectrum/quality.hpp"

namespace tangram {

namespace {

double mean_square(const std::vector<double>& values) {
    return std::inner_product(values.begin(), values.end(), values.begin(), 0.0) /
           static_cast<double>(std::max<std::size_t>(1, values.size()));
}

}  // namespace

TestScore score_of(const Targets& targets, std::span<const double> predictions) {
    double sum = 0;
    for (std::size_t e = 0; e < predictions.size(); ++e)
        sum += (targets.labels[e] - predictions[e]) * (targets.labels[e] - predictions[e]);
    return {sum / static_cast<double>(predictions.size()),
            targets.classes ? accuracy(targets, predictions) : not_known};
}

double noise_floor_of_operator(const std::vector<double>& w, bool mixed_precision) {
    const double trace = std::accumulate(w.begin(), w.end(), 0.0);
    return noise_floor(w, trace, mixed_precision) / static_cast<double>(w.size());
}

std::vector<double> coefficients(const DistributedMatrix& V, const std::vector<double>& B, Index outputs) {
    const MPI_Comm comm = V.grid().comm().get();
    std::vector<double> z = collectively(
        comm, [&] { return std::vector<double>(static_cast<std::size_t>(V.columns() * outputs), 0.0); });
    parallel_for(V.local_columns(), [&](Index j) {
        double* const to = z.data() + V.global_column(j) * outputs;
        for (Index i = 0; i < V.local_rows(); ++i) {
            const double v = V.data()[i + j * V.lld()];
            const double* const b = B.data() + V.global_row(i) * outputs;
            for (Index o = 0; o < outputs; ++o) to[o] += v * b[o];
        }
    });
    sum_over_ranks(comm, z);
    return z;
}

namespace {

/// This rank's part of A x. Local.
std::vector<double> local_product(const DistributedMatrix& A, const std::vector<double>& x, Index outputs) {
    // The entries of x that this rank's columns meet, column-major, for one local product.
    std::vector<double> local(static_cast<std::size_t>(A.local_columns() * outputs)),
        result(static_cast<std::size_t>(A.local_rows() * outputs));
    for (Index o = 0; o < outputs; ++o)
        for (Index j = 0; j < A.local_columns(); ++j)
            local[static_cast<std::size_t>(j + o * A.local_columns())] =
                x[static_cast<std::size_t>(A.global_column(j) * outputs + o)];
    std::vector<double> y(static_cast<std::size_t>(A.rows() * outputs), 0.0);
    if (A.local_rows() > 0 && A.local_columns() > 0) {
        const int m = narrow(A.local_rows(), "rows"), k = narrow(A.local_columns(), "columns");
        gemm('N', 'N', m, narrow(outputs, "outputs"), k, A.data(), m, local.data(), k, result.data(), m);
        for (Index o = 0; o < outputs; ++o)
            for (Index i = 0; i < A.local_rows(); ++i)
                y[static_cast<std::size_t>(A.global_row(i) * outputs + o)] =
                    result[static_cast<std::size_t>(i + o * A.local_rows())];
    }
    return y;
}

}  // namespace

std::vector<double> product(const DistributedMatrix& A, const std::vector<double>& x, Index outputs) {
    const MPI_Comm comm = A.grid().comm().get();
    std::vector<double> y = collectively(comm, [&] { return local_product(A, x, outputs); });
    sum_over_ranks(comm, y);
    return y;
}

KernelRegression::KernelRegression(const std::vector<double>& w, const DistributedMatrix& V,
                                   const Targets& train, bool center)
    : V_(&V), outputs_(train.outputs) {
    const std::vector<double> residual = collectively(comm(), [&] {
        l_ = w;
        for (double& value : l_) value /= static_cast<double>(l_.size());
        squares_.assign(l_.size(), 0.0);
        return residual_of(train, center);
    });
    coefficients_ = tangram::coefficients(V, residual, outputs_);
    for (std::size_t i = 0; i < coefficients_.size(); ++i)
        squares_[i / static_cast<std::size_t>(outputs_)] +=
            coefficients_[i] * coefficients_[i] / static_cast<double>(outputs_);
}

std::vector<double> KernelRegression::residual_of(const Targets& train, bool center) {
    std::vector<double> residual(train.labels.size());
    for (std::size_t i = 0; i < residual.size(); ++i) residual[i] = train.labels[i] - train.initial[i];
    const double raw = mean_square(residual);
    const auto groups =
        static_cast<std::size_t>(*std::max_element(train.groups.begin(), train.groups.end()) + 1);
    mean_.assign(groups, 0.0);
    if (center) {
        std::vector<double> counts(groups, 0.0);
        for (std::size_t i = 0; i < residual.size(); ++i) {
            mean_[static_cast<std::size_t>(train.groups[i])] += residual[i];
            counts[static_cast<std::size_t>(train.groups[i])] += 1;
        }
        for (std::size_t g = 0; g < groups; ++g)
            if (counts[g] > 0) mean_[g] /= counts[g];
        for (std::size_t i = 0; i < residual.size(); ++i)
            residual[i] -= mean_[static_cast<std::size_t>(train.groups[i])];
    }
    mean_square_ = mean_square(residual);
    mean_share_ = raw > 0 ? 1 - mean_square_ / raw : 0.0;
    return residual;
}

std::vector<double> KernelRegression::descent(const StepSizes& steps, double t) const {
    std::vector<double> weights;
    for (const double value : l_)
        weights.push_back(solution_weight(value, static_cast<double>(l_.size()), steps, t));
    return weights;
}

std::vector<double> KernelRegression::ridge(double on_K) const {
    std::vector<double> weights;
    for (const double value : l_)
        weights.push_back(1 / (static_cast<double>(l_.size()) * (std::max(value, 0.0) + on_K)));
    return weights;
}

std::vector<double> KernelRegression::solution(const std::vector<double>& weights) const {
    const std::vector<double> weighted = collectively(comm(), [&] {
        std::vector<double> entries(coefficients_);
        for (std::size_t i = 0; i < entries.size(); ++i)
            entries[i] *= weights[i / static_cast<std::size_t>(outputs_)];
        return entries;
    });
    return product(*V_, weighted, outputs_);
}

void KernelRegression::set_test(const DistributedMatrix& cross, const Targets& test) {
    projected_.emplace(product_by_device_or_ranks(cross, *V_));
    test_ = &test;
}

std::vector<std::vector<double>> KernelRegression::predictions(
    std::span<const std::vector<double>> weights) const {
    const Index lists = std::ssize(weights), columns = lists * outputs_;
    const std::vector<double> weighted = collectively(comm(), [&] {
        std::vector<double> entries(static_cast<std::size_t>(rows() * columns));
        for (Index i = 0; i < rows(); ++i)
            for (Index k = 0; k < lists; ++k)
                for (Index o = 0; o < outputs_; ++o)
                    entries[static_cast<std::size_t>(i * columns + k * outputs_ + o)] =
                        weights[static_cast<std::size_t>(k)][static_cast<std::size_t>(i)] *
                        coefficients_[static_cast<std::size_t>(i * outputs_ + o)];
        return entries;
    });
    const std::vector<double> changes = product(*projected_, weighted, columns);
    return collectively(comm(), [&] {
        std::vector<std::vector<double>> result(weights.size());
        for (Index k = 0; k < lists; ++k)
            for (Index entry = 0; entry < std::ssize(test_->labels); ++entry) {
                const auto e = static_cast<std::size_t>(entry);
                const auto group = static_cast<std::size_t>(test_->groups[e]);
                result[static_cast<std::size_t>(k)].push_back(
                    test_->initial[e] + (group < mean_.size() ? mean_[group] : 0.0) +
                    changes[static_cast<std::size_t>(entry / outputs_ * columns + k * outputs_ +
                                                     entry % outputs_)]);
            }
        return result;
    });
}

std::vector<TestScore> KernelRegression::scores(
    Index count, const std::function<std::vector<double>(Index)>& weights_of) const {
    std::vector<TestScore> result;
    for (Index first = 0; first < count; first += scored_at_once) {
        const auto weights = collectively(comm(), [&] {
            std::vector<std::vector<double>> lists;
            for (Index k = first; k < std::min(count, first + scored_at_once); ++k)
                lists.push_back(weights_of(k));
            return lists;
        });
        const std::vector<std::vector<double>> predicted = predictions(weights);
        collectively(comm(), [&] {
            for (const std::vector<double>& f : predicted) result.push_back(score_of(*test_, f));
        });
    }
    return result;
}

}  // namespace tangram
