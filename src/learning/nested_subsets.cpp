#include "tangram/learning/nested_subsets.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "tangram/drawing.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/parallel/rank_groups.hpp"
#include "tangram/rates/decay.hpp"
#include "tangram/rates/noise.hpp"
#include "tangram/rates/stopping.hpp"
#include "tangram/spectrum/eigenpairs.hpp"

namespace tangram {

namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

/// The numbers of a result in one row, to travel from the ranks that found them to all.
using Row = std::array<double, 15>;

Row row_of(const SubsetResult& r) {
    return {r.noise_floor,  r.critical_radius,   r.stopping_step,    r.eta,          r.cross_validation,
            r.exponent,     r.at_stop.mse,       r.at_stop.accuracy, r.at_best.mse,  r.at_best.accuracy,
            r.at_ridge.mse, r.at_ridge.accuracy, r.best_step,        r.holdout_step, r.ridge};
}

void set_row(SubsetResult& r, const Row& row) {
    r.noise_floor = row[0];
    r.critical_radius = row[1];
    r.stopping_step = row[2];
    r.eta = row[3];
    r.cross_validation = row[4];
    r.exponent = row[5];
    r.at_stop = {row[6], row[7]};
    r.at_best = {row[8], row[9]};
    r.at_ridge = {row[10], row[11]};
    r.best_step = row[12];
    r.holdout_step = row[13];
    r.ridge = row[14];
}

/// Fewest ranks of a group so that none holds more of the subset's matrices, its kernel and what carries it
/// to the rows that judge it, than it holds of the whole's.
int group_size(double rows, double whole_rows, double judging_rows, int ranks) {
    const double needed = rows * (rows + 2 * judging_rows),
                 whole = whole_rows * (whole_rows + 2 * judging_rows);
    return std::clamp(static_cast<int>(std::ceil(ranks * needed / whole)), 1, ranks);
}

}  // namespace

namespace {

bool less_error(const TestScore& a, const TestScore& b) { return a.mse < b.mse; }

/// Of ridges from nothing to all learned, six per factor of ten.
TestScore best_ridge_score(const KernelRegression& regression, double noise_floor) {
    const double largest = regression.l().front(), lowest = std::max(noise_floor, 1e-10 * largest);
    std::vector<std::vector<double>> weights{regression.ridge(10 * largest)};
    for (double rho = 5 * largest; rho >= lowest; rho /= std::pow(10, 1.0 / 6))
        weights.push_back(regression.ridge(rho));
    const std::vector<TestScore> scores = regression.scores(weights);
    return *std::min_element(scores.begin(), scores.end(), less_error);
}

}  // namespace

SubsetResult learned(const KernelRegression& regression, const SubsetInputs& inputs, double noise_floor) {
    SubsetResult result;
    const std::vector<double>& l = regression.l();
    result.at_stop = result.at_best = result.at_ridge = {unknown, unknown};
    result.noise_floor = noise_floor;
    result.ridge = result.stopping_step = result.eta = result.cross_validation = result.best_step =
        result.holdout_step = unknown;
    const double sigma = inputs.noise / inputs.radius;
    result.critical_radius = critical_radius(l, sigma);
    const DecayWindow window = decay_window(l, noise_floor, 0, inputs.trusted_ranks);
    result.exponent = no_decay_reason(l, noise_floor, window).empty()
                          ? fit_polynomial(l, regression.rows(), window).exponent
                          : unknown;
    // Nothing to learn from: a kernel of zeros, or steps given for the whole that diverge on this part.
    if (!(l.front() > 0) || !(regression.residual_mean_square() > 0)) return result;
    const StepSizes steps = inputs.step_sizes.value_or(StepSizes(1 / l.front()));
    const CrossValidatedRidge ridge = cross_validated_ridge(l, regression.squares(), noise_floor);
    result.ridge = ridge.ridge;
    result.cross_validation = ridge.score;
    if (regression.has_test()) result.at_ridge = best_ridge_score(regression, noise_floor);
    if (steps.first() * l.front() > 2) return result;
    result.stopping_step = stopping_step(l, sigma, steps);
    result.eta = steps.eta(result.stopping_step);
    if (!regression.has_test()) return result;

    const StoppingPath path = stopping_path(l, regression.squares(), inputs.noise, inputs.radius, steps,
                                            result.stopping_step, noise_floor);
    std::vector<std::vector<double>> weights;
    for (const double t : path.step) weights.push_back(regression.descent(steps, t));
    const std::vector<TestScore> descent = regression.scores(weights);
    const auto best = std::min_element(descent.begin(), descent.end(), less_error);
    result.at_best = *best;
    result.best_step = path.step[static_cast<std::size_t>(best - descent.begin())];
    const auto stop = std::find(path.step.begin(), path.step.end(), result.stopping_step);
    if (stop != path.step.end()) result.at_stop = descent[static_cast<std::size_t>(stop - path.step.begin())];

    return result;
}

