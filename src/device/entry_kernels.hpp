#pragma once
#include <limits>

#include "tangram/model/entry_arithmetic.hpp"
#include "tile_kernel.hpp"

/// Kernels of a network's passes (network_kernels.hpp) of one thread for each entry, query or row.
namespace tangram::device {

using operations::BrainFloat;
using operations::entry_of;
using operations::Half;
using operations::Mode;
using operations::NormStatistics;
using operations::number;
using operations::Range;
using operations::SeenKeys;
using operations::with_entries_at;

inline constexpr int kernel_threads = 256;  ///< of every block

/// Of a block's memory or a thread's registers.
struct None {};

/// Rows and columns of the entry i of a matrix.
struct Place {
    Index row, column;
};
TANGRAM_KERNEL Place place_of(Index i, Index width) {
    if (i < (Index{1} << 31) && width < (Index{1} << 31)) {  // GPUs divide 32 bits several times faster
        const auto small = static_cast<std::uint32_t>(i), by = static_cast<std::uint32_t>(width);
        return {static_cast<Index>(small / by), static_cast<Index>(small % by)};
    }
    return {i / width, i % width};
}

/// Where a row of a row set stands.
struct RowPlace {
    Index row,     ///< among all tokens
        token,     ///< its id
        position,  ///< in its example
        example,   ///< of the block
        tokens;    ///< of its example
};

/// The rows of an example.
struct ExampleRows {
    Range tokens, reads;
};

/// A kernel of one thread for each of `count` entries: entry(i). It has blocks(), and run() for one of them.
template <class Entry>
struct ForEntries {
    using Memory = None;
    using Registers = None;
    Index count;
    Entry entry;

    Index blocks() const { return (count + kernel_threads - 1) / kernel_threads; }
    template <class Block>
    TANGRAM_KERNEL void run(Block& block, Index b) const {
        block.phase([&](int thread, Registers&) {
            const Index i = b * kernel_threads + thread;
            if (i < count) entry(i);
        });
    }
};

/// Rows of `width` copied to rows of `stride`, zeros behind them; *not_finite (nullptr: nobody asks) is 1
/// behind a number that is not finite.
template <class Real>
struct LeftRows {
    const Real* from;
    Index width, stride;
    Real *to, *not_finite;

