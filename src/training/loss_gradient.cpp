#include "tangram/training/loss_gradient.hpp"

#include <omp.h>

#include <algorithm>
#include <bit>
#include <optional>
#include <utility>

#include "outer_products.hpp"
#include "tangram/jacobian/factor_kinds.hpp"
#include "tangram/jacobian/token_blocks.hpp"
#include "tangram/parallel/communicator.hpp"
#include "tangram/parallel/tree_sum.hpp"
#include "tangram/parallel_for.hpp"

namespace tangram {

Index gradient_parts(Index batch) {
    constexpr Index least_part = 8, most_parts = 64;
    return std::clamp((batch + least_part - 1) / least_part, Index{1}, most_parts);
}

Index gradient_vectors(Index batch, int ranks, int threads) {
    // The first rank's leaves begin at 0: after `done` of them it holds a sum for each bit of that number.
    const Index leaves = (gradient_parts(batch) + ranks - 1) / ranks;
    Index most = 1;
    for (Index done = 0; done < leaves; done += threads)
        most = std::max(
            most, std::popcount(static_cast<std::uint64_t>(done)) + std::min<Index>(threads, leaves - done));
    return most + 1;  // the gradient itself
}

ParameterVector::ParameterVector(const Program& program, std::vector<ParameterId> all)
    : parameters(std::move(all)), offsets{0} {
    for (const ParameterId p : parameters) offsets.push_back(offsets.back() + program.parameters()[p].size());
}

/// What a thread works with; the first has the network that is there.
template <class Real>
struct LossGradient<Real>::Thread {
    std::optional<Network<Real>> twin;
    Network<Real>* network;
    OuterProducts<Real> products;
    std::vector<Real> seeds, vector;
    std::vector<double> logits, rows, slopes;
};

template <class Real>
LossGradient<Real>::LossGradient(Network<Real>& network, const DataSet& data, const TrainingTargets& targets,
                                 Loss loss, const ParameterVector& parameters, MPI_Comm comm)
    : network_(&network),
      data_(&data),
      targets_(&targets),
      loss_(loss),
      parameters_(&parameters),
      comm_(comm),
      factors_(factors_of(network.program())),
      threads_(static_cast<std::size_t>(omp_get_max_threads())) {}

template <class Real>
LossGradient<Real>::~LossGradient() = default;

/// Memory for the sums of so many parts, of all steps that have as many.
template <class Real>
void LossGradient<Real>::begin(Index parts) {
    if (parts_ == parts) return;
    sums_ = std::make_unique<TreeSum>(comm_, parts, parameters_->size() + 1);
    parts_ = parts;
}

template <class Real>
typename LossGradient<Real>::Thread& LossGradient<Real>::thread() {
    std::unique_ptr<Thread>& own = threads_[static_cast<std::size_t>(omp_get_thread_num())];
    if (own == nullptr) {
        own = std::make_unique<Thread>();
        own->network = omp_get_thread_num() == 0 ? network_ : &own->twin.emplace(network_->twin());
    }
    return *own;
}

namespace {

/// Adds one parameter's gradient over a block to a sum.
template <class Real>
class AddedFactor {
  public:
    AddedFactor(const Network<Real>& network, const TokenBlock& block, const Parameter& parameter,
                std::span<const Real> seeds)
        : network_(network), block_(block), parameter_(parameter), seeds_(seeds) {}

    void outer(const Factor& factor, OuterProducts<Real>& products, bool fresh, double* sum) const {
        products.add(network_.gradient(factor.delta), parameter_.shape[0], network_.value(factor.input),
                     parameter_.shape[1], block_.rows(row_set(factor.delta)), fresh, sum);
    }

