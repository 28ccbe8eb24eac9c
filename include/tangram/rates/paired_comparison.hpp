#pragma once
#include <span>
#include <vector>

#include "tangram/index.hpp"
#include "tangram/rates/student.hpp"

namespace tangram {

/// Two predictors judged on the same examples: what one learns over the other. Far fewer examples show a
/// difference than their own intervals would, since most of the errors' spread is shared.
struct PairedComparison {
    double error_fall;      ///< mean squared error before less that after, in the labels' units squared
    double standard_error;  ///< of it: sd of the examples' differences over sqrt(M); NaN of one example alone
    Index gained, lost;     ///< examples named rightly after only, before only
    /// McNemar's exact test, two-sided: that gained and lost differ by chance alone (binomial, 1/2). 1 where
    /// no example changed.
    double p_value;
    Index examples = 0;  ///< M

    /// Beyond what chance shows in 95 of 100 cases, by Student's quantile; of several comparisons, in any.
    bool error_falls(Index comparisons = 1) const { return error_fall > margin(comparisons); }
    bool error_rises(Index comparisons = 1) const { return error_fall < -margin(comparisons); }
    bool accuracy_rises() const { return p_value < 0.05 && gained > lost; }
    bool accuracy_falls() const { return p_value < 0.05 && lost > gained; }

  private:
    double margin(Index comparisons) const {
        return student_quantile(examples - 1, comparisons) * standard_error;
    }
};

/// What one predictor does on each of M examples.
struct Judgement {
    std::vector<double> squared_errors;  ///< mean over the example's outputs
    std::vector<bool> right;             ///< names the label; empty where labels are no classes
};
/// Local. @throws Error(numerical) where the two are not of the same examples, or of none
PairedComparison compare_paired(const Judgement& before, const Judgement& after);

}  // namespace tangram
