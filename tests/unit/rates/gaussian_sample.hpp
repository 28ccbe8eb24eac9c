#pragma once

#include <Eigen/Core>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "tangram/index.hpp"
#include "unit/rates/normal.hpp"

namespace tangram::testing {

/// k^-exponent for k = 1 to modes.
inline std::vector<double> power_law_eigenvalues(Index modes, double exponent) {
    std::vector<double> l;
    for (Index k = 1; k <= modes; ++k) l.push_back(std::pow(static_cast<double>(k), -exponent));
    return l;
}

/// A kernel's eigenvalues: the leading ones, and the sum of all that follow.
struct Population {
    std::vector<double> leading;
    double rest = 0;
};

/// k^-exponent for all k, those past `drawn` as one sum.
inline Population power_law_population(Index drawn, double exponent) {
    Population all{power_law_eigenvalues(drawn, exponent)};
    for (Index k = 1'000'000; k > drawn; --k) all.rest += std::pow(static_cast<double>(k), -exponent);
    return all;
}

/// G of n Gaussian examples, n x n. Modes in `rest` are in it by their mean, their sum on the diagonal: of
/// l_k the share sqrt(2 sum of their squares)/(n l_k) is missed, and l_j/l_k of the pull of mode j on it.
inline Eigen::MatrixXd gaussian_gram(const Population& population, Index n, Normal& normal) {
    const Index modes = std::ssize(population.leading);
    Eigen::MatrixXd features(n, modes);
    for (Index k = 0; k < modes; ++k) {
        const double scale = std::sqrt(population.leading[static_cast<std::size_t>(k)]);
        for (Index i = 0; i < n; ++i) features(i, k) = normal() * scale;
    }
    Eigen::MatrixXd G = population.rest * Eigen::MatrixXd::Identity(n, n);
    G.selfadjointView<Eigen::Lower>().rankUpdate(features);
    G.triangularView<Eigen::StrictlyUpper>() = G.transpose();
    return G;
}

/// G of a random half of the examples.
inline Eigen::MatrixXd random_half(const Eigen::MatrixXd& G, Normal& normal) {
    std::vector<Index> rows(static_cast<std::size_t>(G.rows()));
    std::iota(rows.begin(), rows.end(), Index{0});
    const std::size_t half = rows.size() / 2;
    for (std::size_t i = 0; i < half; ++i) std::swap(rows[i], rows[i + normal.below(rows.size() - i)]);
    rows.resize(half);
    return G(rows, rows);
}

}  // namespace tangram::testing