std::vector<std::vector<SubsetResult>> nested_subsets(const SubsetInputs& inputs,
                                                      const std::vector<Index>& sizes, Index repeats,
                                                      Index keep_spectra, const Listener& listener) {
    if (sizes.empty()) return {};
    const DistributedMatrix& gram_matrix = *inputs.gram;
    const ProcessGrid& world = gram_matrix.grid();
    const MPI_Comm comm = world.comm().get();
    const Index examples = inputs.train.examples();
    std::vector<std::vector<Index>> permutations;
    for (Index r = 0; r < repeats; ++r)
        permutations.push_back(
            draw_rows(examples, 0, inputs.seed + 1000 + static_cast<std::uint64_t>(r), "the study"));
    std::vector<std::vector<SubsetResult>> results(
        sizes.size(), std::vector<SubsetResult>(static_cast<std::size_t>(repeats)));

    Index done = 0;
    for (std::size_t s = 0; s < sizes.size(); ++s) {
        const Index size = sizes[s];
        const double share = static_cast<double>(size) / static_cast<double>(examples);
        const auto rows_in_all = static_cast<double>(gram_matrix.rows());
        const double judging =
            inputs.cross != nullptr ? static_cast<double>(inputs.cross->rows()) : 0.5 * rows_in_all;
        const RankGroups groups(comm,
                                group_size(share * rows_in_all, rows_in_all, judging, world.comm().size()));
        for (Index first = 0; first < repeats; first += groups.count()) {
            listener.progress("subsets", done, std::ssize(sizes) * repeats);
            std::optional<DistributedMatrix> gram, cross, held;
            Targets train, held_targets;
            Index mine = -1;
            const Index last = std::min(repeats, first + groups.count());
            for (Index r = first; r < last; ++r) {
                const auto group = static_cast<int>(r - first);
                const std::vector<Index>& permutation = permutations[static_cast<std::size_t>(r)];
                const std::span<const Index> chosen(permutation.data(), static_cast<std::size_t>(size));
                const std::vector<Index> rows = inputs.train.rows_of(chosen);
                auto part = submatrix(gram_matrix, rows, rows, groups, group, gram_matrix.block());
                // The second half of the permutation is held out from every subset of the first.
                const std::span<const Index> held_out(permutation.data() + examples / 2,
                                                      static_cast<std::size_t>(examples - examples / 2));
                const bool holds_out = inputs.cross == nullptr ? size <= examples / 2 : size == examples / 2;
                std::optional<DistributedMatrix> to_test, to_held_out;
                if (inputs.cross != nullptr) {
                    std::vector<Index> all(static_cast<std::size_t>(inputs.cross->rows()));
                    std::iota(all.begin(), all.end(), Index{0});
                    to_test = submatrix(*inputs.cross, all, rows, groups, group, gram_matrix.block());
                }
                if (holds_out)
                    to_held_out = submatrix(gram_matrix, inputs.train.rows_of(held_out), rows, groups, group,
                                            gram_matrix.block());
                if (groups.mine() != group) continue;
                mine = r;
                gram = std::move(part);
                cross = std::move(to_test);
                held = std::move(to_held_out);
                train = inputs.train.of(chosen);
                if (held) held_targets = inputs.train.of(held_out);
            }
            std::vector<double> rows_found(static_cast<std::size_t>(last - first) * std::tuple_size_v<Row>,
                                           0.0);
            std::vector<SubsetResult> found(static_cast<std::size_t>(last - first));
            std::exception_ptr failure;
            // A group's ranks fail together (but for memory); the others hear of it behind their own work.
            try {
                if (mine >= 0) {
                    const Eigenpairs pairs = eigenpairs(std::move(*gram), Solver::automatic, true);
                    const double floor = noise_floor_of_operator(pairs.values, inputs.mixed_precision);
                    KernelRegression regression(pairs.values, *pairs.vectors, train, inputs.center);
                    SubsetResult& result = found[static_cast<std::size_t>(mine - first)];
                    double holdout_step = unknown;
                    if (held) {
                        regression.set_test(*held, held_targets);
                        result = learned(regression, inputs, floor);
                        holdout_step = result.best_step;
                    }
                    if (cross) regression.set_test(*cross, *inputs.test);
                    if (cross || !held) result = learned(regression, inputs, floor);
                    if (size == examples / 2) result.holdout_step = holdout_step;
                    if (size == keep_spectra) {
                        result.l = regression.l();
                        result.squares = regression.squares();
                    }
                    if (groups.grid().comm().rank() == 0) {
                        const Row row = row_of(result);
                        std::copy(
                            row.begin(), row.end(),
                            rows_found.begin() + (mine - first) * static_cast<Index>(std::tuple_size_v<Row>));
                    }
                }
            } catch (...) {
                failure = std::current_exception();
            }
            agree_on_failure(comm, failure);
            sum_over_ranks(comm, rows_found);
            done += last - first;
            for (Index r = first; r < last; ++r) {
                SubsetResult& result = found[static_cast<std::size_t>(r - first)];
                Row row;
                std::copy_n(rows_found.begin() + (r - first) * static_cast<Index>(row.size()), row.size(),
                            row.begin());
                set_row(result, row);
                result.examples = size;
                if (size == keep_spectra) {
                    const int root = static_cast<int>(r - first) * groups.size();
                    broadcast(comm, result.l, root);
                    broadcast(comm, result.squares, root);
                }
                results[s][static_cast<std::size_t>(r)] = std::move(result);
            }
        }
    }
    listener.progress("subsets", done, done);
    return results;
}

}  // namespace tangram
