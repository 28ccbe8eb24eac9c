#include "tangram/learning/nested_subsets.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <new>
#include <numeric>
#include <span>

#include "tangram/drawing.hpp"
#include "tangram/learning/centring.hpp"
#include "tangram/not_known.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/parallel/rank_groups.hpp"
#include "tangram/rates/noise.hpp"
#include "tangram/rates/stopping.hpp"
#include "tangram/spectrum/eigenpairs.hpp"

namespace tangram {

namespace {

/// The numbers of a result, which travel in one row from the ranks that found them to all.
constexpr std::size_t row_length = 22;
std::array<double*, row_length> numbers_of(SubsetResult& r) {
    return {&r.noise_floor,
            &r.critical_radius,
            &r.stopping_step,
            &r.eta,
            &r.ridge,
            &r.cross_validation,
            &r.exponent,
            &r.at_stop.mse,
            &r.at_stop.accuracy,
            &r.at_best.mse,
            &r.at_best.accuracy,
            &r.at_ridge.mse,
            &r.at_ridge.accuracy,
            &r.at_gcv_ridge.mse,
            &r.at_gcv_ridge.accuracy,
            &r.best_step,
            &r.holdout_step,
            &r.own_noise,
            &r.own_radius,
            &r.own_stopping_step,
            &r.at_own_stop.mse,
            &r.at_own_stop.accuracy};
}

bool less_error(const TestScore& a, const TestScore& b) { return a.mse < b.mse; }

/// Of ridges from nothing to all learned, six per factor of ten. Collective over the regression's grid.
TestScore best_ridge_score(const KernelRegression& regression, double noise_floor) {
    const auto ridges = collectively(regression.comm(), [&] {
        const double largest = regression.l().front(), lowest = std::max(noise_floor, 1e-10 * largest);
        std::vector<double> tried{10 * largest};
        for (double rho = 5 * largest; rho >= lowest; rho /= std::pow(10, 1.0 / 6)) tried.push_back(rho);
        return tried;
    });
    const std::vector<TestScore> scores = regression.scores(
        std::ssize(ridges), [&](Index k) { return regression.ridge(ridges[static_cast<std::size_t>(k)]); });
    return *std::min_element(scores.begin(), scores.end(), less_error);
}

/// A kernel of zeros, or a residual of zeros.
bool nothing_to_learn(const KernelRegression& regression) {
    return !(regression.l().front() > 0) || !(regression.residual_mean_square() > 0);
}

/// Of the polynomial fit in the window that was given, where the sample has so many ranks, or its own.
double exponent_of(const std::vector<double>& l, Index rows, const SubsetInputs& inputs, double noise_floor) {
    if (inputs.window && inputs.window->last > std::ssize(l)) return not_known;
    const DecayWindow window = inputs.window
                                   ? above_floor(l, noise_floor, *inputs.window, inputs.trusted_ranks)
                                   : decay_window(l, noise_floor, 0, inputs.trusted_ranks, inputs.outputs);
    return window.size() < smallest_window ? not_known : fit_polynomial(l, rows, window).exponent;
}

/// What the spectrum and the training labels say; the rest NaN, the stopping step also where the steps, given
/// for the whole, diverge on this part. Local.
SubsetResult without_test(const KernelRegression& regression, const SubsetInputs& inputs,
                          const std::optional<StepSizes>& steps, double noise_floor) {
    SubsetResult result;
    const std::vector<double>& l = regression.l();
    for (double* const number : numbers_of(result)) *number = not_known;
    result.noise_floor = noise_floor;
    const double sigma = inputs.noise / inputs.radius;
    result.critical_radius = critical_radius(l, sigma);
    result.exponent = exponent_of(l, regression.rows(), inputs, noise_floor);
    if (!steps) return result;
    const CrossValidatedRidge ridge = cross_validated_ridge(l, regression.squares(), noise_floor);
    result.ridge = ridge.ridge;
    result.cross_validation = ridge.score;
    result.own_noise = inputs.given_noise.value_or(ridge.noise);
    result.own_radius =
        inputs.given_radius.value_or(target_radius(l, regression.squares(), ridge.ridge, noise_floor));
    if (steps->first() * l.front() > 2) return result;
    result.stopping_step = stopping_step(l, sigma, *steps);
    result.eta = steps->eta(result.stopping_step);
    if (result.own_radius > 0)
        result.own_stopping_step = stopping_step(l, result.own_noise / result.own_radius, *steps);
    return result;
}

}  // namespace

int ranks_of_subset(double rows, double whole_rows, double judging_rows, int ranks) {
    const double needed = rows * (rows + 2 * judging_rows),
                 whole = whole_rows * (whole_rows + 2 * judging_rows);
    const int share = std::clamp(static_cast<int>(std::ceil(ranks * needed / whole)), 1, ranks);
    // A long grid has many messages: of 1000 ranks two groups of 468 are faster than of 467, a prime.
    for (int more = share; ranks / more == ranks / share; ++more) {
        const int grid_rows = ProcessGrid::rows_of_most_square(more);
        if (more <= 2 * grid_rows * grid_rows) return more;
    }
    return share;
}

SubsetResult learned(const KernelRegression& regression, const SubsetInputs& inputs, double noise_floor) {
    std::optional<StepSizes> steps;
    SubsetResult result = collectively(regression.comm(), [&] {
        if (!nothing_to_learn(regression))
            steps = inputs.step_sizes ? *inputs.step_sizes : StepSizes(1 / regression.l().front());
        return without_test(regression, inputs, steps, noise_floor);
    });
    if (!steps || !regression.has_test()) return result;
    result.at_ridge = best_ridge_score(regression, noise_floor);
    if (std::isnan(result.stopping_step)) return result;
    const StoppingPath path = collectively(regression.comm(), [&] {
        return stopping_path(
            regression.l(), regression.squares(),
            {inputs.noise, inputs.radius, result.stopping_step, noise_floor, regression.rows()}, *steps);
    });
    // The path, the ridge by cross-validation, and the own stop where there is one.
    const Index steps_of_path = std::ssize(path.step);
    const bool own_stop = std::isfinite(result.own_stopping_step);
    const std::vector<TestScore> scores = regression.scores(steps_of_path + (own_stop ? 2 : 1), [&](Index k) {
        if (k == steps_of_path) return regression.ridge(result.ridge);
        return regression.descent(
            *steps, k < steps_of_path ? path.step[static_cast<std::size_t>(k)] : result.own_stopping_step);
    });
    const std::span<const TestScore> descent(scores.begin(), path.step.size());
    result.at_gcv_ridge = scores[path.step.size()];
    if (own_stop) result.at_own_stop = scores.back();
    const auto best = std::min_element(descent.begin(), descent.end(), less_error);
    result.at_best = *best;
    result.best_step = path.step[static_cast<std::size_t>(best - descent.begin())];
    result.best_at_end = result.best_step == path.step.back();
    const auto stop = std::find(path.step.begin(), path.step.end(), result.stopping_step);
    if (stop != path.step.end()) result.at_stop = descent[static_cast<std::size_t>(stop - path.step.begin())];
    return result;
}

namespace {

/// One subset with all that its group needs to learn it.
struct OwnSubset {
    std::optional<DistributedMatrix> gram, cross;  ///< cross: where the study has test examples
    std::optional<DistributedMatrix> held;         ///< held-out x chosen; where a half judges
    Targets train, held_targets;
};

/// The subsets of one size, dealt to groups of ranks round by round.
class SubsetsOfOneSize {
  public:
    /// @param permutations  one per repeat
    SubsetsOfOneSize(const SubsetInputs& inputs, const std::vector<std::vector<Index>>& permutations,
                     Index size, bool keep_spectra)
        : inputs_(inputs),
          permutations_(permutations),
          size_(size),
          examples_(inputs.train.examples()),
          keep_spectra_(keep_spectra),
          groups_(comm(), ranks_of_one()) {}

