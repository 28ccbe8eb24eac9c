#pragma once
#include <Eigen/Core>

#include "tangram/rates/step_sizes.hpp"

/// Task arithmetic on the linearised model [SR: Sun, Raskutti, arXiv 2602.13942; algebra derived]: task a's
/// solution is theta_a - theta_0 = J_a^T c_a, so that nothing of a parameter vector's size is ever needed.
/// Everything here is local.
namespace tangram {

/// Weight of eigendirection i in c_a = U diag(w_i) U^T r_a at step t: w_i = q_i(t) / (n l_i), with the limit
/// eta_t / n as l_i -> 0.
/// @param l  eigenvalue of K_a = G_aa / n
/// @param n  rows of task a
double solution_weight(double l, double n, const StepSizes& steps, double t);

/// Inner products <tau_a, tau_b> = c_a^T G_ab c_b of the tasks' parameter changes, in squared parameter
/// units.
struct TaskVectors {
    Eigen::MatrixXd inner;  ///< tasks x tasks, symmetric
    /// ||tau_a||, and cos(tau_a, tau_b); 0 where a norm is zero.
    Eigen::VectorXd norms() const;
    Eigen::MatrixXd cosines() const;
};

}  // namespace tangram
