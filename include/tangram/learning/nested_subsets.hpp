#pragma once
#include <optional>
#include <vector>

#include "tangram/learning/kernel_regression.hpp"
#include "tangram/learning/listener.hpp"
#include "tangram/rates/decay.hpp"
#include "tangram/rates/step_sizes.hpp"

namespace tangram {

/// What resampling needs of the whole sample. Equal on every rank.
struct SubsetInputs {
    const DistributedMatrix* gram;  ///< nullptr: no subsets, the whole sample alone
    const DistributedMatrix*
        cross;  ///< M x N; nullptr: errors are observed on a half that is held out, up to n/2
    const Targets& train;
    const Targets* test;
    Centring center;
    bool mixed_precision;
    double noise, radius;  ///< of the whole sample, used at every size
    /// Known to whoever has the whole sample and to whoever has a part; nothing: a part estimates its own.
    std::optional<double> given_noise, given_radius;
    std::optional<StepSizes> step_sizes;  ///< nothing: 1/l_1 of each subset
    std::uint64_t seed;
    Index trusted_ranks, outputs;            ///< decay_window's
    std::optional<DecayWindow> window = {};  ///< of the decay fit, at every size; none: each its own
};

/// One random subset of examples. Errors are NaN where they were not observed.
struct SubsetResult {
    Index examples = 0;
    std::vector<double> l, squares;  ///< N' each, only where asked for; see kernel_regression.hpp
    double noise_floor = 0;          ///< scale of l
    double critical_radius = 0, stopping_step = 0, eta = 0;  ///< eta = eta_T
    double ridge = 0;                                        ///< on K, by GCV
    double cross_validation = 0;  ///< GCV's estimate of the test error, at its best ridge
    double exponent = 0;          ///< of the polynomial fit in the window; NaN where there is none
    TestScore at_stop, at_best;
    TestScore at_ridge;      ///< the best ridge on these examples
    TestScore at_gcv_ridge;  ///< `ridge`, which the training examples choose
    double best_step = 0;
    bool best_at_end = false;  ///< the path ended there: the best step may be later
    double holdout_step = 0;   ///< half of the examples: the best step on the other half, infinite where
                               ///< the path ended there; else NaN
    /// What these examples alone would say: sigma and R, given or their own, T by them, and the error there.
    double own_noise = 0, own_radius = 0, own_stopping_step = 0;
    TestScore at_own_stop;
};

/// Fewest ranks so that none holds more of a subset's matrices, its kernel and what carries it to the rows
/// that judge it, than it holds of the whole's; more where their grid is squarer and as many groups of them
/// find room side by side. Local.
int ranks_of_subset(double rows, double whole_rows, double judging_rows, int ranks);

/// Subsets that are nested within a repeat: the first `size` examples of one random permutation per repeat
/// (seed + 1000 + repeat). Small ones are solved side by side on groups of ranks, of so many that none holds
/// more than its share of the whole matrix. Collective over the Gram matrix's grid; the results, sizes x
/// repeats, are equal on every rank.
/// @param sizes  examples, each at most the sample's
/// @param keep_spectra  the size whose l and squares are wanted (0: none)
/// @throws what the listener throws between subsets
std::vector<std::vector<SubsetResult>> nested_subsets(const SubsetInputs& inputs,
                                                      const std::vector<Index>& sizes, Index repeats,
                                                      Index keep_spectra, const Listener& listener);

/// For each repeat all examples in an order of its own: the first n are its subset of n. Local.
std::vector<std::vector<Index>> subset_orders(Index examples, Index repeats, std::uint64_t seed);

/// Everything about one sample that a learning curve shows; collective over the regression's grid. The
/// regression has its test set, or none.
SubsetResult learned(const KernelRegression& regression, const SubsetInputs& inputs, double noise_floor);

}  // namespace tangram
