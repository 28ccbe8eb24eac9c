#pragma once
#include <optional>
#include <span>

#include "tangram/index.hpp"

/// Learning curves of kernel ridge regression predicted from a spectrum [EL: Simon, Dickens, Karkada,
/// DeWeese, arXiv 2110.03922]. l: eigenvalues of the kernel operator, which those of G/N over a sample of N
/// rows estimate, in any order, negative ones counted as zero; power: one per l, the target's squared
/// coefficient v_i^2 in the labels' units squared (from a sample: (u_i^T r)^2 / N, mean over outputs).
/// Everything here is local; an input that is not finite throws Error(numerical).
///
/// Coefficients that come from labels hold the labels' noise already: then noise = 0, and the predicted error
/// is that of predicting labels. Only for a known noiseless target is noise > 0 (docs/mathematics.md,
/// Learning curves: counting it twice doubled the error).
namespace tangram {

struct LearningPrediction {
    double kappa;        ///< scale of l: modes above it are learned
    double overfitting;  ///< E0 = n / (n - sum L_i^2)
    double learned;      ///< sum L_i, L_i = l_i / (l_i + kappa); learned + ridge/kappa = n
    double test_mse;     ///< E0 (sum (1 - L_i)^2 v_i^2 + noise^2)
    double train_mse;    ///< (ridge / (n kappa))^2 test_mse
};

/// @param samples  n > 0, not necessarily whole
/// @param ridge    delta >= 0 on G (undivided): the predictor is k(x, X) (G + delta I)^-1 y
/// @return nothing where kappa has no root: ridge = 0 and n >= the number of positive l, where the sample
///         determines every mode
/// kappa is bracketed and solved for in its logarithm, so that scales from 1e-12 to 1e12 lose no digit.
std::optional<LearningPrediction> predict_ridge(std::span<const double> l, std::span<const double> power,
                                                double samples, double ridge, double noise = 0);

/// Error on the rows that were not fitted, where the prediction is made from N rows that stand for all
/// others. Its test error is the mean over all N, those that were drawn among them: [EL]'s draws are
/// independent, so that of N rows `samples` draws leave the share (1 - 1/N)^samples unseen, and
///   test = seen * train + unseen * out,  seen = 1 - (1 - 1/N)^samples  [derived].
/// Left in, the fitted rows make the prediction 6 % low at N/16 and 12 to 25 % at N/8 to N/2. Simulated (800
/// rows of 3000 modes, a = 1.2, 1.5, 2, ridge 1e-3 of the mean diagonal) `out` is within 3 % up to N/3 and 6
/// % at N/2; with samples/N as the share that was seen it is 4 % off at N/4 and up to 20 % at N/2. Other
/// draws (400 rows of 1500 modes) gave within 9 % at N/8, and at N/2 8 % high for a large ridge, 18 % low for
/// a small one.
/// @param samples  as given to predict_ridge
/// @param rows     N > 1
double out_of_sample_mse(const LearningPrediction& prediction, double samples, Index rows);

struct PredictedRidge {
    double ridge;  ///< delta on G
    LearningPrediction prediction;
};
/// The ridge with the least predicted test error, searched on a logarithmic grid over delta/n in
/// [max(floor, 1e-14 l_1), 100 l_1] and refined by golden section.
/// @param floor  noise floor in the scale of l
/// @throws Error(numerical) where no l is positive
PredictedRidge best_predicted_ridge(std::span<const double> l, std::span<const double> power, double samples,
                                    double floor, double noise = 0);

/// Exponents x of n^-x, dimensionless.
struct PredictedExponents {
    double excess;  ///< of the error above sigma^2
    double whole;   ///< of the error with sigma^2
};
/// The exponents at which eigenlearning's error of the best ridge falls from N/32 to N/4 of the N rows that
/// it is predicted from: slopes of logarithms at N/32, N/16, N/8, N/4. The target's power is the
/// coefficients' own less the noise, which is predicted apart: left in them it is fitted like a signal, and
/// slopes of the excess come out up to 0.25 too small [simulated; tests/unit/rates/coverage.cpp].
/// @param squares  N, z_i^2 = (u_i^T r)^2, mean over outputs
/// @param floor    noise floor in the scale of l; below it rounding is no mode
/// @param noise    of fit_target_power (target_power.hpp), labels' units
/// @return nothing where the error is not above the noise at every size
/// @throws Error(numerical) where no l is positive
std::optional<PredictedExponents> predicted_exponents(std::span<const double> l,
                                                      std::span<const double> squares, double floor,
                                                      double noise);

}  // namespace tangram
