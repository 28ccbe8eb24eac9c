#pragma once
#include "tangram/spectrum/leading_pairs.hpp"

namespace tangram {

/// How the eigenvalues of G are spread: shares of all N in bins of half a decade, largest first; the last bin
/// holds all that is smaller.
struct SpectralDensity {
    std::vector<double> value;   ///< geometric middle of each bin, scale of G; 0: of the last
    std::vector<double> weight;  ///< share of the eigenvalues in it, dimensionless; they add up to 1
    std::vector<double> low, high;
};

/// Products that spectral_density() takes of `probes` vectors each where not all eigenvalues are known.
inline constexpr Index density_steps = 64, density_probes = 8;

/// Stochastic Lanczos quadrature (Ubaru, Chen, Saad, SIAM J. Matrix Anal. Appl. 38 (2017) 1075) of what the
/// known pairs leave: probes of random signs, orthogonal to the known vectors, `density_steps` steps each.
/// Eigenvalues that are known are counted. low and high: mean over probes of the least and the greatest share
/// that any spectrum with the same moments has (the inequalities of Chebyshev, Markov and Stieltjes at a node
/// put there; Akhiezer, The Classical Moment Problem, 1965, 2.5; Golub, Meurant, Matrices, Moments and
/// Quadrature, 2010), wider by the 95 % interval of a share that so many probes see; weight: of the middle
/// between them. Collective over G.comm. Memory per rank: 3 N x probes.
/// @param known  all eigenvalues, or the largest ones with their vectors
/// @param floor  where the bins end, scale of G
SpectralDensity spectral_density(const SymmetricOperator& G, const LeadingPairs& known, double floor,
                                 std::uint64_t seed);

}  // namespace tangram