    Index at_once() const { return groups_.count(); }

    /// The results of repeats `first` to `last`, at most at_once() of them, on every rank. Collective.
    std::vector<SubsetResult> learn(Index first, Index last) {
        std::optional<OwnSubset> own = deal(first, last);
        const auto count = static_cast<std::size_t>(last - first);
        std::vector<SubsetResult> found;
        std::vector<double> rows;
        collectively(comm(), [&] {
            found.resize(count);
            rows.assign(count * static_cast<std::size_t>(row_size), 0.0);
        });
        std::exception_ptr failure;
        // A group's ranks fail together, with an Error, because what allocates in a group goes through
        // collectively() on that group; the other groups hear of it behind their own work. An allocation that
        // fails elsewhere fails on this rank alone, and its group may wait for it inside a solver: it is not
        // caught, and main() ends the job.
        try {
            if (own) {
                SubsetResult& result = found[static_cast<std::size_t>(groups_.mine())];
                result = learn_own(*own);
                if (groups_.grid().comm().rank() == 0) {
                    auto row = rows.begin() + groups_.mine() * row_size;
                    for (const double* const number : numbers_of(result)) *row++ = *number;
                    *row = result.best_at_end ? 1 : 0;
                }
            }
        } catch (const std::bad_alloc&) {
            throw;
        } catch (...) {
            failure = std::current_exception();
        }
        agree_on_failure(comm(), failure);
        sum_over_ranks(comm(), rows);
        for (Index r = 0; r < last - first; ++r) {
            SubsetResult& result = found[static_cast<std::size_t>(r)];
            auto row = rows.cbegin() + r * row_size;
            for (double* const number : numbers_of(result)) *number = *row++;
            result.best_at_end = *row == 1;
            result.examples = size_;
            if (!keep_spectra_) continue;
            broadcast(comm(), result.l, static_cast<int>(r) * groups_.size());
            broadcast(comm(), result.squares, static_cast<int>(r) * groups_.size());
        }
        return found;
    }

