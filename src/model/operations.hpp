#pragma once
#include <cmath>
#include <vector>

#include "tangram/arithmetic.hpp"
#include "tangram/blas.hpp"
#include "tangram/model/program.hpp"

/// The arithmetic of single operations on rows. Every function treats a row or an example alone and sums in one fixed
/// order. The two linear products are the only ones that go through BLAS, in chunks of linear_rows.
namespace tangram::operations {

/// rows rounded up to whole chunks of linear_rows.
inline Index padded(Index rows) {
    return (rows + arithmetic::linear_rows - 1) / arithmetic::linear_rows * arithmetic::linear_rows;
}

/// Sum of a_i b_i: sixteen running sums, added pairwise at the end, so that the loop vectorises in a fixed order.
template <class Real>
Real dot(const Real* a, const Real* b, Index n) {
    constexpr Index lanes = 16;
    Real sums[lanes] = {};
    Index i = 0;
    for (; i + lanes <= n; i += lanes)
        for (Index lane = 0; lane < lanes; ++lane) sums[lane] += a[i + lane] * b[i + lane];
    for (Index lane = 0; i + lane < n; ++lane) sums[lane] += a[i + lane] * b[i + lane];
    for (Index half = lanes / 2; half > 0; half /= 2)
        for (Index lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
    return sums[0];
}

/// Sum of a_i, in the order of dot().
template <class Real>
Real sum(const Real* a, Index n) {
    constexpr Index lanes = 16;
    Real sums[lanes] = {};
    Index i = 0;
    for (; i + lanes <= n; i += lanes)
        for (Index lane = 0; lane < lanes; ++lane) sums[lane] += a[i + lane];
    for (Index lane = 0; i + lane < n; ++lane) sums[lane] += a[i + lane];
    for (Index half = lanes / 2; half > 0; half /= 2)
        for (Index lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
    return sums[0];
}

/// y += c x
template <class Real>
void add_scaled(Index n, Real c, const Real* x, Real* y) {
    for (Index i = 0; i < n; ++i) y[i] += c * x[i];
}

/// One chunk of y = x W^T: x linear_rows x d_in, W d_out x d_in, y linear_rows x d_out, all row-major.
template <class Real>
void linear_chunk(const Real* x, const Real* weight, Index d_out, Index d_in, Real* y) {
    gemm('T', 'N', static_cast<int>(d_out), static_cast<int>(arithmetic::linear_rows), static_cast<int>(d_in),
         weight, static_cast<int>(d_in), x, static_cast<int>(d_in), y, static_cast<int>(d_out));
}

/// One chunk of x' = y' W (the gradient with respect to x): y' linear_rows x d_out, x' linear_rows x d_in.
template <class Real>
void linear_chunk_backward(const Real* dy, const Real* weight, Index d_out, Index d_in, Real* dx) {
    gemm('N', 'N', static_cast<int>(d_in), static_cast<int>(arithmetic::linear_rows), static_cast<int>(d_out),
         weight, static_cast<int>(d_in), dy, static_cast<int>(d_out), dx, static_cast<int>(d_in));
}

/// Mean (zero for RMS norm) and 1/sqrt(variance + epsilon) of one row.
template <class Real>
struct NormStatistics {
    Real mean, inverse;
};

template <class Real>
NormStatistics<Real> layer_norm_statistics(const Real* x, Index n, double epsilon, std::vector<Real>& scratch) {
    scratch.resize(static_cast<std::size_t>(n));
    const Real mean = sum(x, n) / static_cast<Real>(n);
    for (Index i = 0; i < n; ++i) scratch[static_cast<std::size_t>(i)] = x[i] - mean;
    const Real variance = dot(scratch.data(), scratch.data(), n) / static_cast<Real>(n);
    return {mean, Real(1) / std::sqrt(variance + static_cast<Real>(epsilon))};
}

template <class Real>
NormStatistics<Real> rms_norm_statistics(const Real* x, Index n, double epsilon) {
    return {Real(0), Real(1) / std::sqrt(dot(x, x, n) / static_cast<Real>(n) + static_cast<Real>(epsilon))};
}

/// Adds to dx the gradient through x -> w (x - mean) inverse for one row; with h = w dy and n the normalised row:
/// dx = inverse (h - mean(h) - n mean(h n)), the mean(h) term only where a mean was subtracted.
template <class Real>
void norm_backward(const Real* x, const Real* w, const Real* dy, NormStatistics<Real> s, bool centred, Index n,
                   Real* dx, std::vector<Real>& scratch) {
    scratch.resize(static_cast<std::size_t>(2 * n));
    Real* const h = scratch.data();
    Real* const normalised = h + n;
    for (Index i = 0; i < n; ++i) {
        h[i] = w[i] * dy[i];
        normalised[i] = (x[i] - s.mean) * s.inverse;
    }
    const Real mean_h = centred ? sum(h, n) / static_cast<Real>(n) : Real(0);
    const Real mean_hn = dot(h, normalised, n) / static_cast<Real>(n);
    for (Index i = 0; i < n; ++i) dx[i] += s.inverse * (h[i] - mean_h - normalised[i] * mean_hn);
}

/// y = f(x) and slope = f'(x).
template <class Real>
void activate(Activation function, Real x, Real& y, Real& slope) {
    switch (function) {
        case Activation::silu: {
            const Real s = Real(1) / (Real(1) + std::exp(-x));
            y = x * s;
            slope = s * (Real(1) + x * (Real(1) - s));
            return;
        }
        case Activation::gelu_new: {  // Hendrycks, Gimpel 2016, the tanh form
            constexpr Real c = static_cast<Real>(0.79788456080286535588L);  // sqrt(2/pi)
            constexpr Real a = static_cast<Real>(0.044715L);
            const Real t = std::tanh(c * (x + a * x * x * x));
            y = Real(0.5) * x * (Real(1) + t);
            slope = Real(0.5) * (Real(1) + t) +
                    Real(0.5) * x * (Real(1) - t * t) * c * (Real(1) + Real(3) * a * x * x);
            return;
        }
    }
}

/// One head of one example. Rows are strided: row r of q starts at q + r * query_stride, and so on.
template <class Real>
struct Head {
    Index queries, keys, size;  ///< rows of q, rows of k and v, head size
    Index first_position;       ///< position of query row 0; query r sees keys <= first_position + r
    Index window;               ///< keys seen at most; keys where unlimited
    Index query_stride, key_stride;
    Real scale;

    Index first_key(Index query) const { return std::max(Index{0}, first_position + query + 1 - window); }
    Index end_key(Index query) const { return first_position + query + 1; }
};

/// Scratch of attention, reused from head to head.
template <class Real>
struct HeadScratch {
    std::vector<Real> keys_transposed, values_transposed, weights, slopes;
};

template <class Real>
void transpose_rows(const Real* rows, Index count, Index stride, Index size, std::vector<Real>& out) {
    out.resize(static_cast<std::size_t>(count * size));
    for (Index r = 0; r < count; ++r)
        for (Index d = 0; d < size; ++d) out[static_cast<std::size_t>(d * count + r)] = rows[r * stride + d];
}

/// softmax(scale q k^T) of one query over its keys, into weights[first .. end).
template <class Real>
void attention_weights(const Head<Real>& head, const Real* q, const std::vector<Real>& keys_transposed, Index first,
                       Index end, Real* weights) {
    for (Index j = first; j < end; ++j) weights[j] = 0;
    for (Index d = 0; d < head.size; ++d)
        add_scaled(end - first, q[d], keys_transposed.data() + d * head.keys + first, weights + first);
    Real largest = weights[first] * head.scale;
    for (Index j = first; j < end; ++j) {
        weights[j] *= head.scale;
        largest = std::max(largest, weights[j]);
    }
    for (Index j = first; j < end; ++j) weights[j] = std::exp(weights[j] - largest);
    const Real inverse = Real(1) / sum(weights + first, end - first);
    for (Index j = first; j < end; ++j) weights[j] *= inverse;
}

/// out (stride query_stride) = attention of one head; out is overwritten.
template <class Real>
void attention_forward(const Head<Real>& head, const Real* q, const Real* k, const Real* v, Real* out,
                       HeadScratch<Real>& scratch) {
    transpose_rows(k, head.keys, head.key_stride, head.size, scratch.keys_transposed);
    scratch.weights.resize(static_cast<std::size_t>(head.keys));
    Real* const weights = scratch.weights.data();
    for (Index r = 0; r < head.queries; ++r) {
        const Index first = head.first_key(r), end = head.end_key(r);
        attention_weights(head, q + r * head.query_stride, scratch.keys_transposed, first, end, weights);
        Real* const o = out + r * head.query_stride;
        for (Index d = 0; d < head.size; ++d) o[d] = 0;
        for (Index j = first; j < end; ++j) add_scaled(head.size, weights[j], v + j * head.key_stride, o);
    }
}

/// Adds the gradients of one head to dq, dk, dv; the weights are computed again rather than kept.
template <class Real>
void attention_backward(const Head<Real>& head, const Real* q, const Real* k, const Real* v, const Real* dout,
                        Real* dq, Real* dk, Real* dv, HeadScratch<Real>& scratch) {
    transpose_rows(k, head.keys, head.key_stride, head.size, scratch.keys_transposed);
    transpose_rows(v, head.keys, head.key_stride, head.size, scratch.values_transposed);
    scratch.weights.resize(static_cast<std::size_t>(head.keys));
    scratch.slopes.resize(static_cast<std::size_t>(head.keys));
    Real* const weights = scratch.weights.data();
    Real* const slopes = scratch.slopes.data();
    for (Index r = 0; r < head.queries; ++r) {
        const Index first = head.first_key(r), end = head.end_key(r);
        const Real* const query = q + r * head.query_stride;
        const Real* const dy = dout + r * head.query_stride;
        attention_weights(head, query, scratch.keys_transposed, first, end, weights);
        for (Index j = first; j < end; ++j) slopes[j] = 0;
        for (Index d = 0; d < head.size; ++d)
            add_scaled(end - first, dy[d], scratch.values_transposed.data() + d * head.keys + first,
                       slopes + first);
        const Real mean = dot(weights + first, slopes + first, end - first);
        for (Index j = first; j < end; ++j) slopes[j] = weights[j] * (slopes[j] - mean) * head.scale;
        for (Index j = first; j < end; ++j) {
            add_scaled(head.size, slopes[j], k + j * head.key_stride, dq + r * head.query_stride);
            add_scaled(head.size, slopes[j], query, dk + j * head.key_stride);
            add_scaled(head.size, weights[j], dy, dv + j * head.key_stride);
        }
    }
}

}  // namespace tangram::operations
