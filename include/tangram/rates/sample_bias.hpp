#pragma once
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "tangram/index.hpp"

/// What drawing n rows makes of a kernel's eigenvalues. Everything here is local.
namespace tangram {

/// A population of eigenvalues, descending: each value stands for `counts` ranks of it, and `rest` is the sum
/// of all that are too small to be told from zero.
struct Population {
    std::vector<double> values, counts;
    double rest = 0;
};

/// A population of a law's eigenvalues, that of rank k exp(log_law(k)).
/// @param leading  the eigenvalues of the first ranks, which the law does not describe
/// @param last     the last rank that the law describes; twice as many are given one by one, those behind
///                 share values, ten for a factor of e
/// @param behind   sum of the eigenvalues past `last` where it is known, whatever the law says of them
/// @param n        rows of the sample
/// @return no values where the law's sum does not converge and is needed, or is not finite
Population population_of(const std::function<double(double)>& log_law, std::span<const double> leading,
                         Index last, std::optional<double> behind, Index n);

/// Sample and population at a rank: log(l_k / lam_k).
struct RankBias {
    double rank;  ///< of the sample's eigenvalue; hardly ever whole
    double bias;
};

/// The bias of some ranks, by the deterministic equivalent of large samples (Marchenko, Pastur 1967;
/// Silverstein 1995). The level l of a sample belongs to a lam = x + iy, y >= 0, of the population's plane,
///   l = lam + (1/n) sum_j lam lam_j/(lam - lam_j),  Im l = 0:  (1/n) sum_j lam_j^2/|lam - lam_j|^2 = 1,
/// and above it lie (1/pi) Im [ sum_j log(1 - lam_j/lam) + n log lam + n l/lam ] eigenvalues. It is taken at
/// x = lam_k. To first order in 1/n, the bias is that of a spike, (1/n) sum lam_j/(lam_k - lam_j); unlike it,
/// this holds for ranks that are no spikes and for decays as slow as k^-0.6 [checked against Gaussian
/// features, n = 600: within 1.5 % up to rank 30 for a = 1.05, 1.2, 2, where the first order is off by 25 %].
/// @param ranks  rising, each of a value of its own
/// @return empty where the ranks of the sample do not rise (a law without decay)
std::vector<RankBias> sample_bias(const Population& population, Index n, std::span<const Index> ranks);

}  // namespace tangram
