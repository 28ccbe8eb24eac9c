#pragma once
#include <string>
#include <string_view>

namespace tangram {

/// How the gradients g, g' of two rows make an entry of the kernel (Malladi et al., arXiv 2210.05643;
/// sign(0) = 0). For an output that is a mean over labels (trace) the mean of the labels' kernels.
enum class Formula {
    sgd,                ///< <g, g'>
    signgd,             ///< <sign g, sign g'>
    asymmetric_signgd,  ///< <g, sign g'>: the row's gradient plain, the column's signed; not symmetric
};

/// "sgd", "signgd" or "asymmetric-signgd".
std::string name(Formula formula);
/// The formula of that name. @throws Error(study) naming kernel.formula where there is none
Formula formula_by_name(std::string_view name);

}  // namespace tangram
