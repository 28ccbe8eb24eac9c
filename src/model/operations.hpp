#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#include "tangram/elementary.hpp"
#include "tangram/files/stored_entries.hpp"
#include "tangram/model/entry_arithmetic.hpp"
#include "tangram/products.hpp"

/// The arithmetic of single operations on rows. Every function treats a row or an example alone and sums in
/// one fixed order; every matrix product is made of products::block_sums, so that each of its entries is one
/// chain of fused multiply-adds in ascending k wherever the row stands and whatever stands beside it.
namespace tangram::operations {

/// Memory on cache lines, not initialised.
template <class Real>
struct LineAllocator {
    using value_type = Real;
    static constexpr std::align_val_t line{64};

    LineAllocator() = default;
    template <class Other>
    explicit LineAllocator(const LineAllocator<Other>&) {}
    Real* allocate(std::size_t n) { return static_cast<Real*>(::operator new(n * sizeof(Real), line)); }
    void deallocate(Real* p, std::size_t) { ::operator delete(p, line); }
    template <class Entry>
    void construct(Entry* entry) {
        ::new (static_cast<void*>(entry)) Entry;
    }
    bool operator==(const LineAllocator&) const = default;
};

/// A buffer that only ever grows; what it held is lost when it does.
template <class Real>
struct Buffer {
    std::vector<Real, LineAllocator<Real>> entries;

