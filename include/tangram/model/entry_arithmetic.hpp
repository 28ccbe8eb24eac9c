#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tangram/elementary.hpp"
#include "tangram/files/stored_entries.hpp"
#include "tangram/host_device.hpp"
#include "tangram/model/program.hpp"

/// What one entry of an operation is, from what it is made of: every executor takes it from here, so that its
/// bits are the same wherever passes run. How entries are reached, and the sums over them, are the
/// executor's.
namespace tangram::operations {

/// What becomes of the entries that an operation writes.
enum class Mode { skip, assign, add };

/// Entries of 16 bits, as checkpoints store them.
struct Half {
    std::uint16_t bits;
};
struct BrainFloat {
    std::uint16_t bits;
};

/// An entry in the passes' precision, exact.
template <class Real>
TANGRAM_HOST_DEVICE inline Real number(Real entry) {
    return entry;
}
template <class Real>
TANGRAM_HOST_DEVICE inline Real number(Half entry) {
    return static_cast<Real>(from_half(entry.bits));
}
template <class Real>
TANGRAM_HOST_DEVICE inline Real number(BrainFloat entry) {
    return static_cast<Real>(from_brain_float(entry.bits));
}

/// work(the first entry) of a matrix that stands where the caller reads it, aligned: entries of 16 bits, all
/// others in the passes' precision.
template <class Real, class Work>
TANGRAM_HOST_DEVICE inline auto with_entries_at(const StoredMatrix& matrix, Work work) {
    switch (matrix.type) {
        case DType::F16:
            return work(reinterpret_cast<const Half*>(matrix.first));
        case DType::BF16:
            return work(reinterpret_cast<const BrainFloat*>(matrix.first));
        default:
            return work(reinterpret_cast<const Real*>(matrix.first));
    }
}

/// Entry (o, k) of such a matrix.
template <class Real>
TANGRAM_HOST_DEVICE inline Real entry_of(const StoredMatrix& matrix, Index o, Index k) {
    return with_entries_at<Real>(matrix, [&](const auto* first) {
        return number<Real>(first[o * matrix.o_stride + k * matrix.k_stride]);
    });
}

/// f(x) and f'(x). The functions below are inlined whatever a compiler thinks of their size, so that loops
/// over them vectorise.
template <class Real>
struct Activated {
    Real value, slope;
};

template <class Real>
TANGRAM_HOST_DEVICE [[gnu::always_inline]] inline Activated<Real> silu(Real x) {
    const Real s = Real(1) / (Real(1) + elementary::exp(-x));
    return {x * s, s * (Real(1) + x * (Real(1) - s))};
}

/// x Phi(x), Hendrycks, Gimpel 2016.
template <class Real>
TANGRAM_HOST_DEVICE [[gnu::always_inline]] inline Activated<Real> gelu(Real x) {
    constexpr Real inverse_root_2 = static_cast<Real>(0.70710678118654752440L),
                   density_at_0 = static_cast<Real>(0.39894228040143267794L);
    const Real phi = Real(0.5) * (Real(1) + elementary::erf(x * inverse_root_2));
    return {x * phi, phi + x * density_at_0 * elementary::exp(Real(-0.5) * x * x)};
}

/// x sigma(1.702 x), the same paper.
template <class Real>
TANGRAM_HOST_DEVICE [[gnu::always_inline]] inline Activated<Real> quick_gelu(Real x) {
    constexpr Real c = static_cast<Real>(1.702L);
    const Real s = Real(1) / (Real(1) + elementary::exp(-c * x));
    return {x * s, s * (Real(1) + c * x * (Real(1) - s))};
}

/// The same paper's form with a tanh.
template <class Real>
TANGRAM_HOST_DEVICE [[gnu::always_inline]] inline Activated<Real> gelu_new(Real x) {
    constexpr Real c = static_cast<Real>(0.79788456080286535588L);  // sqrt(2/pi)
    constexpr Real a = static_cast<Real>(0.044715L);
    const Real square = x * x;
    const Real t = elementary::tanh(c * (x + a * square * x));
    const Real half = Real(0.5) * (Real(1) + t);
    return {x * half, half + Real(0.5) * x * (Real(1) - t * t) * c * (Real(1) + Real(3) * a * square)};
}

template <class Real>
TANGRAM_HOST_DEVICE [[gnu::always_inline]] inline Activated<Real> relu(Real x) {
    return {x > 0 ? x : Real(0), x > 0 ? Real(1) : Real(0)};
}

template <class Real>
TANGRAM_HOST_DEVICE [[gnu::always_inline]] inline Activated<Real> hyperbolic_tangent(Real x) {
    const Real t = elementary::tanh(x);
    return {t, Real(1) - t * t};
}

/// work(f), f(x) an Activated.
template <class Real, class Work>
TANGRAM_HOST_DEVICE inline void with_activation(Activation function, Work work) {
    switch (function) {
        case Activation::silu:
            return work([](Real x) { return silu(x); });
        case Activation::gelu:
            return work([](Real x) { return gelu(x); });
        case Activation::quick_gelu:
            return work([](Real x) { return quick_gelu(x); });
        case Activation::gelu_new:
            return work([](Real x) { return gelu_new(x); });
        case Activation::relu:
            return work([](Real x) { return relu(x); });
        case Activation::tanh:
            return work([](Real x) { return hyperbolic_tangent(x); });
    }
}

/// Mean (zero for RMS norm) and 1/sqrt(variance + epsilon) of one row.
template <class Real>
struct NormStatistics {
    Real mean, inverse;
};

/// 1/sqrt(sum / n + epsilon) of the sum of n squares.
template <class Real>
TANGRAM_HOST_DEVICE inline Real inverse_deviation(Real sum, Index n, double epsilon) {
    return Real(1) / std::sqrt(sum / static_cast<Real>(n) + static_cast<Real>(epsilon));
}

template <class Real>
TANGRAM_HOST_DEVICE inline Real normalised(Real x, NormStatistics<Real> s) {
    return (x - s.mean) * s.inverse;
}

/// The gradient through x -> w (x - mean) inverse, where h = w dy, n is the normalised entry, and means are
/// those of h and h n over the row.
template <class Real>
TANGRAM_HOST_DEVICE inline Real norm_slope(Real inverse, Real h, Real mean_h, Real n, Real mean_hn) {
    return inverse * (h - mean_h - n * mean_hn);
}

/// Entries i and i + h of a head after a turn by an angle of that cosine and sine.
template <class Real>
struct Turned {
    Real first, second;
};
template <class Real>
TANGRAM_HOST_DEVICE inline Turned<Real> turned(Real first, Real second, Real cosine, Real sine) {
    return {first * cosine - second * sine, second * cosine + first * sine};
}

/// Cosines and sines of a rotary operation stand by position, and for each those of short texts and of long
/// ones, where there are such.
inline Index rotary_tables(const RotaryAngles& angles) { return angles.long_frequencies.empty() ? 1 : 2; }

/// Those of positions below `longest`, where they are not there yet.
template <class Real>
void fill_rotary_tables(const RotaryAngles& angles, Index longest, std::vector<Real>& cosines,
                        std::vector<Real>& sines) {
    std::vector<double> frequencies = angles.frequencies;
    frequencies.insert(frequencies.end(), angles.long_frequencies.begin(), angles.long_frequencies.end());
    const auto positions = static_cast<std::size_t>(longest), each = frequencies.size();
    if (cosines.size() >= positions * each) return;
    cosines.resize(positions * each);
    sines.resize(cosines.size());
    for (std::size_t position = 0; position < positions; ++position)
        for (std::size_t i = 0; i < each; ++i) {
            const std::size_t at = position * each + i;
            const double angle = static_cast<double>(position) * frequencies[i];
            cosines[at] = static_cast<Real>(angles.factor * elementary::cos(angle));
            sines[at] = static_cast<Real>(angles.factor * elementary::sin(angle));
        }
}

/// A logit with a cap: cap tanh(z / cap), and its derivative from the value.
template <class Real>
TANGRAM_HOST_DEVICE inline Real capped(Real z, Real cap) {
    return cap * elementary::tanh(z / cap);
}
template <class Real>
TANGRAM_HOST_DEVICE inline Real cap_slope(Real capped_z, Real cap) {
    const Real t = capped_z / cap;
    return Real(1) - t * t;
}

/// A product q k that a cap of the scaled scores has made cap tanh(scale q k / cap) / scale, and the
/// derivative.
template <class Real>
TANGRAM_HOST_DEVICE inline Activated<Real> capped_score(Real product, Real scale, Real cap) {
    const Real inner = scale / cap, outer = cap / scale;
    const Real t = elementary::tanh(product * inner);
    return {outer * t, Real(1) - t * t};
}

/// The derivative of scale log softmax(z) at a token by the product behind the logit z of token v.
/// @param log_partition  log sum_v exp(z_v)
/// @param cap            of z; 0: none
/// @param is_predicted   v is that token
template <class Real>
TANGRAM_HOST_DEVICE inline Real token_slope(Real z, Real scale, double log_partition, Real cap,
                                            bool is_predicted) {
    const Real of_cap = cap > 0 ? z / cap : Real(0), through_cap = Real(1) - of_cap * of_cap;
    const double log_probability = static_cast<double>(z) - log_partition;
    // 1 - p of a token that is all but certain is lost in float32.
    return is_predicted
               ? static_cast<Real>(static_cast<double>(scale) * (1.0 - elementary::exp(log_probability))) *
                     through_cap
               : -scale * elementary::exp(static_cast<Real>(log_probability)) * through_cap;
}

/// Half-open ranges of keys, or of queries.
struct Range {
    Index begin, end;
};

/// Which keys the queries of one head of one example see. A causal query r sees keys <= first_position + r.
struct SeenKeys {
    Index queries, keys;
    Index first_position;  ///< position of query row 0
    Index window;          ///< keys seen at most if causal, else on each side of its own; keys: unlimited
    bool causal;           ///< else a query sees the keys behind it too

