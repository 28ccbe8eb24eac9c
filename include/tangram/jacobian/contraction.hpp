#pragma once
#include <string>
#include <vector>

#include "tangram/jacobian/formula.hpp"
#include "tangram/jacobian/output.hpp"
#include "tangram/model/network.hpp"
#include "tangram/text/data_set.hpp"

namespace tangram {

/// The ways to get a tensor's share of the Gram matrix, sum over its parameters of J_ik J_jk. All are exact
/// but the sketch.
enum class Contraction {
    multiply_out,   ///< gradients multiplied out, then a product of matrices
    factors,        ///< sum over tokens t of i, t' of j of (delta_t . delta_t') (x_t . x_t')
    matching_rows,  ///< tables: sum over rows that both gradients reach of their scalar product
    sketched,       ///< gradients projected (sketch.hpp), then as multiplied out; on average exact
};

/// "multiply-out", "factors", "matching-rows" or "sketch".
std::string name(Contraction contraction);

/// The choice for one tensor, with what it was chosen from: flops per pair of rows of the kernel and
/// component; infinite where a way does not exist for this kind of tensor.
struct ContractionChoice {
    Contraction chosen;
    double multiplied_out, in_factors, matching;
};

/// Mean numbers of tokens of a row of the kernel, all of them and those that are read.
struct MeanRows {
    MeanRows(double all_tokens, double tokens_read = 1) : tokens(all_tokens), reads(tokens_read) {}
    double tokens, reads;
};

/// The cheapest contraction of every selected parameter, from its shape and the mean number of tokens alone,
/// so that neither ranks nor memory nor timing decide a bit. Signs need entries of the gradient: no factors,
/// no sketch. Local.
/// @param rows  a linear layer behind the last attention layer sees the tokens that are read
/// @param sketch  > 0: linear weights are sketched to at most so many numbers where that takes at most half
/// of the flops that the cheapest exact contraction takes
std::vector<ContractionChoice> choose_contractions(const Program& program,
                                                   const std::vector<ParameterId>& parameters,
                                                   const MeanRows& rows, Index sketch = 0,
                                                   Formula formula = Formula::sgd);

/// One of a kernel's formulas, with how every selected parameter is contracted in it.
struct KernelFormula {
    Formula formula;
    std::vector<ContractionChoice> choices;
};

/// Mean number of tokens of an example, from the first 256 of every task as drawn, so that a larger sample of
/// one task with the same seed has the same. A task counts by its number of examples: rows of the kernel meet
/// each other whatever their task, so that a product in factors takes the square of the mean over all of
/// them.
double mean_tokens(const DataSet& data);
/// The same of the rows of the kernel that `outputs` make; one token read where no answers are scored.
MeanRows mean_rows(const DataSet& data, const KernelOutputs& outputs);

/// Flops of one forward pass through the linear layers, the vocabulary's where answers are scored. Local.
/// @param reads  tokens that are read
double forward_flops(const Program& program, Index tokens, Index reads);
/// Flops of one forward pass and of so many backward passes: a linear layer's gradient goes on to its input
/// only where a selected parameter lies before it. Local.
double pass_flops(const Program& program, const std::vector<ParameterId>& selected, const PassedRows& rows,
                  Index backward_passes);
/// Flops that deltas over the vocabulary take where they are computed again for the slices. Local.
double vocabulary_flops(const Program& program, const std::vector<ParameterId>& parameters, Index reads);

}  // namespace tangram