    Real* reserve(Index count) {
        if (std::ssize(entries) < count) {
            entries.clear();
            entries.resize(static_cast<std::size_t>(count));
        }
        return entries.data();
    }
    Real* data() { return entries.data(); }
    const Real* data() const { return entries.data(); }
};

template <class Real>
inline typename products::Vector<Real>::type load(const Real* from) {
    typename products::Vector<Real>::type entries;
    std::memcpy(&entries, from, sizeof(entries));
    return entries;
}

template <class Real, class V>
inline void store(Real* to, V entries) {
    std::memcpy(to, &entries, sizeof(entries));
}

constexpr Index rounded_up(Index n, Index step) { return (n + step - 1) / step * step; }

/// out_i = or += entry(i)
template <class Real, class Entry>
void put(Mode mode, Index n, Real* out, Entry entry) {
    if (mode == Mode::assign)
        for (Index i = 0; i < n; ++i) out[i] = entry(i);
    if (mode == Mode::add)
        for (Index i = 0; i < n; ++i) out[i] += entry(i);
}

/// The rows that the sums of a product start from: zero, the same row for all (step 0), or one each.
template <class Real>
struct Start {
    const Real* rows = nullptr;
    Index step = 0;
};

/// Of a packed operand: the rows of two vectors.
template <class Real>
inline constexpr Index panel_width = 2 * products::Vector<Real>::lanes;

/// Copies count < 2 limit entries, limit a power of two, without a call.
template <Index limit, class Real>
[[gnu::always_inline]] inline void copy_some(const Real* from, Index count, Real* to) {
    if constexpr (limit > 0) {
        if ((count & limit) != 0) {
            std::memcpy(to, from, limit * sizeof(Real));
            from += limit;
            to += limit;
        }
        copy_some<limit / 2>(from, count, to);
    }
}

/// product() for `columns` columns and at most `vectors` vectors of entries.
template <Index vectors, Index columns, class Real>
inline void product_block(const Real* x, Index x_stride, Index width, const Real* y, Index y_stride,
                          Index y_step, Index depth, Start<Real> start, Real* out, Index out_step) {
    constexpr Index rows = vectors * products::Vector<Real>::lanes;
    constexpr auto bytes = static_cast<std::size_t>(rows) * sizeof(Real);
    alignas(64) Real sums[rows * columns];
    const bool whole = width == rows;
    if (start.rows != nullptr) {
        for (Index c = 0; c < columns; ++c)
            if (whole) {
                std::memcpy(sums + c * rows, start.rows + c * start.step, bytes);
            } else {
                alignas(64) Real some[rows] = {};
                copy_some<rows / 2>(start.rows + c * start.step, width, some);
                std::memcpy(sums + c * rows, some, bytes);
            }
        products::block_sums<rows, columns, true>(x, x_stride, y, y_stride, y_step, depth, sums);
    } else {
        products::block_sums<rows, columns, false>(x, x_stride, y, y_stride, y_step, depth, sums);
    }
    for (Index c = 0; c < columns; ++c)
        if (whole)
            std::memcpy(out + c * out_step, sums + c * rows, bytes);
        else
            copy_some<rows / 2>(sums + c * rows, width, out + c * out_step);
}

/// The last columns, fewer than 2 limit.
template <Index vectors, Index limit, class Real>
inline void product_rest(const Real* x, Index x_stride, Index width, const Real* y, Index y_stride,
                         Index y_step, Index columns, Index depth, Start<Real> start, Real* out,
                         Index out_step) {
    if constexpr (limit > 0) {
        if ((columns & limit) != 0) {
            product_block<vectors, limit>(x, x_stride, width, y, y_stride, y_step, depth, start, out,
                                          out_step);
            y += limit * y_step;
            start.rows += limit * start.step;
            out += limit * out_step;
        }
        product_rest<vectors, limit / 2>(x, x_stride, width, y, y_stride, y_step, columns, depth, start, out,
                                         out_step);
    }
}

template <Index vectors, class Real>
void product_panel(const Real* x, Index x_stride, Index width, const Real* y, Index y_stride, Index y_step,
                   Index columns, Index depth, Start<Real> start, Real* out, Index out_step) {
    constexpr Index block = products::block_columns;
    Index c = 0;
    for (; c + block <= columns; c += block) {
        const Start<Real> from{start.rows == nullptr ? nullptr : start.rows + c * start.step, start.step};
        product_block<vectors, block>(x, x_stride, width, y + c * y_step, y_stride, y_step, depth, from,
                                      out + c * out_step, out_step);
    }
    const Start<Real> from{start.rows == nullptr ? nullptr : start.rows + c * start.step,
                           start.rows == nullptr ? 0 : start.step};
    product_rest<vectors, block / 2>(x, x_stride, width, y + c * y_step, y_stride, y_step, columns - c, depth,
                                     from, out + c * out_step, out_step);
}

/// out[c * out_step + r] = start[c * step + r] + sum_k x[k * x_stride + r] y[k * y_stride + c * y_step], r <
/// width, c < columns, k < depth. Rows of x must be readable up to a whole number of vectors. `start` may be
/// `out`.
template <class Real>
void product(const Real* x, Index x_stride, Index width, const Real* y, Index y_stride, Index y_step,
             Index columns, Index depth, Start<Real> start, Real* out, Index out_step) {
    constexpr Index panel = panel_width<Real>;
    for (Index r = 0; r < width; r += panel) {
        const Index w = std::min(panel, width - r);
        const Start<Real> from{start.rows == nullptr ? nullptr : start.rows + r, start.step};
        if (w > panel / 2)
            product_panel<2>(x + r, x_stride, w, y, y_stride, y_step, columns, depth, from, out + r,
                             out_step);
        else
            product_panel<1>(x + r, x_stride, w, y, y_stride, y_step, columns, depth, from, out + r,
                             out_step);
    }
}

/// Columns of a panel of weights, which stays in the cache while all tokens pass by (512: 7 % faster than
/// 256).
inline constexpr Index panel_depth = 512;

/// Lanes of `a` and `b` whose numbers differ in the bit `half` change places: row 0 lane half with row half
/// lane 0.
template <std::size_t half, class V, std::size_t... lane>
[[gnu::always_inline]] inline void exchange_lanes(V& a, V& b, std::index_sequence<lane...>) {
    const V first{((lane & half) == 0 ? a[lane] : b[lane & ~half])...};
    b = V{((lane & half) == 0 ? a[lane | half] : b[lane])...};
    a = first;
}

/// A square of entries in registers, turned about its diagonal: a bit of the row's and of the lane's number
/// after the other changes places (Eklundh 1972).
template <std::size_t half = 1, class V, std::size_t lanes>
[[gnu::always_inline]] inline void transpose(V (&rows)[lanes]) {
    if constexpr (half < lanes) {
        [&]<std::size_t... pair>(std::index_sequence<pair...>) {
            constexpr std::size_t below = half - 1;
            (exchange_lanes<half>(rows[(pair & below) | ((pair & ~below) << 1)],
                                  rows[(pair & below) | ((pair & ~below) << 1) | half],
                                  std::make_index_sequence<lanes>()),
             ...);
        }
        (std::make_index_sequence<lanes / 2>());
        transpose<2 * half>(rows);
    }
}

/// Rows of W that hold entries of the product's precision, of one panel's width and whole vectors deep.
template <class Real>
void pack_rows(const StoredMatrix& W, Index o, Index k, Index depth, Real* panel) {
    constexpr Index lanes = products::Vector<Real>::lanes;
    for (Index j = 0; j < panel_width<Real>; j += lanes)
        for (Index i = 0; i < depth; i += lanes) {
            typename products::Vector<Real>::type square[lanes];
            for (Index row = 0; row < lanes; ++row)
                std::memcpy(&square[row], W.at(o + j + row, k + i), sizeof(square[row]));
            transpose(square);
            for (Index row = 0; row < lanes; ++row)
                store(panel + (i + row) * panel_width<Real> + j, square[row]);
        }
}

/// Entries (o + j, k + i) of W, i < depth, j < width, to panel[i * panel_width + j], in the product's
/// precision.
template <class Real>
void pack_panel(const StoredMatrix& W, Index o, Index k, Index width, Index depth, Real* panel) {
    constexpr Index whole = panel_width<Real>;
    const bool copied = W.type == dtype_of<Real> && width == whole;
    if (copied && W.k_stride == 1 && depth % products::Vector<Real>::lanes == 0)
        return pack_rows(W, o, k, depth, panel);
    if (copied && W.o_stride == 1) {
        for (Index i = 0; i < depth; ++i)
            std::memcpy(panel + i * whole, W.at(o, k + i), whole * sizeof(Real));
        return;
    }
    with_entries<Real>(W.type, [=](auto entry) {
        for (Index i = 0; W.o_stride == 1 && i < depth; ++i) {
            const std::byte* const from = W.at(o, k + i);
            for (Index j = 0; j < width; ++j) panel[i * whole + j] = entry(from, j);
        }
        const std::byte* const from = W.at(o, k);
        for (Index i = 0; W.o_stride != 1 && i < depth; ++i)
            for (Index j = 0; j < width; ++j) panel[i * whole + j] = entry(from, j * W.o_stride + i);
    });
}

/// y_t = start_t + W x_t, t < rows; W is d_out x d_in. Panels of W are copied to where the product reads them
/// in order.
template <class Real>
void linear(const Real* x, Index rows, const StoredMatrix& W, Index d_out, Index d_in, Start<Real> start,
            Real* y, Buffer<Real>& scratch) {
    constexpr Index width = panel_width<Real>;
    Real* const panel = scratch.reserve(panel_depth * width);
    for (Index k = 0; k < d_in; k += panel_depth) {
        const Index depth = std::min(panel_depth, d_in - k);
        for (Index o = 0; o < d_out; o += width) {
            const Index w = std::min(width, d_out - o);
            if (w < width) std::fill_n(panel, depth * width, Real(0));
            pack_panel(W, o, k, w, depth, panel);
            const Start<Real> here = k > 0 ? Start<Real>{y + o, d_out}
                                           : Start<Real>{start.rows ? start.rows + o : nullptr, start.step};
            product(panel, width, w, x + k, Index{1}, d_in, rows, depth, here, y + o, d_out);
        }
    }
}

/// Sixteen running sums, of the entries i, i + 16, ... each, added pairwise at the end, so that the loop
/// vectorises in one order whatever the width of vectors. summand(i, read) is an entry or a vector of them,
/// as read(pointer) is.
template <class Real>
class RunningSums {
  public:
    using V = typename products::Vector<Real>::type;
    static constexpr Index count = 16, lanes = products::Vector<Real>::lanes;