    /// Places before and behind its own that a query sees.
    TANGRAM_HOST_DEVICE Index before() const { return causal ? window - 1 : window; }
    TANGRAM_HOST_DEVICE Index behind() const { return causal ? 0 : window; }
    TANGRAM_HOST_DEVICE Index first_key(Index query) const {
        const Index first = first_position + query - before();
        return first > 0 ? first : 0;
    }
    TANGRAM_HOST_DEVICE Index end_key(Index query) const {
        const Index end = first_position + query + 1 + behind();
        return causal || end < keys ? end : keys;
    }
    /// Queries that see any of the keys [key, end).
    TANGRAM_HOST_DEVICE Index first_query(Index key) const {
        const Index first = key - first_position - behind();
        return first < 0 ? 0 : first < queries ? first : queries;
    }
    TANGRAM_HOST_DEVICE Index end_query(Index end) const {
        const Index last = end + before() - first_position;
        return last < 0 ? 0 : last < queries ? last : queries;
    }
    /// Keys that `count` queries from `first` on see any of, none behind the last one there is.
    TANGRAM_HOST_DEVICE Range keys_of(Index first, Index count) const {
        const Index begin = first_key(first), end = end_key(first + count - 1);
        return {begin < keys ? begin : keys, end < keys ? end : keys};
    }
    /// Queries that see any of `count` keys from `first` on.
    TANGRAM_HOST_DEVICE Range queries_of(Index first, Index count) const {
        const Index begin = first_query(first), end = end_query(first + count);
        return {begin, end > begin ? end : begin};
    }
};

}  // namespace tangram::operations
