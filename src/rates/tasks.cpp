#include "tangram/rates/tasks.hpp"

#include <algorithm>
#include <cmath>

namespace tangram {

double solution_weight(double l, double n, const StepSizes& steps, double t) {
    // Below the smallest normal quotient q / l loses digits; its limit is exact there.
    if (!(l > 1e-300)) return steps.eta(t) / n;
    return steps.filter(l, t) / (n * l);
}

Eigen::VectorXd TaskVectors::norms() const { return inner.diagonal().cwiseMax(0.0).cwiseSqrt(); }

Eigen::MatrixXd TaskVectors::cosines() const {
    const Eigen::VectorXd length = norms();
    Eigen::MatrixXd result = Eigen::MatrixXd::Zero(inner.rows(), inner.cols());
    for (Eigen::Index a = 0; a < inner.rows(); ++a)
        for (Eigen::Index b = 0; b < inner.cols(); ++b)
            if (length(a) > 0 && length(b) > 0) result(a, b) = inner(a, b) / (length(a) * length(b));
    return result;
}

}  // namespace tangram