    template <class Summand>
    static Real over(Index n, Summand summand) {
        V running[count / lanes] = {};
        Index i = 0;
        for (; i + count <= n; i += count)
            for (Index v = 0; v < count / lanes; ++v)
                running[v] += summand(i + v * lanes, [](const Real* p) { return load(p); });
        Real sums[count];
        std::memcpy(sums, running, sizeof(sums));
        for (Index lane = 0; i + lane < n; ++lane)
            sums[lane] += summand(i + lane, [](const Real* p) { return *p; });
        for (Index half = count / 2; half > 0; half /= 2)
            for (Index lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
        return sums[0];
    }
};

/// Sum of a_i b_i, product and sum rounded separately.
template <class Real>
Real dot(const Real* a, const Real* b, Index n) {
    return RunningSums<Real>::over(n, [=](Index i, auto read) { return read(a + i) * read(b + i); });
}

/// Sum of a_i, in the order of dot().
template <class Real>
Real sum(const Real* a, Index n) {
    return RunningSums<Real>::over(n, [=](Index i, auto read) { return read(a + i); });
}

/// y += c x
template <class Real>
void add_scaled(Index n, Real c, const Real* x, Real* y) {
    for (Index i = 0; i < n; ++i) y[i] += c * x[i];
}

template <class Real>
NormStatistics<Real> layer_norm_statistics(const Real* x, Index n, double epsilon, Buffer<Real>& scratch) {
    Real* const centred = scratch.reserve(n);
    const Real mean = sum(x, n) / static_cast<Real>(n);
    for (Index i = 0; i < n; ++i) centred[i] = x[i] - mean;
    return {mean, inverse_deviation(dot(centred, centred, n), n, epsilon)};
}

template <class Real>
NormStatistics<Real> rms_norm_statistics(const Real* x, Index n, double epsilon) {
    return {Real(0), inverse_deviation(dot(x, x, n), n, epsilon)};
}

/// The gradient through x -> w (x - mean) inverse for one row, h = w dy: norm_slope(), with mean(h) only
/// where a mean was subtracted.
template <class Real>
void norm_backward(const Real* x, const Real* w, const Real* dy, NormStatistics<Real> s, bool centred,
                   Index n, Mode mode, Real* dx, Buffer<Real>& scratch) {
    Real* const h = scratch.reserve(2 * n);
    Real* const row = h + n;
    for (Index i = 0; i < n; ++i) {
        h[i] = w[i] * dy[i];
        row[i] = normalised(x[i], s);
    }
    const Real mean_h = centred ? sum(h, n) / static_cast<Real>(n) : Real(0);
    const Real mean_hn = dot(h, row, n) / static_cast<Real>(n);
    put(mode, n, dx, [=](Index i) { return norm_slope(s.inverse, h[i], mean_h, row[i], mean_hn); });
}

/// y_i = f(x_i) and slope_i = f'(x_i).
template <class Real>
void activate(Activation function, Index n, const Real* x, Real* y, Real* slope) {
    const auto put_entry = [=](Index i, Activated<Real> at) __attribute__((always_inline)) {
        y[i] = at.value;
        slope[i] = at.slope;
    };
    switch (function) {  // outside of the loops, which vectorise
        case Activation::silu:
            for (Index i = 0; i < n; ++i) put_entry(i, silu(x[i]));
            return;
        case Activation::gelu:
            for (Index i = 0; i < n; ++i) put_entry(i, gelu(x[i]));
            return;
        case Activation::quick_gelu:
            for (Index i = 0; i < n; ++i) put_entry(i, quick_gelu(x[i]));
            return;
        case Activation::gelu_new:
            for (Index i = 0; i < n; ++i) put_entry(i, gelu_new(x[i]));
            return;
        case Activation::relu:
            for (Index i = 0; i < n; ++i) put_entry(i, relu(x[i]));
            return;
        case Activation::tanh:
            for (Index i = 0; i < n; ++i) put_entry(i, hyperbolic_tangent(x[i]));
            return;
    }
}

/// One head of one example. Rows are strided: row r of q starts at q + r * query_stride, and so on.
template <class Real>
struct Head {
    Index queries, keys, size;  ///< rows of q, rows of k and v, head size
    Index first_position;       ///< position of query row 0; a causal query r sees keys <= first_position + r
    Index window;  ///< keys seen at most if causal, else on each side of its own; keys where unlimited
    Index query_stride, key_stride;
    Real scale;
    bool causal = true;  ///< else a query sees the keys behind it too
    Real cap = 0;        ///< of the scores; 0: none

