#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "tangram/rates/decay.hpp"
#include "tangram/rates/eigenlearning.hpp"
#include "tangram/rates/exponents.hpp"
#include "tangram/rates/falling_error.hpp"
#include "tangram/rates/noise.hpp"
#include "tangram/rates/step_sizes.hpp"
#include "tangram/rates/stopping.hpp"
#include "unit/rates/best_ridge.hpp"
#include "unit/rates/normal.hpp"
#include "unit/rates/symmetric_eigenpairs.hpp"

/// How often 95 % intervals of exponents hold the truth: Gaussian features of six kernels l_k = k^-a with
/// targets v_k ~ k^-(as + 1/2) of unit norm and noise sigma, sigma given and estimated. TANGRAM_COVERAGE_RUNS
/// (default 1) runs of each; the table of 60 stands in docs/mathematics.md, Rates in n.
namespace tangram {
namespace {

using testing::Normal;

constexpr Index rows = 300, modes = 1000, test_rows = 400, repeats = 5;

int runs() {
    const char* const given = std::getenv("TANGRAM_COVERAGE_RUNS");
    return given != nullptr ? std::max(1, std::atoi(given)) : 1;
}

struct Problem {
    double a, s, sigma;
    double observed;  ///< slope of the mean noiseless error at T over 60 runs, as ObservedErrors has it
    double tail() const { return 2 * a * s; }
};
constexpr Problem problems[] = {{1.2, 0.5, 0.3, 0.638}, {1.5, 0.25, 0.3, 0.433}, {1.5, 0.5, 0.1, 0.805},
                                {1.5, 0.5, 0.5, 0.622}, {1.5, 1.0, 0.3, 1.002},  {2.0, 0.5, 0.3, 0.713}};

struct Population {
    Eigen::VectorXd l{modes}, target{modes};
    explicit Population(const Problem& p) {
        for (Index k = 0; k < modes; ++k) {
            l(k) = std::pow(static_cast<double>(k + 1), -p.a);
            target(k) = std::pow(static_cast<double>(k + 1), -(p.a * p.s + 0.5));
        }
        target /= target.norm();
    }
};

/// Rows of a sample with their kernel, descending spectrum and coefficients.
struct Part {
    std::vector<Index> chosen;
    std::vector<double> l, z;
    Eigen::MatrixXd vectors;
    std::vector<double> squares() const {
        std::vector<double> result;
        for (const double value : z) result.push_back(value * value);
        return result;
    }
};

class Sample {
  public:
    Sample(const Population& p, double sigma, Normal& normal)
        : features_(rows, modes), test_features_(test_rows, modes) {
        for (Index k = 0; k < modes; ++k) {
            for (Index i = 0; i < rows; ++i) features_(i, k) = normal();
            for (Index i = 0; i < test_rows; ++i) test_features_(i, k) = normal();
        }
        labels_ = features_ * p.target;
        for (Index i = 0; i < rows; ++i) labels_(i) += sigma * normal();
        test_labels_ = test_features_ * p.target;
        for (Index i = 0; i < test_rows; ++i) test_labels_(i) += sigma * normal();
        const Eigen::MatrixXd scaled = features_ * p.l.asDiagonal();
        gram_ = scaled * features_.transpose();
        cross_ = test_features_ * scaled.transpose();
    }
    Part part(std::vector<Index> chosen) const {
        Part part{std::move(chosen), {}, {}, {}};
        const auto n = static_cast<double>(part.chosen.size());
        const testing::SymmetricEigenpairs pairs =
            testing::symmetric_eigenpairs(gram_(part.chosen, part.chosen) / n);
        part.vectors = pairs.vectors.rowwise().reverse();
        const Eigen::VectorXd values = pairs.values.reverse(),
                              z = part.vectors.transpose() * labels_(part.chosen);
        part.l.assign(values.data(), values.data() + values.size());
        part.z.assign(z.data(), z.data() + z.size());
        return part;
    }
    /// Gradient descent's error after t steps of 1/l_1, on the test rows.
    double error(const Part& part, double t) const {
        const StepSizes steps(1 / part.l.front());
        Eigen::VectorXd weighted(std::ssize(part.l));
        for (Eigen::Index i = 0; i < weighted.size(); ++i) {
            const double l = std::max(part.l[static_cast<std::size_t>(i)], 1e-13 * part.l.front());
            weighted(i) = steps.filter(l, t) / (static_cast<double>(part.l.size()) * l) *
                          part.z[static_cast<std::size_t>(i)];
        }
        const Eigen::VectorXd c = part.vectors * weighted;
        return (test_labels_ - cross_(Eigen::all, part.chosen) * c).squaredNorm() / test_rows;
    }

