#pragma once
#include <limits>
#include <span>
#include <string>

#include "tangram/index.hpp"
#include "tangram/rates/decay.hpp"

namespace tangram {

/// Errors of several sizes, and what is known of their spread.
struct ErrorCurve {
    std::span<const double> sizes;   ///< rising
    std::span<const double> values;  ///< sizes x repeats, row-major, finite
    Index repeats;
    /// Examples that the subsets of a repeat are drawn from, one within the next; infinite for samples that
    /// were drawn anew.
    double whole = std::numeric_limits<double>::infinity();
    double least = 0;   ///< the limit is not below
    double shared = 0;  ///< standard deviation of what all sizes have in common: the test examples' errors
};

/// E(n) = limit + c n^-exponent with a limit that is not known.
struct FallingError {
    Interval exponent;  ///< at most largest_error_exponent; NaN where `none` is not empty
    Interval limit;     ///< in the error's units
    std::string none;   ///< why there is no rate, a phrase for the reader; empty where there is one
};

/// A larger exponent cannot be told from a fall that is over.
inline constexpr double largest_error_exponent = 4;

/// Least squares with weights, the limit and the constant free for every exponent; 95 % intervals from the
/// exponents whose sum of squares is within Student's quantile squared of the least. Covariance of the means
/// over R repeats: a subset of n of N examples varies by (1/n - 1/N), subsets of one repeat share examples,
/// so that sizes n <= n' have the larger's variance over R in common, each a quarter of V/N of its own, V/N
/// the whole's variance by the subsets'
/// [derived; coverage: docs/mathematics.md, Rates in n]. No rate where the sizes show no fall, where the
/// largest exponents fit too, or where the limit is not determined: neither the least that is allowed
/// nor half of the last error more is excluded. Local.
/// @throws Error(numerical) with fewer than three sizes, or a value that is not finite
FallingError falling_error(const ErrorCurve& curve);

}  // namespace tangram