    SeenKeys seen() const { return {queries, keys, first_position, window, causal}; }
    /// Queries rounded up to vectors.
    Index row_width() const { return rounded_up(queries, products::Vector<Real>::lanes); }
    /// Entries of a packed row of one head.
    Index packed_size() const { return rounded_up(size, products::Vector<Real>::lanes); }
};

/// Scratch of attention, reused from head to head.
template <class Real>
struct HeadScratch {
    Buffer<Real> transposed, packed, weights, slopes, cap_slopes;
};

/// Rows of queries as [size][row_width], zero behind the last query.
template <class Real>
const Real* transposed_queries(const Head<Real>& head, const Real* rows, Buffer<Real>& out) {
    const Index width = head.row_width();
    Real* const to = out.reserve(head.size * width);
    for (Index d = 0; d < head.size; ++d) {
        for (Index r = 0; r < head.queries; ++r) to[d * width + r] = rows[r * head.query_stride + d];
        std::fill(to + d * width + head.queries, to + (d + 1) * width, Real(0));
    }
    return to;
}

/// [count][packed_size], zero behind the head's entries
template <class Real>
const Real* packed_rows(const Head<Real>& head, const Real* rows, Index count, Index stride,
                        Buffer<Real>& out) {
    const Index width = head.packed_size();
    Real* const to = out.reserve(count * width);
    for (Index r = 0; r < count; ++r) {
        std::copy_n(rows + r * stride, head.size, to + r * width);
        std::fill(to + r * width + head.size, to + (r + 1) * width, Real(0));
    }
    return to;
}

/// Products of each query with the keys (or values, as `rows`) that it may see, keys x row_width: queries
/// stand side by side in vectors. Then finish(first query, begin, end) for each vector of queries, whose
/// products with the keys [begin, end) are set; those with other keys become zero.
template <class Real, class Finish>
void products_with_keys(const Head<Real>& head, const Real* transposed, const Real* rows, Real* out,
                        Finish finish) {
    constexpr Index lanes = products::Vector<Real>::lanes, panel = panel_width<Real>;
    const Index width = head.row_width();
    for (Index r = 0; r < width; r += panel) {
        const Index last = std::min(width, r + panel);
        const auto [begin, end] = head.seen().keys_of(r, last - r);
        product(transposed + r, width, last - r, rows + begin * head.key_stride, Index{1}, head.key_stride,
                end - begin, head.size, {}, out + begin * width + r, width);
        for (Index first = r; first < last; first += lanes) {
            const auto [from, to] = head.seen().keys_of(first, lanes);
            finish(first, from, to);
            for (Index j = 0; j < from; ++j) std::fill_n(out + j * width + first, lanes, Real(0));
            for (Index j = to; j < head.keys; ++j) std::fill_n(out + j * width + first, lanes, Real(0));
        }
    }
}

/// scores of one vector of queries become cap tanh(scale score / cap) / scale, and slopes the derivatives.
template <class Real>
void cap_scores(const Head<Real>& head, Index first, Index begin, Index end, Real* scores, Real* slopes) {
    constexpr Index lanes = products::Vector<Real>::lanes;
    for (Index j = begin; j < end; ++j) {
        Real *const s = scores + j * head.row_width() + first, *const to = slopes + (s - scores);
        for (Index lane = 0; lane < lanes; ++lane) {
            const Activated<Real> score = capped_score(s[lane], head.scale, head.cap);
            s[lane] = score.value;
            to[lane] = score.slope;
        }
    }
}

/// softmax(scale scores) of one vector of queries over the keys [begin, end), in place; zero for keys not
/// seen.
template <class Real>
void softmax(const Head<Real>& head, Index first, Index begin, Index end, Real* scores) {
    constexpr Index lanes = products::Vector<Real>::lanes;
    constexpr Real unseen = -std::numeric_limits<Real>::infinity();
    const Index width = head.row_width();
    const SeenKeys seen = head.seen();
    Real* const column = scores + first;
    auto largest = typename products::Vector<Real>::type{} + unseen;
    for (Index j = begin; j < end; ++j) {
        Real* const s = column + j * width;
        store(s, load(s) * head.scale);
        for (Index lane = 0; lane < lanes && j >= seen.end_key(first + lane); ++lane) s[lane] = unseen;
        for (Index lane = lanes; lane > 0 && j < seen.first_key(first + lane - 1); --lane)
            s[lane - 1] = unseen;
        const auto here = load(s);
        largest = here > largest ? here : largest;
    }
    auto total = typename products::Vector<Real>::type{};
    for (Index j = begin; j < end; ++j) {
        Real* const s = column + j * width;
        store(s, load(s) - largest);
        for (Index lane = 0; lane < lanes; ++lane) s[lane] = elementary::exp(s[lane]);
        total += load(s);
    }
    const auto inverse = Real(1) / total;
    for (Index j = begin; j < end; ++j) store(column + j * width, load(column + j * width) * inverse);
}

/// softmax(scale k q^T), keys x row_width; with a cap, that of the capped ones, and the cap's derivatives in
/// the scratch's cap_slopes.
template <class Real>
const Real* attention_weights(const Head<Real>& head, const Real* q, const Real* k,
                              HeadScratch<Real>& scratch) {
    const Index entries = head.keys * head.row_width();
    Real* const weights = scratch.weights.reserve(entries);
    Real* const cap_slopes = head.cap > 0 ? scratch.cap_slopes.reserve(entries) : nullptr;
    products_with_keys(head, transposed_queries(head, q, scratch.transposed), k, weights,
                       [&](Index first, Index begin, Index end) {
                           if (head.cap > 0) cap_scores(head, first, begin, end, weights, cap_slopes);
                           softmax(head, first, begin, end, weights);
                       });
    return weights;
}

/// slopes of one vector of queries times the derivatives of the cap.
template <class Real>
void cap_backward(const Head<Real>& head, Index first, Index begin, Index end, const Real* cap_slopes,
                  Real* slopes) {
    for (Index j = begin; j < end; ++j) {
        const Index at = j * head.row_width() + first;
        store(slopes + at, load(slopes + at) * load(cap_slopes + at));
    }
}

/// The gradient with respect to scores k q^T, in place of `slopes`, the gradient with respect to the weights.
template <class Real>
void softmax_backward(const Head<Real>& head, Index first, Index begin, Index end, const Real* weights,
                      Real* slopes) {
    const Index width = head.row_width();
    auto mean = typename products::Vector<Real>::type{};
    for (Index j = begin; j < end; ++j)
        mean += load(weights + j * width + first) * load(slopes + j * width + first);
    for (Index j = begin; j < end; ++j) {
        Real* const s = slopes + j * width + first;
        store(s, load(weights + j * width + first) * (load(s) - mean) * head.scale);
    }
}

/// Rows of queries (stride query_stride) = or += sum over keys of coefficients times rows of k or v.
template <class Real>
void sum_over_keys(const Head<Real>& head, const Real* coefficients, const Real* rows, Mode mode, Real* out,
                   HeadScratch<Real>& scratch) {
    const Index width = head.row_width(), size = head.packed_size();
    const Real* const packed = packed_rows(head, rows, head.keys, head.key_stride, scratch.packed);
    for (Index r = 0; r < head.queries; r += products::block_columns) {
        const Index count = std::min(products::block_columns, head.queries - r);
        const auto [begin, end] = head.seen().keys_of(r, count);
        Real* const to = out + r * head.query_stride;
        product(packed + begin * size, size, head.size, coefficients + begin * width + r, width, Index{1},
                count, end - begin, {mode == Mode::add ? to : nullptr, head.query_stride}, to,
                head.query_stride);
    }
}

/// Rows of keys (stride key_stride) = or += sum over queries of coefficients times rows of q or of its kind.
template <class Real>
void sum_over_queries(const Head<Real>& head, const Real* coefficients, const Real* rows, Mode mode,
                      Real* out, HeadScratch<Real>& scratch) {
    const Index width = head.row_width(), size = head.packed_size();
    const Real* const packed = packed_rows(head, rows, head.queries, head.query_stride, scratch.packed);
    for (Index j = 0; j < head.keys; j += products::block_columns) {
        const Index count = std::min(products::block_columns, head.keys - j);
        const auto [first, last] = head.seen().queries_of(j, count);
        Real* const to = out + j * head.key_stride;
        product(packed + first * size, size, head.size, coefficients + j * width + first, Index{1}, width,
                count, last - first, {mode == Mode::add ? to : nullptr, head.key_stride}, to,
                head.key_stride);
    }
}

/// out (stride query_stride) = attention of one head; out is overwritten.
template <class Real>
void attention_forward(const Head<Real>& head, const Real* q, const Real* k, const Real* v, Real* out,
                       HeadScratch<Real>& scratch) {
    sum_over_keys(head, attention_weights(head, q, k, scratch), v, Mode::assign, out, scratch);
}

/// Which gradients of an attention are wanted, and how they are written.
struct AttentionModes {
    Mode query, key, value;
};

/// The gradients of one head; the weights are computed again rather than kept.
template <class Real>
void attention_backward(const Head<Real>& head, const Real* q, const Real* k, const Real* v, const Real* dout,
                        AttentionModes modes, Real* dq, Real* dk, Real* dv, HeadScratch<Real>& scratch) {
    const Real* const weights = attention_weights(head, q, k, scratch);
    if (modes.value != Mode::skip) sum_over_queries(head, weights, dout, modes.value, dv, scratch);
    if (modes.query == Mode::skip && modes.key == Mode::skip) return;
    Real* const slopes = scratch.slopes.reserve(head.keys * head.row_width());
    products_with_keys(head, transposed_queries(head, dout, scratch.transposed), v, slopes,
                       [&](Index first, Index begin, Index end) {
                           softmax_backward(head, first, begin, end, weights, slopes);
                           if (head.cap > 0)
                               cap_backward(head, first, begin, end, scratch.cap_slopes.data(), slopes);
                       });
    if (modes.query != Mode::skip) sum_over_keys(head, slopes, k, modes.query, dq, scratch);
    if (modes.key != Mode::skip) sum_over_queries(head, slopes, q, modes.key, dk, scratch);
}

}  // namespace tangram::operations
