#include "tangram/rates/functionals.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tangram/error.hpp"
#include "tangram/not_known.hpp"

namespace tangram {

namespace {

double checked(double value) {
    if (!std::isfinite(value))
        throw Error(ExitStatus::numerical, ErrorKind::non_finite,
                    "an eigenvalue is not finite; look at the kernel");
    return std::max(value, 0.0);
}

/// Sum of a function of every eigenvalue, negative ones as zero.
template <class Function>
double sum_of(std::span<const double> l, Function&& function) {
    double sum = 0;
    for (const double value : l) sum += function(checked(value));
    return sum;
}

double trace(std::span<const double> l) {
    return sum_of(l, [](double value) { return value; });
}

double largest(std::span<const double> l) {
    double result = 0;
    for (const double value : l) result = std::max(result, checked(value));
    return result;
}

}  // namespace

double effective_dimension(std::span<const double> l, double t) {
    if (!(t > 0))
        throw Error(ExitStatus::numerical, ErrorKind::out_of_range,
                    "an effective dimension needs a positive ridge");
    return sum_of(l, [&](double value) { return value / (value + t); });
}

double information_gain(std::span<const double> l, double rho, Index n) {
    if (!(rho > 0))
        throw Error(ExitStatus::numerical, ErrorKind::out_of_range,
                    "an information gain needs positive noise");
    return 0.5 *
           sum_of(l, [&](double value) { return std::log1p(static_cast<double>(n) * value / rho / rho); });
}

double effective_rank(std::span<const double> l) {
    const double sum = trace(l);
    if (!(sum > 0)) return 0;
    return std::exp(sum_of(l, [&](double value) {
        const double share = value / sum;
        return share > 0 ? -share * std::log(share) : 0.0;
    }));
}

double stable_rank(std::span<const double> l) {
    const double top = largest(l);
    return top > 0 ? trace(l) / top : 0.0;
}

double participation_ratio(std::span<const double> l) {
    // Scaled by the largest, so that squares neither overflow nor vanish.
    const double top = largest(l);
    if (!(top > 0)) return 0;
    const double sum = trace(l) / top;
    return sum * sum / sum_of(l, [&](double value) { return value / top * (value / top); });
}

double kernel_target_alignment(std::span<const double> l, std::span<const double> coefficients,
                               Index outputs) {
    if (std::ssize(coefficients) != std::ssize(l) * outputs)
        throw Error(ExitStatus::numerical, ErrorKind::contradiction,
                    "a coefficient per output belongs to each eigenvalue");
    using Rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Eigen::Map<const Rows> Z(coefficients.data(), std::ssize(l), outputs);
    // ||Y Y^T||_F is that of the small Y^T Y.
    const double norm = (Z.transpose() * Z).norm(), top = largest(l);
    if (!std::isfinite(norm))
        throw Error(ExitStatus::numerical, ErrorKind::non_finite,
                    "a coefficient of the labels is not finite");
    if (!(top > 0) || !(norm > 0)) return 0;
    double form = 0;
    for (Index i = 0; i < std::ssize(l); ++i)
        form += std::max(l[static_cast<std::size_t>(i)], 0.0) / top * Z.row(i).squaredNorm();
    const double frobenius = std::sqrt(sum_of(l, [&](double value) { return value / top * (value / top); }));
    return form / (frobenius * norm);
}

std::vector<double> cumulative_power(std::span<const double> squares) {
    const double total = std::accumulate(squares.begin(), squares.end(), 0.0);
    std::vector<double> share(squares.size(), 1.0);
    if (!(total > 0)) return share;
    double sum = 0;
    for (std::size_t i = 0; i < squares.size(); ++i) {
        sum += squares[i];
        share[i] = sum / total;
    }
    return share;
}

double alignment_slope(std::span<const double> l, std::span<const double> squares, Index first, Index last) {
    double count = 0, x = 0, y = 0, xx = 0, xy = 0;
    for (int pass = 0; pass < 2; ++pass)
        for (Index k = first; k <= std::min(last, std::ssize(l)); ++k) {
            const auto i = static_cast<std::size_t>(k - 1);
            if (!(l[i] > 0) || !(squares[i] > 0)) continue;
            const double u = std::log(l[i]), v = std::log(squares[i]);
            if (pass == 0) {
                count += 1;
                x += u;
                y += v;
            } else {
                xx += (u - x / count) * (u - x / count);
                xy += (u - x / count) * (v - y / count);
            }
        }
    return count >= 5 && xx > 0 ? xy / xx : not_known;
}

}  // namespace tangram
