#include "tangram/rates/error_bound.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tangram/rates/noise.hpp"
#include "tangram/rates/stopping.hpp"
#include "unit/rates/gaussian_sample.hpp"

namespace tangram {
namespace {

/// What holds: eps_n = 0.1, sigma = 0.2, R = 2, T = 50, mean r^2 = 1.
BoundPremises sound() {
    BoundPremises premises{0.1, 0.2, 2.0, 50};
    premises.source = Interval{0.6, 0.5, 0.7};
    premises.residual_mean_square = 1;
    return premises;
}

TEST(ErrorBound, IsComparedWithWhatTheStartErrsBy) {
    const ErrorBound bound = error_bound(sound());
    EXPECT_DOUBLE_EQ(bound.value, 0.48);
    EXPECT_EQ(bound.none, "");
    EXPECT_FALSE(bound.vacuous);
    // 0.48 lies below the mean square 0.5, yet not below what is left of it without the noise, 0.46.
    BoundPremises noisy = sound();
    noisy.residual_mean_square = 0.5;
    EXPECT_TRUE(error_bound(noisy).vacuous);
    EXPECT_EQ(error_bound(noisy).none, "");
    // From eigenvalues alone there is nothing to compare it with.
    BoundPremises alone{0.1, 0.2, 1.0, 50};
    alone.radius_given = true;
    EXPECT_DOUBLE_EQ(error_bound(alone).value, 0.12);
    EXPECT_FALSE(error_bound(alone).vacuous);
}

TEST(ErrorBound, IsNoneWhereAPremiseFails) {
    std::vector<BoundPremises> failing(13, sound());
    failing[0].noise = NAN;
    failing[1].noise = 0;
    failing[2].stop = INFINITY;
    failing[3].stop = 0;
    failing[4].search_ended = true;
    failing[5].first_step = 1.5;
    failing[6].sketch_too_small = true;
    failing[7].source = Interval{0.45, 0.4, 0.49};
    failing[8].noise = 0, failing[8].stop = INFINITY, failing[8].critical_radius = 0;
    failing[9].radius_assumed = true;
    failing[10].source = Interval{0.6, 0.4, 0.8};  // undecided
    failing[11].source.reset();                    // not known
    failing[12].source = Interval{0.45, 0.4, 0.49}, failing[12].radius_given = true;
    for (const BoundPremises& premises : failing) {
        const ErrorBound bound = error_bound(premises);
        EXPECT_TRUE(std::isnan(bound.value));
        EXPECT_NE(bound.none, "");
        EXPECT_TRUE(bound.vacuous);
    }
    // Whoever gives R says that a ball holds the target; only an s below 1/2 speaks against it.
    for (const std::size_t i : {std::size_t{10}, std::size_t{11}}) {
        failing[i].radius_given = true;
        EXPECT_EQ(error_bound(failing[i]).none, "");
    }
    BoundPremises rounded = sound();
    rounded.first_step = 1 + 1e-12;
    EXPECT_EQ(error_bound(rounded).none, "");
}

TEST(ErrorBound, AResidualThatTheKernelCannotFitBoundsNothing) {
    // What a fitted head leaves: nothing of the residual in the leading directions. Cross-validation takes
    // the largest ridge, R is nearly zero, and 12 eps_n^2 R^2 would be a bound a thousand times below the
    // error, which is the whole residual.
    const std::vector<double> l = testing::power_law_eigenvalues(400, 1.2);
    std::vector<double> squares(400, 1.0);
    for (std::size_t i = 0; i < 100; ++i) squares[i] = 0;
    const CrossValidatedRidge ridge = cross_validated_ridge(l, squares, 0.0);
    EXPECT_TRUE(ridge.limited);
    BoundPremises premises{0, ridge.noise, target_radius(l, squares, ridge.ridge, 0.0), 0};
    premises.critical_radius = critical_radius(l, premises.noise / premises.radius);
    premises.stop = 1;  // whatever the rule says
    premises.residual_mean_square = 0.75;
    premises.source = Interval{1, 0.6, 2};
    EXPECT_LT(error_bound(premises).value, 0.1);
    premises.search_ended = ridge.limited;
    EXPECT_TRUE(std::isnan(error_bound(premises).value));
}

}  // namespace
}  // namespace tangram
