#pragma once
#include "entry_kernels.hpp"

/// Kernels of a network's passes (network_kernels.hpp) that sum over rows.
namespace tangram::device {

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
    StoredMatrix table;  ///< in the memory of what runs the kernel
    const Real* bias;    ///< nullptr: none
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
                    ? running_sum<Real>(thread % running_sums, width,
                                        [&](Index i) {
                                            return x[at.row * width + i] *
                                                   entry_of<Real>(table, label_ids[at.column], i);
                                        })
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

}  // namespace tangram::device