    TANGRAM_KERNEL void operator()(Index i) const {
        const auto [row, column] = place_of(i, stride);
        const Real entry = column < width ? from[row * width + column] : Real(0);
        to[i] = entry;
        if (not_finite != nullptr && !(entry - entry == Real(0))) *not_finite = Real(1);
    }
};

template <class Real>
TANGRAM_KERNEL void write(Mode mode, Real& out, Real entry) {
    out = mode == Mode::add ? out + entry : entry;
}

/// out = or += a b
template <class Real>
struct Products {
    Mode mode;
    Real* out;
    const Real *a, *b;
    TANGRAM_KERNEL void operator()(Index i) const { write(mode, out[i], a[i] * b[i]); }
};

/// out = a + factor b
template <class Real>
struct WeightedSums {
    Real* out;
    const Real *a, *b;
    Real factor;
    TANGRAM_KERNEL void operator()(Index i) const { out[i] = a[i] + factor * b[i]; }
};

/// out = or += factor a
template <class Real>
struct Multiples {
    Mode mode;
    Real* out;
    const Real* a;
    Real factor;
    TANGRAM_KERNEL void operator()(Index i) const { write(mode, out[i], factor * a[i]); }
};

template <class Real>
struct Zeros {
    Real* out;
    TANGRAM_KERNEL void operator()(Index i) const { out[i] = Real(0); }
};

/// y = f(x), slope = f'(x)
template <class Real>
struct Activations {
    Activation function;
    const Real* x;
    Real *y, *slope;
    TANGRAM_KERNEL void operator()(Index i) const {
        operations::with_activation<Real>(function, [&](auto f) {
            const operations::Activated<Real> at = f(x[i]);
            y[i] = at.value;
            slope[i] = at.slope;
        });
    }
};

/// out_r = table[id_r + offset], or in_r + that; without ids table[offset].
template <class Real>
struct TableRows {
    Index width;
    const Real* in;
    StoredMatrix table;  ///< in the memory of what runs the kernel
    const Index* ids;
    Index id_step, offset;
    Real* out;
    TANGRAM_KERNEL void operator()(Index i) const {
        const Place at = place_of(i, width);
        const Real entry =
            entry_of<Real>(table, (ids == nullptr ? 0 : ids[at.row * id_step]) + offset, at.column);
        out[i] = in == nullptr ? entry : in[i] + entry;
    }
};

/// The runs of columns that operation::Columns copies.
struct ColumnRuns {
    Index in_width, out_width, first, width, stride, runs;
};
template <class Real>
struct CopiedColumns {
    ColumnRuns of;
    const Real* in;
    Real* out;
    TANGRAM_KERNEL void operator()(Index i) const {
        const Place at = place_of(i, of.out_width), in_run = place_of(at.column, of.width);
        out[i] = in[at.row * of.in_width + of.first + in_run.row * of.stride + in_run.column];
    }
};
/// By entry of the input: those of several runs are added in their order, to zero where nothing was written.
template <class Real>
struct ColumnGradients {
    ColumnRuns of;
    Mode mode;
    const Real* dy;
    Real* dx;
    TANGRAM_KERNEL void operator()(Index i) const {
        const Place at = place_of(i, of.in_width);
        Real sum = mode == Mode::add ? dx[i] : Real(0);
        for (Index run = 0; run < of.runs; ++run) {
            const Index column = at.column - of.first - run * of.stride;
            if (column >= 0 && column < of.width) sum += dy[at.row * of.out_width + run * of.width + column];
        }
        dx[i] = sum;
    }
};

/// By pair of entries of a head, and by entry that stays.
template <class Real>
struct Rotations {
    Mode mode;
    Index width, head_size, half;
    Index tables, longest;  ///< RotaryAngles: of short texts and long ones
    const RowPlace* rows;
    const Real *cosines, *sines;
    Real direction;
    const Real* in;
    Real* out;
    Index per_row() const { return width / head_size * (head_size - half); }
    TANGRAM_KERNEL void operator()(Index i) const {
        const Place at = place_of(i, width / head_size * (head_size - half)),
                    in_head = place_of(at.column, head_size - half);
        const Index first = at.row * width + in_head.row * head_size, u = in_head.column;
        if (u >= half) {
            write(mode, out[first + half + u], in[first + half + u]);
            return;
        }
        const RowPlace& row = rows[at.row];
        const Index table = tables > 1 && row.tokens > longest ? 1 : 0,
                    angle = (row.position * tables + table) * half + u;
        const auto [a, b] =
            operations::turned(in[first + u], in[first + u + half], cosines[angle], direction * sines[angle]);
        write(mode, out[first + u], a);
        write(mode, out[first + u + half], b);
    }
};

/// By entry of the tokens' gradient: those of the rows read, zero or what was written elsewhere.
/// read_of: the row read that a token is, or -1.
template <class Real>
struct ReadGradients {
    Mode mode;
    Index width;
    const Index* read_of;
    const Real* dy;
    Real* dx;
    TANGRAM_KERNEL void operator()(Index i) const {
        const Place at = place_of(i, width);
        Real sum = mode == Mode::add ? dx[i] : Real(0);
        if (const Index read = read_of[at.row]; read >= 0) sum += dy[read * width + at.column];
        dx[i] = sum;
    }
};

/// Means over an example's tokens, in their order.
template <class Real>
struct TokenMeans {
    Index width;
    const ExampleRows* examples;
    const Real* x;
    Real* y;
    TANGRAM_KERNEL void operator()(Index i) const {
        const Place at = place_of(i, width);
        const Range tokens = examples[at.row].tokens;
        Real sum = x[tokens.begin * width + at.column];
        for (Index r = tokens.begin + 1; r < tokens.end; ++r) sum += x[r * width + at.column];
        y[i] = sum * (Real(1) / static_cast<Real>(tokens.end - tokens.begin));
    }
};
template <class Real>
struct MeanGradients {
    Mode mode;
    Index width;
    const RowPlace* rows;  ///< tokens
    const Real* dy;
    Real* dx;
    TANGRAM_KERNEL void operator()(Index i) const {
        const Place at = place_of(i, width);
        const RowPlace& row = rows[at.row];
        const Real share = Real(1) / static_cast<Real>(row.tokens);
        write(mode, dx[i], share * dy[row.example * width + at.column]);
    }
};

/// dx = or += sum_c seed_c table[label_c], c ascending.
template <class Real>
struct LabelGradients {
    Mode mode;
    Index width, labels;
    const Index* label_ids;
    StoredMatrix table;  ///< in the memory of what runs the kernel
    const Real* seeds;
    Real* dx;
    TANGRAM_KERNEL void operator()(Index i) const {
        const Place at = place_of(i, width);
        Real sum = mode == Mode::add ? dx[i] : Real(0);
        for (Index c = 0; c < labels; ++c)
            sum += seeds[at.row * labels + c] * entry_of<Real>(table, label_ids[c], at.column);
        dx[i] = sum;
    }
};

/// A factor of kind sum or normalised: out = start + the sum over an example's rows, and their heads, of
/// delta, or of delta times the normalised input.
template <class Real>
struct VectorSums {
    Index width, heads;  ///< of the vector; of a row
    RowSet set;
    const ExampleRows* examples;
    const Real *delta, *x;
    const NormStatistics<Real>* statistics;  ///< nullptr: of kind sum
    const Real* start;                       ///< nullptr: +0
    Real* out;
    TANGRAM_KERNEL void operator()(Index i) const {
        const Place at = place_of(i, width);
        const ExampleRows& of = examples[at.row];
        const Range rows = set == RowSet::tokens ? of.tokens : of.reads;
        Real sum = start == nullptr ? Real(0) : start[i];
        for (Index r = rows.begin * heads; r < rows.end * heads; ++r) {
            const Index entry = r * width + at.column;
            sum += statistics == nullptr ? delta[entry]
                                         : delta[entry] * operations::normalised(x[entry], statistics[r]);
        }
        out[i] = sum;
    }
};

/// An example, as an attention's queries and keys.
struct AttentionExample {
    Index query_row, key_row, queries, keys;
    Index first_position;
    Index before;  ///< entries of keys x queries of the examples before it, of one head
};

/// The heads of some examples. Their weights stand by example, head, key and query.
struct Heads {
    const AttentionExample* examples;
    Index count;  ///< examples
    Index heads, key_value_heads, size, query_stride, key_stride;
    Index window;  ///< 0: none
    bool causal;
    Index most_queries, most_keys;
    /// Of the host's products (products.hpp): which keys that a query does not see take part in its sums with
    /// zeros decides the signs of zeros.
    Index lanes, together;

