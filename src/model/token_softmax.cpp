#include "tangram/model/token_softmax.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "operations.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/elementary.hpp"

namespace tangram {

namespace {

/// Rows that a block of the table is read for at once. No bit depends on it.
constexpr Index rows_at_once = 32;

/// Calls visit(first row, rows) for blocks of rows.
template <class Visit>
void for_row_blocks(Index rows, Visit visit) {
    for (Index first = 0; first < rows; first += rows_at_once)
        visit(first, std::min(rows_at_once, rows - first));
}

template <class Visit>
void for_vocabulary_blocks(RowRange vocabulary, Visit visit) {
    for (Index v = vocabulary.first; v < vocabulary.last; v += arithmetic::vocabulary_block)
        visit(RowRange{v, std::min(vocabulary.last, v + arithmetic::vocabulary_block)});
}

/// z becomes cap tanh(z / cap); no cap: 0.
template <class Real>
void put_cap(Real cap, Index n, Real* z) {
    for (Index i = 0; cap > 0 && i < n; ++i) z[i] = operations::capped(z[i], cap);
}

/// sum_i exp(z_i - shift) of one block, in sixteen running float64 sums.
template <class Real>
double sum_of_powers(Real* z, Index n, Real shift) {
    for (Index i = 0; i < n; ++i) z[i] = elementary::exp(z[i] - shift);
    std::array<double, 16> sums{};
    for (Index i = 0; i < n; ++i)
        sums[static_cast<std::size_t>(i) % sums.size()] += static_cast<double>(z[i]);
    double sum = 0;
    for (const double part : sums) sum += part;
    return sum;
}

}  // namespace

template <class Real>
void TokenPredictions<Real>::clear() {
    features.clear();
    tokens.clear();
    scales.clear();
    log_partitions.clear();
}

template <class Real>
std::vector<Real> answer_scores(const operation::AnswerLikelihood& op, const TokenBlock& block,
                                std::span<const double> terms) {
    std::vector<Real> scores;
    scores.reserve(static_cast<std::size_t>(block.examples()));
    for (Index e = 0; e < block.examples(); ++e) {
        const RowRange rows = block.rows_of(RowSet::reads, e);
        double sum = 0;
        for (Index row = rows.first; row < rows.last; ++row) sum += terms[static_cast<std::size_t>(row)];
        scores.push_back(static_cast<Real>(op.mean ? sum / static_cast<double>(rows.size()) : sum));
    }
    return scores;
}

template <class Real>
std::vector<Real> answer_scales(const operation::AnswerLikelihood& op, const TokenBlock& block,
                                std::span<const Real> seeds) {
    std::vector<Real> scales;
    for (Index e = 0; e < block.examples(); ++e) {
        const Index rows = block.rows_of(RowSet::reads, e).size();
        scales.insert(scales.end(), static_cast<std::size_t>(rows),
                      answer_scale(op, seeds[static_cast<std::size_t>(e)], rows));
    }
    return scales;
}

template <class Real>
Index TokenSoftmax<Real>::scratch_bytes(Index vocabulary) {
    return static_cast<Index>(sizeof(Real)) *
           (rows_at_once * std::min(vocabulary, arithmetic::vocabulary_block) +
            2 * operations::panel_depth * operations::panel_width<Real>);
}

template <class Real>
void TokenSoftmax<Real>::log_probabilities(const Real* features, std::span<const std::int32_t> tokens,
                                           double* out, double* log_partitions) const {
    operations::Buffer<Real> scratch, block;
    for_row_blocks(std::ssize(tokens), [&](Index first, Index rows) {
        std::array<Real, rows_at_once> largest, predicted{};
        std::array<double, rows_at_once> sums{};
        largest.fill(-std::numeric_limits<Real>::infinity());
        for_vocabulary_blocks({0, vocabulary_}, [&](RowRange vocabulary) {
            Real* const z = block.reserve(rows * vocabulary.size());
            operations::linear(features + first * width_, rows, rows_from(vocabulary.first),
                               vocabulary.size(), width_, {}, z, scratch);
            put_cap(cap_, rows * vocabulary.size(), z);
            for (Index r = 0; r < rows; ++r) {
                const auto at = static_cast<std::size_t>(r);
                Real* const row = z + r * vocabulary.size();
                const Index token = tokens[static_cast<std::size_t>(first + r)];
                if (token >= vocabulary.first && token < vocabulary.last)
                    predicted[at] = row[token - vocabulary.first];
                const Real here = *std::max_element(row, row + vocabulary.size());
                if (here > largest[at]) {
                    sums[at] *= elementary::exp(static_cast<double>(largest[at]) - static_cast<double>(here));
                    largest[at] = here;
                }
                sums[at] += sum_of_powers(row, vocabulary.size(), largest[at]);
            }
        });
        for (Index r = 0; r < rows; ++r) {
            const auto at = static_cast<std::size_t>(r);
            log_partitions[first + r] = static_cast<double>(largest[at]) + elementary::log(sums[at]);
            out[first + r] = static_cast<double>(predicted[at]) - log_partitions[first + r];
        }
    });
}

template <class Real>
void TokenSoftmax<Real>::slopes(const Real* features, std::span<const std::int32_t> tokens,
                                std::span<const Real> scales, const double* log_partitions,
                                RowRange vocabulary, Real* out) const {
    operations::Buffer<Real> scratch;
    const Index width = vocabulary.size();
    operations::linear(features, std::ssize(tokens), rows_from(vocabulary.first), width, width_, {}, out,
                       scratch);
    put_cap(cap_, std::ssize(tokens) * width, out);
    for (std::size_t r = 0; r < tokens.size(); ++r) {
        Real* const row = out + static_cast<Index>(r) * width;
        const auto slope = [scale = scales[r], log_partition = log_partitions[r], cap = cap_](
                               Real z, bool predicted) {
            return operations::token_slope(z, scale, log_partition, cap, predicted);
        };
        const Index token = tokens[r] - vocabulary.first;
        const bool within = token >= 0 && token < width;
        const Real of_token = within ? slope(row[token], true) : Real(0);
        for (Index i = 0; i < width; ++i) row[i] = slope(row[i], false);
        if (within) row[token] = of_token;
    }
}

template <class Real>
void TokenSoftmax<Real>::feature_slopes(const Real* features, std::span<const std::int32_t> tokens,
                                        std::span<const Real> scales, const double* log_partitions,
                                        bool accumulate, Real* out) const {
    operations::Buffer<Real> scratch, block;
    for_row_blocks(std::ssize(tokens), [&](Index first, Index rows) {
        const auto at = static_cast<std::size_t>(first), count = static_cast<std::size_t>(rows);
        Real* const to = out + first * width_;
        for_vocabulary_blocks({0, vocabulary_}, [&](RowRange vocabulary) {
            Real* const z = block.reserve(rows * vocabulary.size());
            slopes(features + first * width_, tokens.subspan(at, count), scales.subspan(at, count),
                   log_partitions + first, vocabulary, z);
            const bool adds = accumulate || vocabulary.first > 0;
            operations::linear(z, rows, rows_from(vocabulary.first).transposed(), width_, vocabulary.size(),
                               {adds ? to : nullptr, width_}, to, scratch);
        });
    });
}

template std::vector<float> answer_scores(const operation::AnswerLikelihood&, const TokenBlock&,
                                          std::span<const double>);
template std::vector<double> answer_scores(const operation::AnswerLikelihood&, const TokenBlock&,
                                           std::span<const double>);
template std::vector<float> answer_scales(const operation::AnswerLikelihood&, const TokenBlock&,
                                          std::span<const float>);
template std::vector<double> answer_scales(const operation::AnswerLikelihood&, const TokenBlock&,
                                           std::span<const double>);
template class TokenSoftmax<float>;
template class TokenSoftmax<double>;
template struct TokenPredictions<float>;
template struct TokenPredictions<double>;

}  // namespace tangram
