#pragma once
#include <limits>
#include <optional>
#include <span>
#include <string>

#include "tangram/index.hpp"
#include "tangram/rates/decay.hpp"

namespace tangram {

/// The target's power by rank, v_k^2 = constant (k + onset)^-(1 + tail_exponent), above a floor that is the
/// same in every direction: E z_k^2 = N v_k^2 + noise^2. The power beyond rank k then falls with
/// tail_exponent.
struct TargetPower {
    Interval tail_exponent;  ///< 2 a s of source and capacity (exponents.hpp); none below 0
    double constant;         ///< labels' units squared
    Interval noise;          ///< labels' units: the labels' noise, and what no rank resolves
    double onset = 0;        ///< as given
};

/// What the fit knows beside the coefficients.
struct PowerInputs {
    double onset = 0;        ///< of the decay: l_k falls like (k + onset)^-a
    double least_noise = 0;  ///< the floor is not below: the labels' noise, where it is given
    DecayWindow ranks;       ///< past the leading common direction, above the kernel's noise floor
};

/// Maximum likelihood over the ranks, each z_k^2 its mean times a chi-squared of one degree: rank by rank the
/// signal counts by its share of the mean, so that no tail is summed up whose noise must be subtracted first.
/// The floor is free, and its uncertainty in the exponent: 95 % of the profile likelihood (3.84 over two)
/// above the best exponent that is not negative (a power whose sum is infinite is no target's), widened by
/// the drift between all ranks and their first half, 1.96 times as in polynomial_intervals. The floor's
/// interval: the extremes over the exponent's, and 1.96 sqrt(2/ranks) of sampling. Local.
/// @param squares  N, z_k^2 = (u_k^T r)^2 in order of descending eigenvalue, mean over outputs
/// @return nothing, with the reason in `why`, where the ranks are too few, or their power is not told from
///         the same in every direction (twice the log-likelihood below 5.99), or falls slower than 1/k for
///         sure
/// @throws Error(numerical) where a coefficient is not finite
std::optional<TargetPower> fit_target_power(std::span<const double> squares, const PowerInputs& inputs,
                                            std::string& why);

}  // namespace tangram