  private:
    static constexpr Index row_size = row_length + 1;  ///< the numbers, and whether the path ended
    MPI_Comm comm() const { return inputs_.gram->grid().comm().get(); }

    int ranks_of_one() const {
        const auto all = static_cast<double>(inputs_.gram->rows());
        const double share = static_cast<double>(size_) / static_cast<double>(examples_);
        const double judging =
            inputs_.cross != nullptr ? static_cast<double>(inputs_.cross->rows()) : 0.5 * all;
        return ranks_of_subset(share * all, all, judging, inputs_.gram->grid().comm().size());
    }

    /// This rank's subset of repeats `first` to `last`, or none. Collective over all ranks.
    std::optional<OwnSubset> deal(Index first, Index last) {
        // The second half of the permutation is held out from every subset of the first.
        const bool holds_out = inputs_.cross == nullptr ? size_ <= examples_ / 2 : size_ == examples_ / 2;
        const Index block = inputs_.gram->block();
        std::optional<OwnSubset> own;
        for (Index r = first; r < last; ++r) {
            const auto group = static_cast<int>(r - first);
            const std::span<const Index> permutation(permutations_[static_cast<std::size_t>(r)]);
            const auto chosen = permutation.first(static_cast<std::size_t>(size_)),
                       held_out = permutation.subspan(static_cast<std::size_t>(examples_ / 2));
            std::vector<Index> rows, held_rows, test_rows;
            std::optional<OwnSubset> part(std::in_place);
            collectively(comm(), [&] {
                rows = inputs_.train.rows_of(chosen);
                if (holds_out) held_rows = inputs_.train.rows_of(held_out);
                if (inputs_.cross != nullptr)
                    test_rows.resize(static_cast<std::size_t>(inputs_.cross->rows()));
                std::iota(test_rows.begin(), test_rows.end(), Index{0});
                if (groups_.mine() != group) return;
                part->train = inputs_.train.of(chosen);
                if (holds_out) part->held_targets = inputs_.train.of(held_out);
            });
            part->gram = submatrix(*inputs_.gram, rows, rows, groups_, group, block);
            if (inputs_.cross != nullptr)
                part->cross = submatrix(*inputs_.cross, test_rows, rows, groups_, group, block);
            if (holds_out) part->held = submatrix(*inputs_.gram, held_rows, rows, groups_, group, block);
            if (groups_.mine() == group) own = std::move(part);
        }
        return own;
    }