    void vector(const Factor& factor, std::vector<Real>& own, double* sum) const {
        own.resize(static_cast<std::size_t>(parameter_.size()));
        for (Index e = 0; e < block_.examples(); ++e) {
            std::ranges::fill(own, Real(0));
            network_.add_vector(factor, e, own.data());
            for (const auto& [first, last] : parameter_.idle)
                std::fill(own.begin() + first, own.begin() + last, Real(0));
            for (std::size_t i = 0; i < own.size(); ++i) sum[i] += static_cast<double>(own[i]);
        }
    }

    void table(const Factor& factor, double* sum) const {
        const Index width = parameter_.shape.back();
        for (Index e = 0; e < block_.examples(); ++e) {
            const RowRange range = network_.rows(row_set(factor.delta), e);
            const Index first_token = block_.offsets[static_cast<std::size_t>(e)];
            const std::span tokens(block_.token_ids.data() + first_token,
                                   static_cast<std::size_t>(range.size()));
            for (Index t = 0; t < range.size(); ++t)
                add_row(network_.gradient(factor.delta) + (range.first + t) * width, 1.0,
                        sum + table_row(factor, tokens[static_cast<std::size_t>(t)], t) * width);
        }
    }

    /// Of the head: rows of the label words, or entries of the bias.
    void labels(const Factor& factor, double* sum) const {
        const bool rows = factor.kind == Factor::Kind::label_rows;
        const Index width = rows ? parameter_.shape.back() : 1;
        const std::size_t count = network_.label_ids().size();
        for (Index e = 0; e < block_.examples(); ++e)
            for (std::size_t c = 0; c < count; ++c) {
                const auto seed = static_cast<double>(seeds_[static_cast<std::size_t>(e) * count + c]);
                double* const to = sum + network_.label_ids()[c] * width;
                if (rows)
                    add_row(network_.value(factor.input) + e * width, seed, to);
                else
                    *to += seed;
            }
    }

  private:
    RowSet row_set(Value value) const { return network_.program().shape(value).rows; }
    void add_row(const Real* row, double factor, double* to) const {
        const Index width = parameter_.shape.back();
        for (Index i = 0; i < width; ++i) to[i] += factor * static_cast<double>(row[i]);
    }

