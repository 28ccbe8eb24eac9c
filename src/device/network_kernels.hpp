#pragma once
#include <limits>
#include <variant>

#include "tangram/model/entry_arithmetic.hpp"
#include "tile_kernel.hpp"

/// The kernels that forward and backward passes of a network are made of. As in tile_kernel.hpp they are
/// written in phases, and the sums of each entry run in the host's order (src/model/operations.hpp): chains
/// of fused multiply-adds in ascending k, sixteen running sums that are added pairwise. Pointers are to the
/// memory of what runs them.
namespace tangram::device {

using operations::Mode;
using operations::NormStatistics;
using operations::Range;
using operations::SeenKeys;

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

/// A matrix of the weights: entry (o, k) is the one at o o_stride + k k_stride.
template <class Real>
struct MatrixOnDevice {
    const Real* first;
    Index o_stride, k_stride;

    MatrixOnDevice transposed() const { return {first, k_stride, o_stride}; }
    TANGRAM_KERNEL Real at(Index o, Index k) const { return first[o * o_stride + k * k_stride]; }
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
    MatrixOnDevice<Real> table;
    const Index* ids;
    Index id_step, offset;
    Real* out;
    TANGRAM_KERNEL void operator()(Index i) const {
        const Place at = place_of(i, width);
        const Real entry = table.at((ids == nullptr ? 0 : ids[at.row * id_step]) + offset, at.column);
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
    MatrixOnDevice<Real> table;
    const Real* seeds;
    Real* dx;
    TANGRAM_KERNEL void operator()(Index i) const {
        const Place at = place_of(i, width);
        Real sum = mode == Mode::add ? dx[i] : Real(0);
        for (Index c = 0; c < labels; ++c)
            sum += seeds[at.row * labels + c] * table.at(label_ids[c], at.column);
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

/// Sums of rows: sixteen threads for a row, each with one of the sixteen running sums.
inline constexpr int running_sums = 16, rows_of_block = kernel_threads / running_sums;

constexpr Index blocks_of_rows(Index rows) { return (rows + rows_of_block - 1) / rows_of_block; }

template <class Sum>
TANGRAM_KERNEL Sum running_sum(int lane, Index n, auto summand) {
    Sum sum = 0;
    for (Index i = lane; i < n; i += running_sums) sum += summand(i);
    return sum;
}

/// The sums of each row's threads, added pairwise, stand in its first.
template <class Block, class Sum>
TANGRAM_KERNEL void add_pairwise(Block& block, Sum* sums) {
    for (int half = running_sums / 2; half > 0; half /= 2)
        block.phase([&](int thread, auto&) {
            if (thread % running_sums < half) sums[thread] += sums[thread + half];
        });
}
TANGRAM_KERNEL int first_of(int thread) { return thread - thread % running_sums; }

/// y = normalised x times w, plus b.
template <class Real>
struct Norms {
    struct Memory {
        Real sums[kernel_threads];
    };
    struct Registers {
        NormStatistics<Real> statistics;
    };
    Index rows, n;
    bool centred;
    double epsilon;
    const Real *x, *w, *b;  ///< b nullptr: none
    Real shift;             ///< 0: none
    NormStatistics<Real>* statistics;
    Real* y;

    Index blocks() const { return blocks_of_rows(rows); }
    template <class Block>
    TANGRAM_KERNEL void run(Block& block, Index which) const {
        Memory& memory = block.memory();
        const auto row = [&](int thread) { return which * rows_of_block + thread / running_sums; };
        block.phase([&](int thread, Registers&) {
            const Real* const from = x + row(thread) * n;
            memory.sums[thread] =
                row(thread) < rows && centred
                    ? running_sum<Real>(thread % running_sums, n, [=](Index i) { return from[i]; })
                    : Real(0);
        });
        add_pairwise(block, memory.sums);
        block.phase([&](int thread, Registers& own) {
            own.statistics.mean = centred ? memory.sums[first_of(thread)] / static_cast<Real>(n) : Real(0);
        });
        block.phase([&](int thread, Registers& own) {
            const Real *const from = x + row(thread) * n, mean = own.statistics.mean;
            memory.sums[thread] = row(thread) < rows ? running_sum<Real>(thread % running_sums, n,
                                                                         [=](Index i) {
                                                                             const Real c = from[i] - mean;
                                                                             return c * c;
                                                                         })
                                                     : Real(0);
        });
        add_pairwise(block, memory.sums);
        block.phase([&](int thread, Registers& own) {
            if (row(thread) >= rows) return;
            own.statistics.inverse = operations::inverse_deviation(memory.sums[first_of(thread)], n, epsilon);
            if (thread % running_sums == 0) statistics[row(thread)] = own.statistics;
            const Real* const from = x + row(thread) * n;
            Real* const to = y + row(thread) * n;
            for (Index i = thread % running_sums; i < n; i += running_sums) {
                const Real scaled = operations::normalised(from[i], own.statistics) * weight(i);
                to[i] = b == nullptr ? scaled : scaled + b[i];
            }
        });
    }
    TANGRAM_KERNEL Real weight(Index i) const { return shift == Real(0) ? w[i] : w[i] + shift; }
};

/// Their gradients (operations::norm_slope).
template <class Real>
struct NormGradients {
    struct Memory {
        Real h[kernel_threads], hn[kernel_threads];
    };
    using Registers = None;
    Index rows, n;
    bool centred;
    Mode mode;
    const Real *x, *w, *dy;
    Real shift;
    const NormStatistics<Real>* statistics;
    Real* dx;

    Index blocks() const { return blocks_of_rows(rows); }
    template <class Block>
    TANGRAM_KERNEL void run(Block& block, Index b) const {
        Memory& memory = block.memory();
        const auto row = [&](int thread) { return b * rows_of_block + thread / running_sums; };
        block.phase([&](int thread, Registers&) {
            memory.h[thread] = memory.hn[thread] = Real(0);
            if (row(thread) >= rows) return;
            const int lane = thread % running_sums;
            if (centred)
                memory.h[thread] = running_sum<Real>(lane, n, [&](Index i) { return h(row(thread), i); });
            memory.hn[thread] = running_sum<Real>(
                lane, n, [&](Index i) { return h(row(thread), i) * normalised(row(thread), i); });
        });
        add_pairwise(block, memory.h);
        add_pairwise(block, memory.hn);
        block.phase([&](int thread, Registers&) {
            if (row(thread) >= rows) return;
            const Real count = static_cast<Real>(n),
                       mean_h = centred ? memory.h[first_of(thread)] / count : Real(0),
                       mean_hn = memory.hn[first_of(thread)] / count;
            for (Index i = thread % running_sums; i < n; i += running_sums)
                write(mode, dx[row(thread) * n + i],
                      operations::norm_slope(statistics[row(thread)].inverse, h(row(thread), i), mean_h,
                                             normalised(row(thread), i), mean_hn));
        });
    }
    TANGRAM_KERNEL Real h(Index row, Index i) const {
        return (shift == Real(0) ? w[i] : w[i] + shift) * dy[row * n + i];
    }
    TANGRAM_KERNEL Real normalised(Index row, Index i) const {
        return operations::normalised(x[row * n + i], statistics[row]);
    }
};

/// Logits of the label words, by example and label.
template <class Real>
struct LabelProducts {
    struct Memory {
        Real sums[kernel_threads];
    };
    using Registers = None;
    Index examples, labels, width;
    const Real* x;
    MatrixOnDevice<Real> table;
    const Real* bias;  ///< nullptr: none
    const Index* label_ids;
    Real cap;  ///< 0: none
    Real* logits;

    Index blocks() const { return blocks_of_rows(examples * labels); }
    template <class Block>
    TANGRAM_KERNEL void run(Block& block, Index b) const {
        Memory& memory = block.memory();
        const auto place = [&](int thread) {
            return place_of(b * rows_of_block + thread / running_sums, labels);
        };
        block.phase([&](int thread, Registers&) {
            const Place at = place(thread);
            memory.sums[thread] =
                at.row < examples
                    ? running_sum<Real>(
                          thread % running_sums, width,
                          [&](Index i) { return x[at.row * width + i] * table.at(label_ids[at.column], i); })
                    : Real(0);
        });
        add_pairwise(block, memory.sums);
        block.phase([&](int thread, Registers&) {
            const Place at = place(thread);
            if (at.row >= examples || thread % running_sums != 0) return;
            const Real logit = memory.sums[thread] + (bias == nullptr ? Real(0) : bias[label_ids[at.column]]);
            logits[at.row * labels + at.column] = cap > 0 ? operations::capped(logit, cap) : logit;
        });
    }
};

/// Adds a part of the vocabulary to the rows' softmax sums; logits z are left with their cap.
template <class Real>
struct VocabularySums {
    struct Memory {
        Real largest[kernel_threads];
        double sums[kernel_threads];
    };
    struct Registers {
        Real before, largest;
    };
    Index rows, tokens, first_token;
    const Index* predicted;
    Real cap;
    Real* z;
    TokenSums<Real>* sums;

    Index blocks() const { return blocks_of_rows(rows); }
    template <class Block>
    TANGRAM_KERNEL void run(Block& block, Index b) const {
        Memory& memory = block.memory();
        const auto row = [&](int thread) { return b * rows_of_block + thread / running_sums; };
        constexpr Real lowest = -std::numeric_limits<Real>::infinity();
        block.phase([&](int thread, Registers& own) {
            Real largest = lowest;
            own.before = row(thread) < rows && first_token > 0 ? sums[row(thread)].largest : lowest;
            for (Index i = thread % running_sums; row(thread) < rows && i < tokens; i += running_sums) {
                Real& logit = z[row(thread) * tokens + i];
                if (cap > 0) logit = operations::capped(logit, cap);
                largest = logit > largest ? logit : largest;
            }
            memory.largest[thread] = largest;
        });
        block.phase([&](int thread, Registers& own) {
            own.largest = own.before;
            for (int i = first_of(thread); i < first_of(thread) + running_sums; ++i)
                own.largest = memory.largest[i] > own.largest ? memory.largest[i] : own.largest;
            memory.sums[thread] =
                row(thread) < rows ? running_sum<double>(thread % running_sums, tokens,
                                                         [&](Index i) {
                                                             return static_cast<double>(elementary::exp(
                                                                 z[row(thread) * tokens + i] - own.largest));
                                                         })
                                   : 0.0;
        });
        block.phase([&](int thread, Registers& own) {
            if (row(thread) >= rows || thread % running_sums != 0) return;
            add_block(row(thread), own, memory.sums + thread);
        });
    }

  private:
    /// @param of_block  the running sums of exp(z - largest)
    TANGRAM_KERNEL void add_block(Index row, const Registers& own, const double* of_block) const {
        TokenSums<Real> of = first_token > 0 ? sums[row] : TokenSums<Real>{0, own.before, 0};
        if (own.largest > own.before)
            of.sum *= elementary::exp(static_cast<double>(own.before) - static_cast<double>(own.largest));
        of.largest = own.largest;
        double sum = 0;
        for (int lane = 0; lane < running_sums; ++lane) sum += of_block[lane];
        of.sum += sum;
        const Index token = predicted[row] - first_token;
        if (token >= 0 && token < tokens) of.predicted = z[row * tokens + token];
        sums[row] = of;
    }
};

/// out(a, b) = start(a, b) + sum over k of x(a, k) y(k, b), each one chain; x(a, k) is the entry of x at a
/// x_row + k x_depth, and so on. Chains go on with `repeats` such sums, of operands x_repeat and y_repeat
/// further on.
template <class Real>
struct ProductOperands {
    Index rows, columns;
    const Real* x;
    Index x_row, x_depth;
    const Real* y;
    Index y_depth, y_column;
    const Real* start;  ///< nullptr: +0
    Index start_row;    ///< 0: the same row for all
    Real* out;
    Index out_row;
    Index repeats = 1, x_repeat = 0, y_repeat = 0;
};

/// A tile of a product: which of its entries, and between which k some of them have summands.
template <class Real>
struct ProductTile {
    ProductOperands<Real> of;
    Index first_row, first_column;
    Range depth;
    bool nothing = false;  ///< to do
};

/// Products in tiles of Source::tile_rows x tile_columns, 16 x 16 threads. Source: blocks(), tile_of(b), and
/// depth_of(b, row), the k of a row of that tile, where Source::ragged.
template <class Real, class Source>
struct TiledProducts {
    static constexpr int rows = Source::tile_rows, columns = Source::tile_columns,
                         chunk = 64 / static_cast<int>(sizeof(Real)), own_rows = rows / 16,
                         own_columns = columns / 16, x_copies = rows * chunk / kernel_threads,
                         y_copies = columns * chunk / kernel_threads;
    static_assert(x_copies > 0 && y_copies > 0);
    /// Two chunks of both sides: while one is multiplied the next one is on its way. Four entries more than a
    /// row of them has keep threads that copy along k off each other's banks.
    struct Memory {
        alignas(16) Real x[2][chunk][rows + 4];
        alignas(16) Real y[2][chunk][columns + 4];
    };
    struct Registers {
        Real chain[own_rows][own_columns], x[x_copies], y[y_copies];
        Range depth[own_rows];
    };
    using Tile = ProductTile<Real>;
    Source source;

    Index blocks() const { return source.blocks(); }
    template <class Block>
    TANGRAM_KERNEL void run(Block& block, Index b) const {
        const Tile tile = source.tile_of(b);
        if (tile.nothing) return;
        const Index chunks = (tile.depth.end - tile.depth.begin + chunk - 1) / chunk,
                    all = chunks > 0 ? chunks * tile.of.repeats : 0;
        block.phase([&](int thread, Registers& own) {
            begin(tile, b, thread, own);
            fetch(tile, chunks, 0, all, thread, own);
            keep(tile, block.memory(), 0, thread, own);
        });
        for (Index c = 0; c < all; ++c)
            block.phase([&](int thread, Registers& own) {
                fetch(tile, chunks, c + 1, all, thread, own);
                multiply(tile, block.memory(), first_k(tile, chunks, c), static_cast<int>(c % 2), thread,
                         own);
                keep(tile, block.memory(), static_cast<int>((c + 1) % 2), thread, own);
            });
        block.phase([&](int thread, Registers& own) {
            for_entries(tile, thread, [&](int r, int c, Index row, Index column) {
                tile.of.out[row * tile.of.out_row + column] = own.chain[r][c];
            });
        });
    }

  private:
    TANGRAM_KERNEL static Index first_k(const Tile& tile, Index chunks, Index c) {
        return tile.depth.begin + c % chunks * chunk;
    }
    template <class Visit>
    TANGRAM_KERNEL static void for_entries(const Tile& tile, int thread, Visit visit) {
        TANGRAM_UNROLLED
        for (int r = 0; r < own_rows; ++r) {
            TANGRAM_UNROLLED
            for (int c = 0; c < own_columns; ++c) {
                const Index row = tile.first_row + thread / 16 * own_rows + r,
                            column = tile.first_column + thread % 16 * own_columns + c;
                if (row < tile.of.rows && column < tile.of.columns) visit(r, c, row, column);
            }
        }
    }
    TANGRAM_KERNEL void begin(const Tile& tile, Index b, int thread, Registers& own) const {
        TANGRAM_UNROLLED
        for (int r = 0; r < own_rows; ++r) {
            TANGRAM_UNROLLED
            for (int c = 0; c < own_columns; ++c) own.chain[r][c] = Real(0);
            if constexpr (Source::ragged)
                own.depth[r] = source.depth_of(b, tile.first_row + thread / 16 * own_rows + r);
        }
        if (tile.of.start == nullptr) return;
        for_entries(tile, thread, [&](int r, int c, Index row, Index column) {
            own.chain[r][c] = tile.of.start[row * tile.of.start_row + column];
        });
    }
    /// Reads a thread's share of the c-th chunk, zeros beyond the operands.
    TANGRAM_KERNEL static void fetch(const Tile& tile, Index chunks, Index c, Index all, int thread,
                                     Registers& own) {
        if (c >= all) return;
        const Index k = first_k(tile, chunks, c), repeat = c / chunks;
        const ProductOperands<Real>& of = tile.of;
        const Real *const x = of.x + repeat * of.x_repeat, *const y = of.y + repeat * of.y_repeat;
        TANGRAM_UNROLLED
        for (int i = 0; i < x_copies; ++i) {
            const Spot at = spot(thread + i * kernel_threads, rows, of.x_depth == 1);
            const bool there = tile.first_row + at.row < of.rows && k + at.k < tile.depth.end;
            own.x[i] = there ? x[(tile.first_row + at.row) * of.x_row + (k + at.k) * of.x_depth] : Real(0);
        }
        TANGRAM_UNROLLED
        for (int i = 0; i < y_copies; ++i) {
            const Spot at = spot(thread + i * kernel_threads, columns, of.y_depth == 1);
            const bool there = tile.first_column + at.row < of.columns && k + at.k < tile.depth.end;
            own.y[i] =
                there ? y[(tile.first_column + at.row) * of.y_column + (k + at.k) * of.y_depth] : Real(0);
        }
    }
    /// Stores it where it is multiplied next.
    TANGRAM_KERNEL static void keep(const Tile& tile, Memory& memory, int which, int thread,
                                    const Registers& own) {
        TANGRAM_UNROLLED
        for (int i = 0; i < x_copies; ++i) {
            const Spot at = spot(thread + i * kernel_threads, rows, tile.of.x_depth == 1);
            memory.x[which][at.k][at.row] = own.x[i];
        }
        TANGRAM_UNROLLED
        for (int i = 0; i < y_copies; ++i) {
            const Spot at = spot(thread + i * kernel_threads, columns, tile.of.y_depth == 1);
            memory.y[which][at.k][at.row] = own.y[i];
        }
    }
    /// The chains grow by a chunk, ascending, and by nothing that stands beyond its end.
    TANGRAM_KERNEL static void multiply(const Tile& tile, const Memory& memory, Index k, int which,
                                        int thread, Registers& own) {
        const Index left = tile.depth.end - k;
        const int depth = left < chunk ? static_cast<int>(left) : chunk;
        for (int i = 0; i < depth; ++i) {
            Real x[own_rows], y[own_columns];
            TANGRAM_UNROLLED
            for (int r = 0; r < own_rows; ++r) x[r] = memory.x[which][i][thread / 16 * own_rows + r];
            TANGRAM_UNROLLED
            for (int c = 0; c < own_columns; ++c) y[c] = memory.y[which][i][thread % 16 * own_columns + c];
            TANGRAM_UNROLLED
            for (int r = 0; r < own_rows; ++r) {
                if constexpr (Source::ragged)
                    if (k + i < own.depth[r].begin || k + i >= own.depth[r].end) continue;
                TANGRAM_UNROLLED
                for (int c = 0; c < own_columns; ++c) own.chain[r][c] = std::fma(x[r], y[c], own.chain[r][c]);
            }
        }
    }

    /// The q-th entry of a chunk of one side, so that neighbours are read by neighbouring threads.
    struct Spot {
        int row, k;
    };
    TANGRAM_KERNEL static Spot spot(int q, int side, bool along_k) {
        return along_k ? Spot{q / chunk, q % chunk} : Spot{q % side, q / side};
    }
};

constexpr Index tiles_of(Index entries, int side) { return (entries + side - 1) / side; }

/// One product, of a linear layer or a part of the vocabulary.
template <class Real>
struct WholeProduct {
    static constexpr int tile_rows = 128, tile_columns = 64;
    static constexpr bool ragged = false;
    ProductOperands<Real> of;
    Index depth, column_tiles;

    Index blocks() const { return tiles_of(of.rows, tile_rows) * column_tiles; }
    TANGRAM_KERNEL ProductTile<Real> tile_of(Index b) const {
        const Place at = place_of(b, column_tiles);
        return {of, at.row * tile_rows, at.column * tile_columns, {0, depth}};
    }
};

/// Tiles of the products of each head, 32 x 32: which one a block has.
struct HeadTile {
    Index example, head, first_row, first_column;
};
struct HeadTiles {
    static constexpr int side = 32;
    Index examples, heads, row_tiles, column_tiles;

    Index blocks() const { return examples * heads * row_tiles * column_tiles; }
    TANGRAM_KERNEL HeadTile tile_of(Index b) const {
        const Place column = place_of(b, column_tiles), row = place_of(column.row, row_tiles),
                    head = place_of(row.row, heads);
        return {head.row, head.column, row.column * side, column.column * side};
    }
};

/// Products of keys (or values, or their like) with queries: keys x queries of each head.
template <class Real>
struct KeyProducts {
    static constexpr int tile_rows = HeadTiles::side, tile_columns = HeadTiles::side;
    static constexpr bool ragged = false;
    Heads of;
    HeadTiles tiles;
    const Real *keys, *queries;
    Real* out;

    Index blocks() const { return tiles.blocks(); }
    TANGRAM_KERNEL ProductTile<Real> tile_of(Index b) const {
        const HeadTile at = tiles.tile_of(b);
        const AttentionExample& example = of.examples[at.example];
        const SeenKeys seen = of.seen(example);
        const Range some = seen.keys_of(at.first_column, tile_columns);
        ProductTile<Real> tile{};
        tile.nothing = at.first_row >= example.keys || at.first_column >= example.queries ||
                       at.first_row >= some.end || at.first_row + tile_rows <= some.begin;
        if (tile.nothing) return tile;
        tile.first_row = at.first_row;
        tile.first_column = at.first_column;
        tile.depth = {0, of.size};
        tile.of = {example.keys,
                   example.queries,
                   keys + example.key_row * of.key_stride + of.group_of(at.head) * of.size,
                   of.key_stride,
                   1,
                   queries + example.query_row * of.query_stride + at.head * of.size,
                   1,
                   of.query_stride,
                   nullptr,
                   0,
                   out + of.weights_of(example, at.head),
                   example.queries};
        return tile;
    }
};

/// Sums over keys of coefficients times rows of keys (or their like), by query and head.
template <class Real>
struct SumsOverKeys {
    static constexpr int tile_rows = HeadTiles::side, tile_columns = HeadTiles::side;
    static constexpr bool ragged = true;
    Heads of;
    HeadTiles tiles;
    Mode mode;
    const Real *coefficients, *rows;
    Real* out;

    Index blocks() const { return tiles.blocks(); }
    TANGRAM_KERNEL ProductTile<Real> tile_of(Index b) const {
        const HeadTile at = tiles.tile_of(b);
        const AttentionExample& example = of.examples[at.example];
        ProductTile<Real> tile{};
        tile.nothing = at.first_row >= example.queries || at.first_column >= of.size;
        if (tile.nothing) return tile;
        tile.first_row = at.first_row;
        tile.first_column = at.first_column;
        Real* const to = out + example.query_row * of.query_stride + at.head * of.size;
        tile.of = {example.queries,
                   of.size,
                   coefficients + of.weights_of(example, at.head),
                   1,
                   example.queries,
                   rows + example.key_row * of.key_stride + of.group_of(at.head) * of.size,
                   of.key_stride,
                   1,
                   mode == Mode::add ? to : nullptr,
                   of.query_stride,
                   to,
                   of.query_stride};
        const SeenKeys seen = of.seen(example);
        const Index last =
            at.first_row + tile_rows < example.queries ? at.first_row + tile_rows : example.queries;
        tile.depth = {keys_of(seen, at.first_row).begin, keys_of(seen, last - 1).end};
        return tile;
    }
    TANGRAM_KERNEL Range depth_of(Index b, Index query) const {
        const SeenKeys seen = of.seen(of.examples[tiles.tile_of(b).example]);
        return query < seen.queries ? keys_of(seen, query) : Range{0, 0};
    }

  private:
    /// The keys that take part in a query's sum: those that any of the queries beside it sees.
    TANGRAM_KERNEL Range keys_of(const SeenKeys& seen, Index query) const {
        const Index first = query - query % of.together, left = seen.queries - first;
        return seen.keys_of(first, of.together < left ? of.together : left);
    }
};

/// Sums over queries of coefficients times rows of queries (or their like), by key and its head, over all
/// heads that share it.
template <class Real>
struct SumsOverQueries {
    static constexpr int tile_rows = HeadTiles::side, tile_columns = HeadTiles::side;
    static constexpr bool ragged = true;
    Heads of;
    HeadTiles tiles;  ///< of heads of keys
    Mode mode;
    const Real *coefficients, *rows;
    Real* out;

    Index blocks() const { return tiles.blocks(); }
    TANGRAM_KERNEL ProductTile<Real> tile_of(Index b) const {
        const HeadTile at = tiles.tile_of(b);
        const AttentionExample& example = of.examples[at.example];
        ProductTile<Real> tile{};
        tile.nothing = at.first_row >= example.keys || at.first_column >= of.size;
        if (tile.nothing) return tile;
        tile.first_row = at.first_row;
        tile.first_column = at.first_column;
        const Index sharing = of.heads / of.key_value_heads, head = at.head * sharing;
        Real* const to = out + example.key_row * of.key_stride + at.head * of.size;
        tile.of = {example.keys,
                   of.size,
                   coefficients + of.weights_of(example, head),
                   example.queries,
                   1,
                   rows + example.query_row * of.query_stride + head * of.size,
                   of.query_stride,
                   1,
                   mode == Mode::add ? to : nullptr,
                   of.key_stride,
                   to,
                   of.key_stride,
                   sharing,
                   example.keys * example.queries,
                   of.size};
        const SeenKeys seen = of.seen(example);
        const Index last = at.first_row + tile_rows < example.keys ? at.first_row + tile_rows : example.keys;
        tile.depth = {queries_of(seen, at.first_row).begin, queries_of(seen, last - 1).end};
        return tile;
    }
    TANGRAM_KERNEL Range depth_of(Index b, Index key) const {
        const SeenKeys seen = of.seen(of.examples[tiles.tile_of(b).example]);
        return key < seen.keys ? queries_of(seen, key) : Range{0, 0};
    }

  private:
    TANGRAM_KERNEL Range queries_of(const SeenKeys& seen, Index key) const {
        const Index first = key - key % of.together, left = seen.keys - first;
        return seen.queries_of(first, of.together < left ? of.together : left);
    }
};

/// All of them in one precision. Each holds None or arrays as Memory and Registers, blocks(), and
/// run(block, b).
template <class Real>
using NetworkKernel = std::variant<
    ForEntries<Products<Real>>, ForEntries<WeightedSums<Real>>, ForEntries<Multiples<Real>>,
    ForEntries<Zeros<Real>>, ForEntries<Activations<Real>>, ForEntries<TableRows<Real>>,
    ForEntries<CopiedColumns<Real>>, ForEntries<ColumnGradients<Real>>, ForEntries<Rotations<Real>>,
    ForEntries<ReadGradients<Real>>, ForEntries<TokenMeans<Real>>, ForEntries<MeanGradients<Real>>,
    ForEntries<LabelGradients<Real>>, ForEntries<VectorSums<Real>>, ForEntries<AttentionWeights<Real>>,
    ForEntries<ScoreGradients<Real>>, ForEntries<TokenSlopes<Real>>, ForEntries<TokenProbabilities<Real>>,
    Norms<Real>, NormGradients<Real>, LabelProducts<Real>, VocabularySums<Real>,
    TiledProducts<Real, WholeProduct<Real>>, TiledProducts<Real, KeyProducts<Real>>,
    TiledProducts<Real, SumsOverKeys<Real>>, TiledProducts<Real, SumsOverQueries<Real>>>;

}  // namespace tangram::device