    /// Its kernel is consumed. Collective over this rank's group.
    SubsetResult learn_own(OwnSubset& own) const {
        const MPI_Comm group = groups_.grid().comm().get();
        if (inputs_.center == Centring::kernel) {
            const KernelCentring centring(*own.gram, own.train);
            centring.centre(*own.gram);
            if (own.held) centring.centre_cross(*own.held, own.held_targets, nullptr);
            if (own.cross) centring.centre_cross(*own.cross, *inputs_.test, nullptr);
        }
        const Eigenpairs pairs = eigenpairs(*own.gram, Solver::automatic, true);
        own.gram.reset();
        const double floor = noise_floor_of_operator(pairs.values, inputs_.mixed_precision);
        KernelRegression regression(pairs.values, *pairs.vectors, own.train,
                                    inputs_.center != Centring::none);
        SubsetResult result;
        double holdout_step = not_known;
        if (own.held) {
            regression.set_test(*own.held, own.held_targets);
            result = learned(regression, inputs_, floor);
            holdout_step = result.best_at_end ? std::numeric_limits<double>::infinity() : result.best_step;
        }
        if (own.cross) regression.set_test(*own.cross, *inputs_.test);
        if (own.cross || !own.held) result = learned(regression, inputs_, floor);
        if (size_ == examples_ / 2) result.holdout_step = holdout_step;
        collectively(group, [&] {
            if (!keep_spectra_) return;
            result.l = regression.l();
            result.squares = regression.squares();
        });
        return result;
    }

    const SubsetInputs& inputs_;
    const std::vector<std::vector<Index>>& permutations_;
    Index size_, examples_;
    bool keep_spectra_;
    RankGroups groups_;
};

}  // namespace

std::vector<std::vector<Index>> subset_orders(Index examples, Index repeats, std::uint64_t seed) {
    std::vector<std::vector<Index>> orders;
    for (Index r = 0; r < repeats; ++r)
        orders.push_back(draw_rows(examples, 0, seed + 1000 + static_cast<std::uint64_t>(r), "the study"));
    return orders;
}

std::vector<std::vector<SubsetResult>> nested_subsets(const SubsetInputs& inputs,
                                                      const std::vector<Index>& sizes, Index repeats,
                                                      Index keep_spectra, const Listener& listener) {
    if (sizes.empty()) return {};
    const MPI_Comm comm = inputs.gram->grid().comm().get();
    std::vector<std::vector<Index>> permutations;
    std::vector<std::vector<SubsetResult>> results;
    collectively(comm, [&] {
        permutations = subset_orders(inputs.train.examples(), repeats, inputs.seed);
        results.resize(sizes.size());
        for (std::vector<SubsetResult>& of_size : results) of_size.reserve(static_cast<std::size_t>(repeats));
    });
    const Index all = std::ssize(sizes) * repeats;
    for (std::size_t s = 0; s < sizes.size(); ++s) {
        SubsetsOfOneSize subsets(inputs, permutations, sizes[s], sizes[s] == keep_spectra);
        for (Index first = 0; first < repeats; first += subsets.at_once()) {
            listener.progress("subsets", static_cast<Index>(s) * repeats + first, all);
            for (SubsetResult& result : subsets.learn(first, std::min(repeats, first + subsets.at_once())))
                results[s].push_back(std::move(result));
        }
    }
    listener.progress("subsets", all, all);
    return results;
}

}  // namespace tangram