    const Network<Real>& network_;
    const TokenBlock& block_;
    const Parameter& parameter_;
    std::span<const Real> seeds_;
};

bool is_outer(const Factor& factor) {
    const Kept kept = kept_of(factor.kind);
    return kept.input && kept.delta;
}

}  // namespace

/// The sum of the gradients of some examples, and that of their losses behind it. @param sum  overwritten
template <class Real>
void LossGradient<Real>::sum_part(Thread& work, std::span<const Index> examples, double* sum) const {
    Network<Real>& network = *work.network;
    sum[parameters_->size()] = 0;
    const auto labels = static_cast<std::size_t>(network.labels());
    work.rows.resize(static_cast<std::size_t>(targets_->rows()));
    work.slopes.resize(work.rows.size());
    constexpr auto together = static_cast<std::size_t>(arithmetic::examples_per_block);
    for (std::size_t first = 0; first < examples.size(); first += together) {
        const auto some = examples.subspan(first, std::min(together, examples.size() - first));
        const TokenBlock block = token_block(*data_, some);
        network.forward(block);
        work.logits.assign(network.logits().begin(), network.logits().end());
        work.seeds.resize(work.logits.size());
        for (std::size_t e = 0; e < some.size(); ++e) {
            const std::span logits = std::span(work.logits).subspan(e * labels, labels);
            rows_of_logits(targets_->output, logits, work.rows);
            sum[parameters_->size()] += loss_of_example(loss_, *targets_, some[e], work.rows, work.slopes);
            Real* const seeds = work.seeds.data() + e * labels;
            if (targets_->output == KernelOutput::margin) {
                seeds[0] = static_cast<Real>(-work.slopes[0]);
                seeds[1] = static_cast<Real>(work.slopes[0]);
            } else {
                for (std::size_t c = 0; c < labels; ++c) seeds[c] = static_cast<Real>(work.slopes[c]);
            }
        }
        network.backward(work.seeds, parameters_->parameters);
        for (std::size_t p = 0; p < parameters_->parameters.size(); ++p) {
            const ParameterId id = parameters_->parameters[p];
            const AddedFactor<Real> added(network, block, network.program().parameters()[id],
                                          network.seeds());  // behind the head's cap
            double* const to = sum + parameters_->offsets[p];
            // An outer product writes every entry, all else adds to some.
            bool fresh = first == 0 && !factors_[id].empty() && is_outer(factors_[id].front());
            if (first == 0 && !fresh) std::fill(to, sum + parameters_->offsets[p + 1], 0.0);
            for (const Factor& factor : factors_[id]) {
                if (is_outer(factor))
                    added.outer(factor, work.products, std::exchange(fresh, false), to);
                else if (kept_of(factor.kind).vector)
                    added.vector(factor, work.vector, to);
                else if (factor.from_label())
                    added.labels(factor, to);
                else
                    added.table(factor, to);
            }
        }
    }
}

template <class Real>
double LossGradient<Real>::operator()(std::span<const Index> batch, std::vector<double>& gradient) {
    const Index examples = std::ssize(batch), parts = gradient_parts(examples);
    const auto part = [&](Index p) {
        const Index first = p * examples / parts;
        return batch.subspan(static_cast<std::size_t>(first),
                             static_cast<std::size_t>((p + 1) * examples / parts - first));
    };
    collectively(comm_, [&] {
        gradient.resize(static_cast<std::size_t>(parameters_->size() + 1));
        begin(parts);
        // As many parts at a time as there are threads, added in order.
        const Index threads = omp_get_max_threads();
        for (Index first = sums_->first(); first < sums_->last(); first += threads) {
            const Index count = std::min(threads, sums_->last() - first);
            std::vector<std::vector<double>> made;
            for (Index i = 0; i < count; ++i) made.push_back(sums_->memory());
            parallel_for(
                count, [&] { return &thread(); },
                [&](Thread* of_thread, Index i) {
                    sum_part(*of_thread, part(first + i), made[static_cast<std::size_t>(i)].data());
                });
            for (std::vector<double>& leaf : made) sums_->add(leaf);
        }
    });
    sums_->finish(gradient, static_cast<double>(examples));
    const double loss = gradient.back();
    gradient.pop_back();
    return loss;
}

template <class Real>
std::vector<double> logits_of(Network<Real>& network, const DataSet& data, MPI_Comm comm) {
    int rank = 0, ranks = 1;
    TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
    TANGRAM_MPI(MPI_Comm_size(comm, &ranks));
    const Index n = data.examples(), together = arithmetic::examples_per_block,
                blocks = (n + together - 1) / together;
    std::vector<double> logits = collectively(comm, [&] {
        std::vector<double> own(static_cast<std::size_t>(n * network.labels()), 0.0);
        const Index first_block = rank * blocks / ranks, last_block = (rank + 1) * blocks / ranks;
        parallel_for(
            last_block - first_block,
            [&] {
                std::optional<Network<Real>> twin;
                if (omp_get_thread_num() != 0) twin.emplace(network.twin());
                return twin;
            },
            [&](std::optional<Network<Real>>& twin, Index b) {
                Network<Real>& of_thread = twin ? *twin : network;
                std::vector<Index> examples;
                const Index first = (first_block + b) * together;
                for (Index e = first; e < std::min(n, first + together); ++e) examples.push_back(e);
                of_thread.forward(token_block(data, examples));
                std::ranges::copy(of_thread.logits(), own.begin() + first * network.labels());
            });
        return own;
    });
    sum_over_ranks(comm, logits);
    return logits;
}

template class LossGradient<float>;
template class LossGradient<double>;
template std::vector<double> logits_of(Network<float>&, const DataSet&, MPI_Comm);
template std::vector<double> logits_of(Network<double>&, const DataSet&, MPI_Comm);

}  // namespace tangram
