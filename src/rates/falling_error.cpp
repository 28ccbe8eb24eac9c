#include "tangram/rates/falling_error.hpp"

#include <fmt/core.h>

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <vector>

#include "least.hpp"
#include "tangram/error.hpp"
#include "tangram/not_known.hpp"
#include "tangram/rates/student.hpp"

namespace tangram {

namespace {

constexpr double smallest_exponent = 0.005;

/// Means over the repeats with their covariance.
struct Means {
    Eigen::VectorXd sizes, errors;  ///< sizes over the largest
    Eigen::MatrixXd covariance;
    Index freedom;   ///< degrees that the covariance was estimated with
    bool estimated;  ///< false: no spread is known, the covariance is the identity
};

Means means_of(const ErrorCurve& curve) {
    const auto size = static_cast<Eigen::Index>(curve.sizes.size());
    const auto repeats = static_cast<double>(curve.repeats);
    Means m{Eigen::VectorXd(size), Eigen::VectorXd(size), Eigen::MatrixXd::Zero(size, size), 0, false};
    Eigen::VectorXd variance = Eigen::VectorXd::Zero(size);
    double of_whole = 0, spread = 0;
    for (Eigen::Index s = 0; s < size; ++s) {
        m.sizes(s) = curve.sizes[static_cast<std::size_t>(s)] / curve.sizes.back();
        const Eigen::Map<const Eigen::VectorXd> values(curve.values.data() + s * curve.repeats,
                                                       curve.repeats);
        m.errors(s) = values.mean();
        if (curve.repeats < 2) continue;
        variance(s) = (values.array() - m.errors(s)).square().sum() / (repeats - 1);
        // Equal values leave rounding alone.
        if (!(variance(s) > 1e-24 * m.errors(s) * m.errors(s))) continue;
        spread += 1;
        const double share = curve.sizes[static_cast<std::size_t>(s)] / curve.whole;
        if (share < 1) of_whole += variance(s) * share / (1 - share);
    }
    m.freedom = static_cast<Index>(spread) * (curve.repeats - 1);
    m.estimated = spread > 0;
    if (!m.estimated) {
        m.covariance = Eigen::MatrixXd::Identity(size, size);
        m.freedom = size - 3;
        return m;
    }
    of_whole /= spread;
    for (Eigen::Index s = size - 1; s-- > 0;) variance(s) = std::max(variance(s), variance(s + 1));
    for (Eigen::Index s = 0; s < size; ++s) {
        for (Eigen::Index t = 0; t < size; ++t) m.covariance(s, t) = variance(std::max(s, t)) / repeats;
        // Of its own: so much that sizes of equal spread still tell something apart.
        m.covariance(s, s) += std::max(of_whole / 4, 0.1 * variance(0) / repeats);
    }
    return m;
}

/// The best limit and constant at an exponent, and the weighted sum of squares that they leave.
struct Fit {
    double limit, constant, squares;
};

class FitsOfMeans {
  public:
    FitsOfMeans(const Means& means, double least)
        : means_(means), least_(least), weights_(means.covariance.llt()), one_(means.errors.size()) {
        one_.setOnes();
    }

    Fit at(double exponent) const {
        const Eigen::VectorXd power =
            means_.sizes.unaryExpr([&](double n) { return std::pow(n, -exponent); });
        const double aa = inner(one_, one_), ab = inner(one_, power), bb = inner(power, power),
                     ay = inner(one_, means_.errors), by = inner(power, means_.errors),
                     determinant = aa * bb - ab * ab;
        Fit fit{(bb * ay - ab * by) / determinant, (aa * by - ab * ay) / determinant, 0};
        if (!(fit.limit > least_)) fit = {least_, (by - least_ * ab) / bb, 0};
        if (!(fit.constant > 0)) fit = flat();
        const Eigen::VectorXd rest = means_.errors - fit.limit * one_ - fit.constant * power;
        fit.squares = inner(rest, rest);
        return fit;
    }
    /// No fall at all.
    Fit flat() const {
        Fit fit{inner(one_, means_.errors) / inner(one_, one_), 0, 0};
        const Eigen::VectorXd rest = means_.errors - fit.limit * one_;
        fit.squares = inner(rest, rest);
        return fit;
    }

