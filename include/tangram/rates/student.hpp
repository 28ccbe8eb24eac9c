#pragma once
#include "tangram/index.hpp"

namespace tangram {

/// The 97.5 % quantile of Student's t with so many degrees of freedom (at least 1): what 1.96 is where the
/// deviation is estimated from few numbers, 2.776 from five. By Cornish and Fisher's expansion in 1/freedom
/// (Abramowitz, Stegun 26.7.5) from 8 on, within 0.001; below from its tables. Local.
/// @param comparisons  of so many together none is beyond it by chance more often than one alone would be
///                     (Bonferroni: the quantile 1 - 0.025/comparisons); of more than one within 1 %, and
///                     infinite below 8 degrees of freedom
double student_quantile(Index freedom, Index comparisons = 1);

}  // namespace tangram
