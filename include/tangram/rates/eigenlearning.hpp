#pragma once
#include <optional>
#include <span>
#include <string>

#include "tangram/index.hpp"

/// Learning curves of kernel ridge regression predicted from a spectrum [EL: Simon, Dickens, Karkada,
/// DeWeese, arXiv 2110.03922]. l: eigenvalues of the kernel operator, which those of G/N over a sample of N
/// rows estimate, in any order, negative ones counted as zero; power: one per l, the target's squared
/// coefficient v_i^2 in the labels' units squared (from a sample: (u_i^T r)^2 / N, mean over outputs).
/// Everything here is local; an input that is not finite throws Error(numerical).
///
/// Coefficients that come from labels hold the labels' noise already: then noise = 0, and the predicted error
/// is that of predicting labels. Only for a known noiseless target is noise > 0 (counting it twice doubled
/// the error).
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

/// Mean squared error on the rows that were not drawn, of ridge regression on `samples` of the N rows that l
/// and power come from, drawn without repetition. What is fitted there says nothing of them but through G,
/// and G + delta I has the same entries between rows that were drawn and rows that were not: it is ridgeless
/// regression with that kernel, which is right on every drawn row, and all of [EL]'s error is the others':
///   E0 sum (1 - L_i)^2 v_i^2 / (1 - n/N),  L_i = (l_i + delta/N) / (l_i + delta/N + kappa),  sum L_i = n
/// [derived]. At n = N its limit, N sum (v_i/m_i)^2 / ((sum 1/m_i)^2/N), m_i = l_i + delta/N, is generalised
/// cross-validation. Labels are the target as they are, noise included, so that nothing is counted twice.
/// Simulated with Gaussian features (a = 1.2, 1.5, 2, noise of 0.01 to 1, N = 240 and 400, n = N/8 to 3N/4,
/// large and small ridges; means over draws and samples) regression on drawn rows is within 2 % of it, where
/// [EL] with the fitted rows taken out as (1 - (1 - 1/N)^n) train is 5 % off at N/4 and 18 % at N/2. One
/// sample of 200 rows of min(x, x') is within 5 % down to ridges of 1e-5 N and 16 to 41 % off at 1e-7 N, of
/// the Laplace kernel on a line within 15 % down to 1e-3 N. Repeated examples break it: empty_directions().
/// @param l        N eigenvalues of G/N, of all rows; those that are not positive count as zero
/// @param power    (u_i^T r)^2 / N
/// @param samples  0 < n <= N
/// @param ridge    delta >= 0 on G
/// @return nothing where the sample determines every mode: ridge = 0 and n >= the number of positive l
std::optional<double> predict_unseen(std::span<const double> l, std::span<const double> power, double samples,
                                     double ridge);

/// Directions that are not above the floor and hold less than 1e-10 of the mean power, as examples that
/// repeat each other with equal labels leave one each: a row then says of its twin what no spectrum tells,
/// and predict_unseen() falls to nothing with the ridge. Centring the kernel leaves one for each output.
Index empty_directions(std::span<const double> l, std::span<const double> power, double floor);

/// Exponents x of n^-x, dimensionless.
struct PredictedExponents {
    double excess;  ///< of the error above sigma^2
    double whole;   ///< of the error with sigma^2
};
/// The exponents at which eigenlearning's error of the best ridge on unseen rows falls from N/32 to N/4 of
/// the N rows that it is predicted from: slopes of logarithms at N/32, N/16, N/8, N/4. The ridge is searched
/// on a logarithmic grid over delta/n in [max(floor, 1e-14 l_1), 100 l_1] and refined by golden section.
/// @param squares  N, z_i^2 = (u_i^T r)^2, mean over outputs
/// @param floor    noise floor in the scale of l; below it rounding is no mode
/// @param noise    of fit_target_power (target_power.hpp), labels' units
/// @return nothing, with the reason in `why`, where the error is not above the noise at every size, or where
///         the best ridge is the search's largest at one: such errors show where the search ends
/// @throws Error(numerical) where no l is positive
std::optional<PredictedExponents> predicted_exponents(std::span<const double> l,
                                                      std::span<const double> squares, double floor,
                                                      double noise, std::string& why);

}  // namespace tangram