  private:
    double inner(const Eigen::VectorXd& a, const Eigen::VectorXd& b) const {
        return a.dot(weights_.solve(b));
    }
    const Means& means_;
    double least_;
    Eigen::LLT<Eigen::MatrixXd> weights_;
    Eigen::VectorXd one_;
};

std::string text_of(double value) { return fmt::format("{:.3g}", value); }

/// Why there is no rate, by the intervals before what all sizes have in common; empty where there is one.
/// @param least  that the limit may be
std::string no_rate(const FallingError& found, const Means& means, double least, bool flat_fits) {
    const double last = means.errors(means.errors.size() - 1);
    if (flat_fits)
        return "the error goes from " + text_of(means.errors(0)) + " to " + text_of(last) +
               ", no more than its spread over repeats";
    if (found.exponent.high > 0.99 * largest_error_exponent)
        return "A + B n^-x fits with every x from " + text_of(found.exponent.low) + " on, and A from " +
               text_of(found.limit.low) + " to " + text_of(found.limit.high) + "; take more or smaller sizes";
    if (!(found.limit.low > least + 1e-9 * last) && found.limit.high - least > 0.5 * last)
        return "A + B n^-x fits with every A from " + text_of(least) + " to " + text_of(found.limit.high) +
               ", and x from " + text_of(found.exponent.low) + " to " + text_of(found.exponent.high) +
               "; take more or larger sizes";
    return {};
}

}  // namespace

FallingError falling_error(const ErrorCurve& curve) {
    if (curve.sizes.size() < 3 || curve.repeats < 1 ||
        curve.values.size() != curve.sizes.size() * static_cast<std::size_t>(curve.repeats))
        throw Error(ExitStatus::numerical, ErrorKind::too_few,
                    "a limit and a rate need at least three sizes and every repeat's value");
    for (const double value : curve.values)
        if (!std::isfinite(value))
            throw Error(ExitStatus::numerical, ErrorKind::non_finite,
                        "a rate is taken of finite errors only");
    FallingError result{{not_known, not_known, not_known}, {not_known, not_known, not_known}, {}};
    const Means means = means_of(curve);
    // Of one run a size the curve's own scatter is the judge: where that is small by luck the interval is
    // narrow, and it is the narrow ones that are stated (of four sizes 61 % hold the truth, of six 93 %).
    constexpr Index fewest_of_one_run = 3;
    if (means.freedom < (curve.repeats > 1 ? 1 : fewest_of_one_run)) {
        result.none = "A + B n^-x takes six sizes, or more runs of each than one (rates.repeats, data.seed)";
        return result;
    }
    const FitsOfMeans fits(means, curve.least);
    const auto squares = [&](double log_exponent) { return fits.at(std::exp(log_exponent)).squares; };
    const double low = std::log(smallest_exponent), high = std::log(largest_error_exponent);
    const double best = std::exp(argument_of_least(low, high, 200, 60, squares));
    const Fit found = fits.at(best);
    // A sum of squares beyond its degrees of freedom is the curve's bend.
    const double rounding = 1e-20 * means.errors.squaredNorm(),
                 spare = static_cast<double>(std::max<Index>(1, std::ssize(curve.sizes) - 3)),
                 scale = means.estimated ? std::max(1.0, found.squares / spare)
                                         : std::max(rounding, found.squares / spare),
                 allowed = std::pow(student_quantile(means.freedom), 2) * scale;
    result.exponent = {best, best, best};
    result.limit = {found.limit, found.limit, found.limit};
    constexpr int grid = 600;
    for (int k = 0; k <= grid; ++k) {
        const double exponent = std::exp(low + (high - low) * k / grid);
        const Fit fit = fits.at(exponent);
        if (!(fit.squares <= found.squares + allowed)) continue;
        result.exponent.low = std::min(result.exponent.low, exponent);
        result.exponent.high = std::max(result.exponent.high, exponent);
        result.limit.low = std::min(result.limit.low, fit.limit);
        result.limit.high = std::max(result.limit.high, fit.limit);
    }
    result.none = no_rate(result, means, curve.least, fits.flat().squares <= found.squares + allowed);
    result.limit.low = std::max(curve.least, result.limit.low - 1.96 * curve.shared);
    result.limit.high += 1.96 * curve.shared;
    if (!result.none.empty()) result.exponent = {not_known, not_known, not_known};
    return result;
}

}  // namespace tangram