    TANGRAM_KERNEL SeenKeys seen(const AttentionExample& of) const {
        return {of.queries, of.keys, of.first_position, window > 0 ? window : of.keys, causal};
    }
    /// Where the keys x queries of a head stand.
    TANGRAM_KERNEL Index weights_of(const AttentionExample& of, Index head) const {
        return (of.before - examples->before) * heads + head * of.keys * of.queries;
    }
    TANGRAM_KERNEL Index group_of(Index head) const { return head / (heads / key_value_heads); }
};

/// visit(example, head, query, keys) of the i-th query of all heads.
template <class Visit>
TANGRAM_KERNEL void visit_query(const Heads& of, Index i, Visit visit) {
    const Place query = place_of(i, of.most_queries), head = place_of(query.row, of.heads);
    const AttentionExample& example = of.examples[head.row];
    if (query.column >= example.queries) return;
    const Index first = query.column - query.column % of.lanes;
    visit(example, head.column, query.column, of.seen(example).keys_of(first, of.lanes));
}

/// By query: softmax(scale scores) in place of scores, zero for keys not seen; with a cap its derivatives
/// too.
template <class Real>
struct AttentionWeights {
    Heads of;
    Real scale, cap;  ///< cap 0: none
    Real *scores, *cap_slopes;
    TANGRAM_KERNEL void operator()(Index i) const {
        visit_query(of, i, [&](const AttentionExample& example, Index head, Index query, Range range) {
            const Index at = of.weights_of(example, head) + query, step = example.queries;
            const SeenKeys seen = of.seen(example);
            constexpr Real unseen = -std::numeric_limits<Real>::infinity();
            Real largest = unseen;
            for (Index j = range.begin; j < range.end; ++j) {
                Real s = scores[at + j * step];
                if (cap > 0) {
                    const operations::Activated<Real> score = operations::capped_score(s, scale, cap);
                    s = score.value;
                    cap_slopes[at + j * step] = score.slope;
                }
                s = j < seen.first_key(query) || j >= seen.end_key(query) ? unseen : s * scale;
                scores[at + j * step] = s;
                largest = s > largest ? s : largest;
            }
            Real total = 0;
            for (Index j = range.begin; j < range.end; ++j) {
                const Real power = elementary::exp(scores[at + j * step] - largest);
                scores[at + j * step] = power;
                total += power;
            }
            const Real inverse = Real(1) / total;
            for (Index j = 0; j < example.keys; ++j) {
                Real& weight = scores[at + j * step];
                weight = j < range.begin || j >= range.end ? Real(0) : weight * inverse;
            }
        });
    }
};

/// By query: gradients for the scores in place of those for the weights.
template <class Real>
struct ScoreGradients {
    Heads of;
    Real scale;
    const Real *weights, *cap_slopes;  ///< cap_slopes nullptr: no cap
    Real* slopes;
    TANGRAM_KERNEL void operator()(Index i) const {
        visit_query(of, i, [&](const AttentionExample& example, Index head, Index query, Range range) {
            const Index at = of.weights_of(example, head) + query, step = example.queries;
            Real mean = 0;
            for (Index j = range.begin; j < range.end; ++j)
                mean += weights[at + j * step] * slopes[at + j * step];
            for (Index j = 0; j < example.keys; ++j) {
                Real& slope = slopes[at + j * step];
                const bool outside = j < range.begin || j >= range.end;
                slope = outside ? Real(0) : weights[at + j * step] * (slope - mean) * scale;
                if (!outside && cap_slopes != nullptr) slope *= cap_slopes[at + j * step];
            }
        });
    }
};

/// By row and token of a part of the vocabulary: what token_slope() makes of logits, in place.
template <class Real>
struct TokenSlopes {
    Index tokens, first_token;  ///< of that part
    const Index* predicted;
    const Real* scales;
    const double* log_partitions;
    Real cap;
    Real* z;
    TANGRAM_KERNEL void operator()(Index i) const {
        const Place at = place_of(i, tokens);
        const Real logit = cap > 0 ? operations::capped(z[i], cap) : z[i];
        z[i] = operations::token_slope(logit, scales[at.row], log_partitions[at.row], cap,
                                       predicted[at.row] == first_token + at.column);
    }
};

/// Softmax of a row over the vocabulary so far.
template <class Real>
struct TokenSums {
    double sum;  ///< of exp(z - largest)
    Real largest, predicted;
};
/// By row: log sum_v exp(z_v) and log softmax at the token that it predicts.
template <class Real>
struct TokenProbabilities {
    const TokenSums<Real>* sums;
    double *log_partitions, *terms;
    TANGRAM_KERNEL void operator()(Index i) const {
        const double log_partition = static_cast<double>(sums[i].largest) + elementary::log(sums[i].sum);
        log_partitions[i] = log_partition;
        terms[i] = static_cast<double>(sums[i].predicted) - log_partition;
    }
};

}  // namespace tangram::device
