#include "tangram/learning/centring.hpp"

#include <algorithm>

#include "tangram/learning/kernel_rates.hpp"
#include "tangram/parallel/collective_error.hpp"

namespace tangram {

namespace {

/// The group whose mean a row's function is less; rows of several outputs share one.
std::vector<std::size_t> groups_of_rows(const Targets& targets) {
    std::vector<std::size_t> groups(static_cast<std::size_t>(targets.rows()), 0);
    if (targets.outputs == 1)
        for (std::size_t row = 0; row < groups.size(); ++row)
            groups[row] = static_cast<std::size_t>(targets.groups[row]);
    return groups;
}

MPI_Comm comm_of(const DistributedMatrix& matrix) { return matrix.grid().comm().get(); }

}  // namespace

KernelCentring::KernelCentring(const DistributedMatrix& gram, const Targets& train) {
    collectively(comm_of(gram), [&] {
        group_of_ = groups_of_rows(train);
        groups_ = *std::ranges::max_element(group_of_) + 1;
        std::vector<double> counts(groups_, 0.0);
        for (const std::size_t group : group_of_) counts[group] += 1;
        indicator_.assign(group_of_.size() * groups_, 0.0);
        for (std::size_t row = 0; row < group_of_.size(); ++row)
            indicator_[row * groups_ + group_of_[row]] = 1 / counts[group_of_[row]];
    });
    means_ = product(gram, indicator_, static_cast<Index>(groups_));
    collectively(comm_of(gram), [&] {
        of_means_.assign(groups_ * groups_, 0.0);
        for (std::size_t row = 0; row < group_of_.size(); ++row)
            for (std::size_t h = 0; h < groups_; ++h)
                of_means_[group_of_[row] * groups_ + h] +=
                    indicator_[row * groups_ + group_of_[row]] * means_[row * groups_ + h];
        // Symmetric but for rounding.
        for (std::size_t g = 0; g < groups_; ++g)
            for (std::size_t h = 0; h < g; ++h)
                of_means_[g * groups_ + h] = of_means_[h * groups_ + g] =
                    0.5 * (of_means_[g * groups_ + h] + of_means_[h * groups_ + g]);
    });
}

void KernelCentring::centre(DistributedMatrix& gram) const {
    for (Index j = 0; j < gram.local_columns(); ++j) {
        const auto column = static_cast<std::size_t>(gram.global_column(j));
        for (Index i = 0; i < gram.local_rows(); ++i) {
            const auto row = static_cast<std::size_t>(gram.global_row(i));
            const std::size_t g = group_of_[row], h = group_of_[column];
            double& entry = gram.data()[i + j * gram.lld()];
            entry -= means_[row * groups_ + h] + means_[column * groups_ + g];
            entry += of_means_[g * groups_ + h];
        }
    }
}

void KernelCentring::centre_cross(DistributedMatrix& cross, const Targets& test,
                                  std::vector<double>* diagonal) const {
    const std::vector<double> of_test = product(cross, indicator_, static_cast<Index>(groups_));
    const std::vector<std::size_t> group_of_test =
        collectively(comm_of(cross), [&] { return groups_of_rows(test); });
    // A label that training has not seen has no mean to take out.
    const auto without_mean = [&](std::size_t group) { return group >= groups_; };
    for (Index j = 0; j < cross.local_columns(); ++j) {
        const auto column = static_cast<std::size_t>(cross.global_column(j));
        for (Index i = 0; i < cross.local_rows(); ++i) {
            const auto row = static_cast<std::size_t>(cross.global_row(i));
            const std::size_t g = group_of_test[row], h = group_of_[column];
            double& entry = cross.data()[i + j * cross.lld()];
            entry -= of_test[row * groups_ + h];
            if (!without_mean(g)) entry -= means_[column * groups_ + g] - of_means_[g * groups_ + h];
        }
    }
    if (diagonal == nullptr) return;
    for (std::size_t row = 0; row < diagonal->size(); ++row) {
        const std::size_t g = group_of_test[row];
        if (without_mean(g)) continue;
        (*diagonal)[row] += of_means_[g * groups_ + g] - 2 * of_test[row * groups_ + g];
    }
}

CentredKernel::CentredKernel(const RatesInput& input) {
    const MPI_Comm comm = comm_of(*input.vectors);
    collectively(comm, [&] {
        if (input.gram == nullptr)
            throw Error(ExitStatus::study, ErrorKind::contradiction,
                        "rates.center = \"kernel\" needs the Gram matrix; set output.save_gram = true");
        input_ = std::make_unique<RatesInput>(input);
        gram_.emplace(input.gram->copy());
        if (input.cross != nullptr) cross_.emplace(input.cross->copy());
        if (input.test_diagonal != nullptr) diagonal_ = *input.test_diagonal;
    });
    const KernelCentring centring(*gram_, *input.train);
    centring.centre(*gram_);
    if (cross_)
        centring.centre_cross(*cross_, *input.test, input.test_diagonal != nullptr ? &diagonal_ : nullptr);
    pairs_.emplace(eigenpairs(*gram_, Solver::automatic, true));
    collectively(comm, [&] {
        input_->eigenvalues = pairs_->values;
        input_->noise_floor = noise_floor_of_operator(pairs_->values, input.mixed_precision) *
                              static_cast<double>(pairs_->values.size());
        input_->vectors = &*pairs_->vectors;
        input_->gram = &*gram_;
        input_->uncentred_gram = input.gram;
        if (cross_) input_->cross = &*cross_;
        if (input.test_diagonal != nullptr) input_->test_diagonal = &diagonal_;
    });
}

const RatesInput& CentredKernel::input() const { return *input_; }

}  // namespace tangram
