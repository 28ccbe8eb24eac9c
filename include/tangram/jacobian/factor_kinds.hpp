#pragma once
#include <span>

#include "tangram/model/network.hpp"

namespace tangram {

/// What is kept of a factor for each example, and of each backward pass but for the inputs.
struct Kept {
    bool input = false;   ///< the rows of the value that stands beside delta
    bool delta = false;   ///< the rows of delta
    bool vector = false;  ///< the sum over rows, as long as the parameter
};

/// The gradient is: of input and delta their outer products; of a vector the vector; of one of them alone
/// rows of a table, or of nothing the seeds themselves.
constexpr Kept kept_of(Factor::Kind kind) {
    switch (kind) {
        case Factor::Kind::outer:
            return {.input = true, .delta = true};
        case Factor::Kind::sum:
        case Factor::Kind::normalised:
            return {.vector = true};
        case Factor::Kind::token_rows:
        case Factor::Kind::position_rows:
        case Factor::Kind::first_row:
            return {.delta = true};
        case Factor::Kind::label_rows:
        case Factor::Kind::vocabulary:
            return {.input = true};
        case Factor::Kind::label_entries:
            return {};
    }
    return {};
}

/// The row of a table that delta of the t-th token of a sequence is added to.
inline Index table_row(const Factor& factor, std::int32_t token, Index t) {
    if (factor.kind == Factor::Kind::token_rows) return token;
    return factor.kind == Factor::Kind::position_rows ? t + factor.offset : 0;
}

}  // namespace tangram