  private:
    Eigen::MatrixXd features_, test_features_, gram_, cross_;
    Eigen::VectorXd labels_, test_labels_;
};

/// Intervals of one exponent over all runs.
struct Coverage {
    int covered = 0, known = 0, tried = 0;
    double width = 0;
    void add(const std::optional<Interval>& found, double truth) {
        ++tried;
        if (!found) return;
        ++known;
        covered += found->low <= truth && truth <= found->high ? 1 : 0;
        width += found->high - found->low;
    }
    void add(const Coverage& other) {
        covered += other.covered;
        known += other.known;
        tried += other.tried;
        width += other.width;
    }
    void print(const std::string& words) const {
        std::cout << words << ": covered " << covered << " of " << known << " intervals (" << tried
                  << " runs), mean width " << mean_width() << "\n";
    }
    double mean_width() const { return known > 0 ? width / known : 0; }
};

int least_covered(int intervals) { return intervals > 100 ? intervals * 9 / 10 : intervals * 2 / 3; }

std::vector<Index> first_rows(const std::vector<Index>& permutation, Index count) {
    return {permutation.begin(), permutation.begin() + count};
}

std::vector<Index> shuffled(Normal& normal) {
    std::vector<Index> permutation(rows);
    std::iota(permutation.begin(), permutation.end(), Index{0});
    for (std::size_t i = 0; i + 1 < permutation.size(); ++i)
        std::swap(permutation[i], permutation[i + normal.below(permutation.size() - i)]);
    return permutation;
}

std::string words_of(const Problem& p, const char* mode) {
    return "a = " + std::to_string(p.a).substr(0, 4) + ", s = " + std::to_string(p.s).substr(0, 4) +
           ", sigma = " + std::to_string(p.sigma).substr(0, 4) + " " + mode;
}

/// 2as and s of every run.
TEST(Coverage, SourceAndCapacity) {
    for (const bool given : {true, false}) {
        Coverage all_s, all_x;
        for (const Problem& p : problems) {
            const Population population(p);
            Normal normal(static_cast<std::uint64_t>(1000 * p.a + 100 * p.s + 10 * p.sigma));
            Coverage of_s, of_x;
            for (int run = 0; run < runs(); ++run) {
                const Sample sample(population, p.sigma, normal);
                std::vector<Index> all(rows);
                std::iota(all.begin(), all.end(), Index{0});
                const Part whole = sample.part(all);
                const DecayFit decay = fit_decay(whole.l, 1e-12, rows);
                std::vector<DecayFit> halves;
                for (int half = 0; half < repeats; ++half)
                    halves.push_back(fit_decay(sample.part(first_rows(shuffled(normal), rows / 2)).l, 1e-12,
                                               rows / 2, decay.window));
                const Interval a = decay_intervals(whole.l, 1e-12, rows, decay, halves).polynomial.exponent;
                std::string why;
                const bool onset = decay.polynomial && decay.selected != DecayFamily::none;
                const auto power = fit_target_power(whole.squares(),
                                                    {onset ? decay.power_law().onset : 0.0,
                                                     given ? p.sigma : 0.0,
                                                     {decay.window.first, rows}},
                                                    why);
                std::optional<Interval> s, x;
                if (power) {
                    const SourceCapacity found =
                        source_and_capacity(*power, a, onset ? decay.power_law().onset : 0.0,
                                            onset && !decay.onset_is_at_its_limit());
                    s = found.source;
                    x = found.noisy;
                }
                of_s.add(s, p.s);
                of_x.add(x, p.tail() / (1 + p.tail()));
            }
            if (runs() > 1) {
                of_s.print(words_of(p, given ? "given" : "auto") + ", s");
                of_x.print(words_of(p, given ? "given" : "auto") + ", 2as/(1+2as)");
            }
            all_s.add(of_s);
            all_x.add(of_x);
        }
        for (const Coverage& c : {all_s, all_x}) {
            c.print(given ? "source and capacity, sigma given" : "source and capacity, sigma estimated");
            // Of 6 intervals of 95 % fewer than 4 hold the truth once in 450 tries; of 360 fewer than 324
            // hardly ever.
            EXPECT_GE(c.covered, least_covered(c.known));
            EXPECT_EQ(c.known, c.tried);
        }
        // What holds everything holds the truth: docs/mathematics.md has 0.65 and 0.23 over the problems,
        // from 0.3 to 1.3 and 0.14 to 0.36.
        EXPECT_LT(all_s.mean_width(), 1.0);
        EXPECT_LT(all_x.mean_width(), 0.4);
    }
}

/// Errors of gradient descent at T on nested subsets, five repeats.
TEST(Coverage, ObservedErrors) {
    const std::vector<double> sizes{37, 75, 150, 300};
    for (const bool given : {true, false}) {
        Coverage all;
        for (const Problem& p : problems) {
            const Population population(p);
            Normal normal(static_cast<std::uint64_t>(2000 * p.a + 100 * p.s + 10 * p.sigma));
            std::vector<std::optional<Interval>> found;
            for (int run = 0; run < runs(); ++run) {
                const Sample sample(population, p.sigma, normal);
                std::vector<Index> every(rows);
                std::iota(every.begin(), every.end(), Index{0});
                const Part whole = sample.part(every);
                const CrossValidatedRidge ridge = cross_validated_ridge(whole.l, whole.squares(), 1e-12);
                const double sigma = (given ? p.sigma : ridge.noise) /
                                     target_radius(whole.l, whole.squares(), ridge.ridge, 1e-12);
                std::vector<double> values(sizes.size() * repeats);
                for (Index r = 0; r < repeats; ++r) {
                    const std::vector<Index> permutation = shuffled(normal);
                    for (std::size_t s = 0; s < sizes.size(); ++s) {
                        const bool is_whole = sizes[s] == rows;
                        const Part own =
                            is_whole && r > 0
                                ? Part{}
                                : (is_whole
                                       ? whole
                                       : sample.part(first_rows(permutation, static_cast<Index>(sizes[s]))));
                        auto& value = values[s * repeats + static_cast<std::size_t>(r)];
                        if (own.l.empty()) {
                            value = values[s * repeats];
                            continue;
                        }
                        const double t = stopping_step(own.l, sigma, StepSizes(1 / own.l.front()));
                        value = sample.error(own, t);
                    }
                }
                const double least = given ? p.sigma * p.sigma * (1 - 1.96 * std::sqrt(2.0 / test_rows)) : 0;
                const FallingError error = falling_error({sizes, values, repeats, rows, least, 0});
                found.push_back(error.none.empty() ? std::optional(error.exponent) : std::nullopt);
            }
            Coverage own;
            for (const auto& interval : found) own.add(interval, p.observed);
            if (runs() > 1)
                own.print(words_of(p, given ? "given" : "auto") +
                          ", x = " + std::to_string(p.observed).substr(0, 5));
            all.add(own);
        }
        all.print(given ? "observed, sigma given" : "observed, sigma estimated");
        EXPECT_GE(all.covered, least_covered(all.known));
        // By the table of docs/mathematics.md 9 of 10 and 1 of 8 runs, 1.5 and 1.7 wide, up to 2.4.
        EXPECT_GE(all.known, given ? 0.4 * all.tried : 1);
        EXPECT_LT(all.mean_width(), 3.0);
    }
}

/// Eigenlearning's excess error of the best ridge at n/32 to n/4, from a sample alone, against that of the
/// population.
TEST(Coverage, Eigenlearning) {
    Coverage all;
    std::vector<Problem> with_little_noise(std::begin(problems), std::end(problems));
    with_little_noise.insert(with_little_noise.end(), {{1.5, 0.28, 0.01, 0}, {1.5, 0.5, 0.01, 0}});
    for (const Problem& p : with_little_noise) {
        const Population population(p);
        Normal normal(static_cast<std::uint64_t>(3000 * p.a + 100 * p.s + 10 * p.sigma));
        // The population's: its own coefficients, n/32 to n/4 of the sample's n.
        std::vector<double> sizes, excess;
        for (const Index share : {32, 16, 8, 4}) {
            sizes.push_back(static_cast<double>(rows) / static_cast<double>(share));
            const std::vector<double> l(population.l.data(), population.l.data() + modes);
            std::vector<double> power;
            for (const double v : population.target) power.push_back(v * v);
            excess.push_back(testing::error_of_best_ridge(l, power, sizes.back(), p.sigma) -
                             p.sigma * p.sigma);
        }
        const double truth = power_law(sizes, excess, 1).value;
        const auto of_part = [&](const Part& part) -> std::optional<double> {
            std::string why;
            const auto power = fit_target_power(part.squares(), {0, 0, {1, std::ssize(part.l)}}, why);
            if (!power) return std::nullopt;
            const auto x = predicted_exponents(part.l, part.squares(), 1e-12, power->noise.value, why);
            return x ? std::optional(x->excess) : std::nullopt;
        };
        Coverage own;
        for (int run = 0; run < runs(); ++run) {
            const Sample sample(population, p.sigma, normal);
            std::vector<Index> every(rows);
            std::iota(every.begin(), every.end(), Index{0});
            const auto whole = of_part(sample.part(every));
            std::vector<double> halves;
            for (Index r = 0; r < repeats; ++r)
                if (const auto half = of_part(sample.part(first_rows(shuffled(normal), rows / 2))))
                    halves.push_back(*half);
            const auto interval = whole ? with_spread(*whole, halves) : std::nullopt;
            own.add(interval, truth);
        }
        if (runs() > 1) own.print(words_of(p, "auto") + ", x = " + std::to_string(truth).substr(0, 5));
        all.add(own);
    }
    all.print("eigenlearning, sigma estimated");
    EXPECT_GE(all.known, 0.8 * all.tried);
    EXPECT_LT(all.mean_width(), 0.4);  // 0.16 to 0.28 in docs/mathematics.md
    EXPECT_GE(all.covered, least_covered(all.known));
}

}  // namespace
}  // namespace tangram
