#pragma once
#include <cmath>
#include <numeric>
#include <span>

#include "tangram/error.hpp"

namespace tangram {

/// Eigenvalues and the squared coefficients that belong to them. Local.
/// @throws Error(numerical) where there is not one for each, or one of either is not finite
inline void check_modes(std::span<const double> l, std::span<const double> squares) {
    if (squares.size() != l.size())
        throw Error(ExitStatus::numerical, ErrorKind::contradiction,
                    "one squared coefficient belongs to each eigenvalue");
    for (std::size_t i = 0; i < l.size(); ++i)
        if (!std::isfinite(l[i]) || !std::isfinite(squares[i]))
            throw Error(ExitStatus::numerical, ErrorKind::non_finite,
                        "an eigenvalue or a coefficient of the residual is not finite");
}

/// Which directions hold nothing (empty_directions in eigenlearning.hpp).
class EmptyDirections {
  public:
    EmptyDirections(std::span<const double> l, std::span<const double> squares, double floor)
        : l_(l),
          squares_(squares),
          floor_(floor),
          least_(1e-10 * std::accumulate(squares.begin(), squares.end(), 0.0) /
                 static_cast<double>(squares.size())) {}
    bool operator()(std::size_t i) const { return !(l_[i] > floor_) && !(squares_[i] > least_); }

  private:
    std::span<const double> l_, squares_;
    double floor_, least_;
};

}  // namespace tangram
