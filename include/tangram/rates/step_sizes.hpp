#pragma once
#include <vector>

namespace tangram {

/// Learning rates alpha_0 >= alpha_1 >= ... > 0 of gradient descent: those listed, and the last of them ever
/// after; one number is a constant step. In the scale of 1/l.
class StepSizes {
  public:
    /// @throws Error(study) where the list is empty, a rate is not positive and finite, or one grows
    explicit StepSizes(std::vector<double> rates);
    StepSizes(double constant) : StepSizes(std::vector<double>{constant}) {}

    double first() const { return rates_.front(); }
    /// eta_t = sum_{tau < t} alpha_tau; t a whole number >= 0.
    double eta(double t) const;
    /// q_t = 1 - prod_{tau < t} (1 - alpha_tau l), the part of an eigendirection that t steps have fitted;
    /// dimensionless. Rises from 0 to 1 for alpha_0 l <= 1; swings around 1 for 1 < alpha_0 l < 2.
    double filter(double l, double t) const;
    /// The listed rates, the last of which goes on.
    const std::vector<double>& rates() const { return rates_; }

  private:
    std::vector<double> rates_;
    std::vector<double> eta_;  ///< eta_[t] for t up to the number listed
};

}  // namespace tangram
