#pragma once
#include <span>
#include <vector>

#include "tangram/model/program.hpp"

namespace tangram {

/// What backpropagation leaves of one parameter's gradient at one operation that uses it, per example:
struct Factor {
    enum class Kind {
        outer,          ///< sum over rows t of delta_t input_t^T (linear weight)
        sum,            ///< sum over rows of delta_t (bias)
        normalised,     ///< sum over rows, and their heads, of delta_t * normalised input_t (norm weight)
        token_rows,     ///< delta_t added to row token_t (token table)
        position_rows,  ///< delta_t added to row position(t) + offset (position table)
        first_row,      ///< delta_t added to row 0 (token types)
        label_rows,     ///< seed_c input added to row label_c (output head)
        label_entries,  ///< seed_c added to entry label_c (the head's bias)
        vocabulary,     ///< sum over rows read of delta_t input_t^T, delta over the whole vocabulary
    };
    Kind kind;
    Value delta;  ///< the value whose gradient is delta (not of label_rows, label_entries, vocabulary)
    Value input;  ///< the value that stands beside it (outer, normalised, label_rows, vocabulary)
    std::size_t operation;
    Index offset = 0;

    /// Whether delta follows from the seeds alone and is the gradient of no value.
    bool from_label() const {
        return kind == Kind::label_rows || kind == Kind::label_entries || kind == Kind::vocabulary;
    }
    /// Whether it is a sum of rows, each added to a row of a table.
    bool is_table() const {
        return kind == Kind::token_rows || kind == Kind::position_rows || kind == Kind::first_row ||
               kind == Kind::label_rows;
    }
};

/// Whether a parameter's gradient is one sum of outer products, sum_t delta_t input_t^T: a linear weight that
/// is used once. Local.
/// @param factors  of the parameter
bool is_linear(const std::vector<Factor>& factors);

/// Whether it is that of a table over the vocabulary that answers are scored with and that nothing else uses.
bool is_vocabulary(const std::vector<Factor>& factors);

/// The factors of every parameter, in the order of the operations; a tied table has several. Local.
std::vector<std::vector<Factor>> factors_of(const Program& program);

/// By value, whether the factors of the wanted parameters take its gradient, directly or through later
/// values. Local.
std::vector<bool> needed_gradients(const Program& program, const std::vector<std::vector<Factor>>& factors,
                                   std::span<const ParameterId> wanted);

}  // namespace tangram
