#pragma once
#include <limits>
#include <optional>
#include <string>

#include "tangram/rates/decay.hpp"

namespace tangram {

/// What a bound on the error at T rests on. Noise, radius and the residual in the labels' units.
struct BoundPremises {
    double critical_radius;  ///< of the rule with noise/radius
    double noise, radius;    ///< sigma and R; sigma NaN where it is not known
    double stop;             ///< T
    /// alpha_0 l_1: the theorem takes steps of at most 1/l_1.
    double first_step = 1;
    /// sigma or R is an estimate from a ridge that stands at the end of its search (noise.hpp).
    bool search_ended = false;
    bool radius_assumed = false;  ///< R is neither given nor estimated
    /// A sketch has too few dimensions for T.
    bool sketch_too_small = false;
    /// R is given: that a ball holds the target is the giver's word, unless s is shown to be below 1/2.
    bool radius_given = false;
    /// s of source and capacity (exponents.hpp) where it is known: below 1/2 no ball holds the target. Where
    /// R is estimated, only an interval from 1/2 on lets a bound pass.
    std::optional<Interval> source = {};
    std::string no_source = {};  ///< why it is not known
    std::string no_noise = "sigma is not known";
    /// mean r^2; infinite where no labels are known.
    double residual_mean_square = std::numeric_limits<double>::infinity();
    /// Of the directions, that holds nothing (empty_directions in eigenlearning.hpp): an estimated sigma is
    /// of the others.
    double empty_share = 0;
};

/// RWY's bound on the error at T to the noiseless target on the training inputs, 12 eps_n^2 R^2 in the
/// labels' units squared [RWY, Theorem 1].
struct ErrorBound {
    double value;      ///< NaN where nothing is bounded
    std::string none;  ///< why nothing is bounded, a sentence for the reader; empty where something is
    /// Not below mean(r^2) - sigma^2 (1 - empty_share), what predicting the start itself errs by; true where
    /// nothing is bounded.
    bool vacuous;
};
/// Local.
ErrorBound error_bound(const BoundPremises& premises);

}  // namespace tangram
