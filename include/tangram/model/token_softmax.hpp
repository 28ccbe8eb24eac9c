#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "tangram/files/stored_entries.hpp"
#include "tangram/model/network_passes.hpp"

namespace tangram {

/// Rows of features, the token that each predicts, what its log-probability's derivative is multiplied by,
/// and log sum_v exp(z_v).
template <class Real>
struct TokenPredictions {
    std::vector<Real> features;  ///< rows x width
    std::vector<std::int32_t> tokens;
    std::vector<Real> scales;
    std::vector<double> log_partitions;

    Index rows() const { return std::ssize(tokens); }
    void clear();
};

/// What the log-probabilities of an answer's `tokens` tokens are multiplied by in seed times its score.
template <class Real>
Real answer_scale(const operation::AnswerLikelihood& op, Real seed, Index tokens) {
    return op.mean ? static_cast<Real>(static_cast<double>(seed) / static_cast<double>(tokens)) : seed;
}

/// Scores of a block's answers: sums or means of the log-probabilities of the rows read, in their order.
/// @param terms  one for each row read
template <class Real>
std::vector<Real> answer_scores(const operation::AnswerLikelihood& op, const TokenBlock& block,
                                std::span<const double> terms);
/// Of each row read, answer_scale() of its answer's seed.
template <class Real>
std::vector<Real> answer_scales(const operation::AnswerLikelihood& op, const TokenBlock& block,
                                std::span<const Real> seeds);

/// The distribution softmax(z), z_v = features . table_v, or c tanh(z_v / c) with a cap c, over a vocabulary
/// of tokens, in blocks of rows and of arithmetic::vocabulary_block tokens: tokens x vocabulary never stand
/// at once. Local. Every row is treated alone, each z_v is one chain over the width, so that a row's bits
/// depend on itself only (arithmetic.hpp, 1.).
template <class Real>
class TokenSoftmax {
  public:
    /// @param table  vocabulary x width; what it stands in outlives the object
    /// @param cap    0: none
    TokenSoftmax(const StoredMatrix& table, Index vocabulary, Index width, double cap = 0)
        : table_(table), vocabulary_(vocabulary), width_(width), cap_(static_cast<Real>(cap)) {}

    /// log softmax at the token that each row predicts, and log sum_v exp(z_v); both `rows` long,
    /// overwritten.
    void log_probabilities(const Real* features, std::span<const std::int32_t> tokens, double* out,
                           double* log_partitions) const;
    /// out[row, v] = scale (1 where v is the token predicted - softmax_v), v in `vocabulary`, row-major: the
    /// derivatives of scale log softmax by the products features . table_v.
    void slopes(const Real* features, std::span<const std::int32_t> tokens, std::span<const Real> scales,
                const double* log_partitions, RowRange vocabulary, Real* out) const;
    void slopes(const TokenPredictions<Real>& of, RowRange vocabulary, Real* out) const {
        slopes(of.features.data(), of.tokens, of.scales, of.log_partitions.data(), vocabulary, out);
    }
    /// out[row] = (accumulate: +=) sum_v slopes[row, v] table_v: the derivatives by the features. Each entry
    /// one chain over the vocabulary, ascending.
    void feature_slopes(const Real* features, std::span<const std::int32_t> tokens,
                        std::span<const Real> scales, const double* log_partitions, bool accumulate,
                        Real* out) const;

    /// Bytes that the calls above hold while they run.
    static Index scratch_bytes(Index vocabulary);

  private:
    StoredMatrix rows_from(Index token) const {
        return {table_.at(token, 0), table_.type, table_.o_stride, table_.k_stride};
    }

    StoredMatrix table_;
    Index vocabulary_, width_;
    Real cap_;
};

extern template class TokenSoftmax<float>;
extern template class TokenSoftmax<double>;
extern template struct TokenPredictions<float>;
extern template struct TokenPredictions<double>;

}  // namespace tangram
