#include <gtest/gtest.h>

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <iostream>
#include <numeric>

#include "support/expect_error.hpp"
#include "tangram/rates/decay.hpp"
#include "unit/rates/normal.hpp"

namespace tangram {
namespace {

using testing::Normal;

/// Eigenvalues of G/n, descending.
std::vector<double> spectrum(const Eigen::MatrixXd& G) {
    const Eigen::VectorXd w =
        Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(G, Eigen::EigenvaluesOnly).eigenvalues().reverse() /
        static_cast<double>(G.rows());
    return {w.data(), w.data() + w.size()};
}

/// Symmetric, n x n, of spectral norm 1.
Eigen::MatrixXd perturbation(Index n, std::uint64_t seed) {
    Normal normal(seed);
    Eigen::MatrixXd E(n, n);
    for (Index j = 0; j < n; ++j)
        for (Index i = 0; i <= j; ++i) E(i, j) = E(j, i) = normal();
    const std::vector<double> w = spectrum(E);
    return E / (static_cast<double>(n) * std::max(w.front(), -w.back()));
}

/// True eigenvalues of a kernel and what 100 samples of n examples make of them.
struct Truth {
    const char* words;
    DecayFamily family;
    Index n;
    double floor;  ///< over the largest eigenvalue
    std::vector<double> l;
    std::function<bool(const DecayIntervals&)> covered;
};

struct Counts {
    int right = 0, covered = 0;
};

Counts sample(const Truth& truth, int draws, std::uint64_t seed) {
    const auto begin = std::chrono::steady_clock::now();
    const Index n = truth.n, modes = std::ssize(truth.l), half = n / 2;
    const double floor = truth.floor * truth.l.front();
    // Gaussian features are the same in every basis, so that one perturbation is as good as fresh ones.
    const Eigen::MatrixXd E = perturbation(n, seed) * (floor * static_cast<double>(n));
    Counts counts;
    Normal normal(seed + 1);
    Eigen::MatrixXd features(n, modes), G(n, n);
    int chosen[4] = {};
    double sums[4] = {}, squares[4] = {}, widths[4] = {};
    int covers[4] = {};
    for (int d = 0; d < draws; ++d) {
        for (Index k = 0; k < modes; ++k)
            for (Index i = 0; i < n; ++i)
                features(i, k) = normal() * std::sqrt(truth.l[static_cast<std::size_t>(k)]);
        G = E;
        G.selfadjointView<Eigen::Lower>().rankUpdate(features);
        G.triangularView<Eigen::StrictlyUpper>() = G.transpose();
        const std::vector<double> l = spectrum(G);
        const DecayFit fit = fit_decay(l, floor, n);
        std::vector<DecayFit> replicas;
        for (int r = 0; r < 5; ++r) {
            std::vector<Index> rows(static_cast<std::size_t>(n));
            std::iota(rows.begin(), rows.end(), Index{0});
            for (std::size_t i = 0; i < static_cast<std::size_t>(half); ++i)
                std::swap(rows[i], rows[i + normal.below(static_cast<std::uint64_t>(n) - i)]);
            rows.resize(static_cast<std::size_t>(half));
            replicas.push_back(
                fit_decay(spectrum(Eigen::MatrixXd(G(rows, rows))), floor, half, fit.window));
        }
        const DecayIntervals intervals = decay_intervals(l, floor, n, fit, replicas);
        counts.right += fit.selected == truth.family ? 1 : 0;
        counts.covered += truth.covered(intervals) ? 1 : 0;
        ++chosen[static_cast<int>(fit.selected)];
        const Interval all[4] = {intervals.polynomial.exponent, intervals.exponential_rate,
                                 intervals.exponential_power, intervals.rank};
        for (int i = 0; i < 4; ++i) {
            sums[i] += all[i].value / draws, squares[i] += all[i].value * all[i].value / draws;
            widths[i] += (all[i].high - all[i].low) / 2 / draws;
        }
        if (d == 0) std::cout << "window " << fit.window.first << " " << fit.window.last << "; ";
        (void)covers;
    }
    std::cout << truth.words << ", n = " << n << ", floor " << truth.floor << ": right " << counts.right
              << ", covered " << counts.covered << " of " << draws << "\n   none/poly/exp/finite";
    for (int c : chosen) std::cout << " " << c;
    for (int i = 0; i < 4; ++i)
        std::cout << "; " << sums[i] << " sd " << std::sqrt(std::max(0.0, squares[i] - sums[i] * sums[i])) << " hw "
                  << widths[i];
    std::cout << "; " << std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() << " s\n";
    return counts;
}

std::vector<double> eigenvalues(Index modes, const std::function<double(double)>& law) {
    std::vector<double> l;
    for (Index k = 1; k <= modes; ++k) l.push_back(law(static_cast<double>(k)));
    return l;
}

bool holds(const Interval& interval, double value) { return interval.low <= value && value <= interval.high; }

TEST(DecayFamilies, Explore) {
    const int draws = 20;
    for (Index n : {400, 800}) {
        for (double a : {1.5, 2.0, 3.0})
            sample({"polynomial", DecayFamily::polynomial, n, 1e-8,
                    eigenvalues(a < 2 ? 2000 : 800, [&](double k) { return std::pow(k, -a); }),
                    [&](const DecayIntervals& i) { return holds(i.polynomial.exponent, a); }},
                   n == 400 ? draws : 5, 1);
        for (auto [b, g] : {std::pair{0.5, 1.0}, {2.0, 0.5}, {0.03, 2.0}, {1.0, 0.5}, {1.0, 1.0}})
            sample({"exponential", DecayFamily::exponential, n, 1e-8,
                    eigenvalues(g < 1 ? 1000 : 100, [&, b = b, g = g](double k) { return std::exp(-b * std::pow(k, g)); }),
                    [&, b = b, g = g](const DecayIntervals& i) { return holds(i.exponential_rate, b) && holds(i.exponential_power, g); }},
                   draws, 1);
        for (Index m : {3, 10, 30, 100})
            sample({"rank", DecayFamily::finite_rank, n, 1e-6,
                    eigenvalues(m, [&](double k) { return 1 / (1 + 5 * (k / static_cast<double>(m))); }),
                    [&](const DecayIntervals& i) { return holds(i.rank, static_cast<double>(m)); }},
                   draws, 1);
    }
}

}  // namespace
}  // namespace tangram
