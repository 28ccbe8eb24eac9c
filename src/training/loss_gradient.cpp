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
#include "tangram/training/parts.hpp"

namespace tangram {

Index gradient_parts(Index batch) {
    constexpr Index least_part = 8, most_parts = 64;
    return std::clamp((batch + least_part - 1) / least_part, Index{1}, most_parts);
}

namespace {

/// What the parts [first, last) of a batch go through the network as: one part each, or two that the tree
/// adds next, where both fit into a block and every thread has as many.
std::vector<Index> first_parts(Index batch, Index first, Index last, Index threads) {
    const Index parts = gradient_parts(batch), most = (batch + parts - 1) / parts;
    const bool in_pairs = 2 * most <= arithmetic::examples_per_block && last - first >= 2 * threads;
    std::vector<Index> firsts;
    for (Index part = first; part < last; part += in_pairs && part % 2 == 0 && part + 1 < last ? 2 : 1)
        firsts.push_back(part);
    return firsts;
}

}  // namespace

Index gradient_vectors(Index batch, int ranks, int threads) {
    // The first rank's parts begin at 0: after `done` of them it holds a sum for each bit of that number.
    const Index parts = (gradient_parts(batch) + ranks - 1) / ranks;
    const std::vector<Index> firsts = first_parts(batch, 0, parts, threads);
    Index most = 0;
    for (std::size_t done = 0; done < firsts.size(); done += static_cast<std::size_t>(threads))
        most = std::max(most, std::popcount(static_cast<std::uint64_t>(firsts[done])) +
                                  std::min<Index>(threads, std::ssize(firsts) - static_cast<Index>(done)));
    return most;
}

Index second_part_entries(const Program& program, const std::vector<ParameterId>& parameters, Index batch,
                          int ranks, int threads) {
    const Index parts = (gradient_parts(batch) + ranks - 1) / ranks;
    if (std::ssize(first_parts(batch, 0, parts, threads)) == parts) return 0;
    const std::vector<std::vector<Factor>> factors = factors_of(program);
    Index most = 0;
    for (const ParameterId p : parameters)
        if (!is_linear(factors[p])) most = std::max(most, program.parameters()[p].size());
    return threads * most;
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
    std::vector<double> second_part;  // zero but while it is in use
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

/// Adds one parameter's gradient over some examples of a block to a sum.
template <class Real>
class AddedFactor {
  public:
    AddedFactor(const Network<Real>& network, const TokenBlock& block, const Parameter& parameter,
                RowRange examples)
        : network_(network), block_(block), parameter_(parameter), examples_(examples) {}

    void outer(const Factor& factor, OuterProducts<Real>& products, double* sum) const {
        const RowSet set = row_set(factor.delta);
        const Index first = block_.rows_of(set, examples_.first).first,
                    count = block_.rows_of(set, examples_.last - 1).last - first;
        products.add(network_.gradient(factor.delta) + first * parameter_.shape[0], parameter_.shape[0],
                     network_.value(factor.input) + first * parameter_.shape[1], parameter_.shape[1],
                     {&count, 1}, false, sum);
    }

    void vector(const Factor& factor, std::vector<Real>& own, double* sum) const {
        own.resize(static_cast<std::size_t>(parameter_.size()));
        for (Index e = examples_.first; e < examples_.last; ++e) {
            std::ranges::fill(own, Real(0));
            network_.add_vector(factor, e, own.data());
            for (const auto& [first, last] : parameter_.idle)
                std::fill(own.begin() + first, own.begin() + last, Real(0));
            for (std::size_t i = 0; i < own.size(); ++i) sum[i] += static_cast<double>(own[i]);
        }
    }

    /// Of a table, or of a head's bias, whose rows are its entries.
    void table(const Factor& factor, double* sum) const {
        for_rows(factor, [&](Index row, double coefficient, const Real* entries) {
            const Index n = width();
            double* const to = sum + row * n;
            for (Index i = 0; i < n; ++i) to[i] += coefficient * static_cast<double>(entries[i]);
        });
    }

    /// Adds the rows of `other` that the examples reach to those of a sum; they become zero.
    void move_rows(const Factor& factor, double* other, double* sum) const {
        for_rows(factor, [&](Index row, double, const Real*) {
            for (Index i = row * width(); i < (row + 1) * width(); ++i)
                sum[i] += std::exchange(other[i], 0.0);
        });
    }

  private:
    RowSet row_set(Value value) const { return network_.program().shape(value).rows; }
    Index width() const { return parameter_.shape.size() > 1 ? parameter_.shape.back() : 1; }

    /// visit(row, coefficient, entries) for everything that the examples add to a row.
    template <class Visit>
    void for_rows(const Factor& factor, Visit visit) const {
        if (factor.from_label()) return for_label_rows(factor, visit);
        for (Index e = examples_.first; e < examples_.last; ++e) {
            const RowRange range = network_.rows(row_set(factor.delta), e);
            const Index first_token = block_.offsets[static_cast<std::size_t>(e)];
            const std::span tokens(block_.token_ids.data() + first_token,
                                   static_cast<std::size_t>(range.size()));
            for (Index t = 0; t < range.size(); ++t)
                visit(table_row(factor, tokens[static_cast<std::size_t>(t)], t), 1.0,
                      network_.gradient(factor.delta) + (range.first + t) * width());
        }
    }
    /// Of the head: rows of the label words, or entries of the bias.
    template <class Visit>
    void for_label_rows(const Factor& factor, Visit visit) const {
        constexpr Real one = 1;
        const std::size_t count = network_.label_ids().size();
        const std::span<const Real> seeds = network_.seeds();  // behind the head's cap
        for (Index e = examples_.first; e < examples_.last; ++e)
            for (std::size_t c = 0; c < count; ++c)
                visit(network_.label_ids()[c],
                      static_cast<double>(seeds[static_cast<std::size_t>(e) * count + c]),
                      factor.kind == Factor::Kind::label_rows ? network_.value(factor.input) + e * width()
                                                              : &one);
    }

    const Network<Real>& network_;
    const TokenBlock& block_;
    const Parameter& parameter_;
    RowRange examples_;
};

}  // namespace

/// Derivatives of the losses of a block's examples, to work.seeds. @return their losses, by example
template <class Real>
std::vector<double> LossGradient<Real>::seed(Thread& work, std::span<const Index> examples) const {
    const auto labels = static_cast<std::size_t>(work.network->labels());
    work.rows.resize(static_cast<std::size_t>(targets_->rows()));
    work.slopes.resize(work.rows.size());
    work.logits.assign(work.network->logits().begin(), work.network->logits().end());
    work.seeds.resize(work.logits.size());
    std::vector<double> losses;
    for (std::size_t e = 0; e < examples.size(); ++e) {
        const std::span logits = std::span(work.logits).subspan(e * labels, labels);
        rows_of_logits(targets_->output, logits, work.rows);
        losses.push_back(loss_of_example(loss_, *targets_, examples[e], work.rows, work.slopes));
        Real* const seeds = work.seeds.data() + e * labels;
        if (targets_->output == KernelOutput::margin) {
            seeds[0] = static_cast<Real>(-work.slopes[0]);
            seeds[1] = static_cast<Real>(work.slopes[0]);
        } else {
            for (std::size_t c = 0; c < labels; ++c) seeds[c] = static_cast<Real>(work.slopes[c]);
        }
    }
    return losses;
}

/// Adds a parameter's gradient over some examples of a block, one factor after the other.
template <class Real>
void LossGradient<Real>::add_factors(Thread& work, const TokenBlock& block, ParameterId id, RowRange examples,
                                     double* sum) const {
    const AddedFactor<Real> added(*work.network, block, work.network->program().parameters()[id], examples);
    for (const Factor& factor : factors_[id]) {
        const Kept kept = kept_of(factor.kind);
        if (kept.input && kept.delta)
            added.outer(factor, work.products, sum);
        else if (kept.vector)
            added.vector(factor, work.vector, sum);
        else
            added.table(factor, sum);
    }
}

/// The gradients over one block, after the passes.
/// @param ends  of the parts, in examples; of two each has a sum of its own
/// @param fresh  `sum` counts as zero, whatever it holds
template <class Real>
void LossGradient<Real>::add_block(Thread& work, const TokenBlock& block, std::span<const Index> ends,
                                   bool fresh, double* sum) const {
    const Network<Real>& network = *work.network;
    for (std::size_t p = 0; p < parameters_->parameters.size(); ++p) {
        const ParameterId id = parameters_->parameters[p];
        const Parameter& parameter = network.program().parameters()[id];
        double* const to = sum + parameters_->offsets[p];
        if (is_linear(factors_[id])) {
            const Factor& factor = factors_[id].front();
            const RowSet set = network.program().shape(factor.delta).rows;
            std::vector<Index> rows;
            for (const Index end : ends) rows.push_back(block.rows_of(set, end - 1).last);
            work.products.add(network.gradient(factor.delta), parameter.shape[0], network.value(factor.input),
                              parameter.shape[1], rows, fresh, to);
            continue;
        }
        if (fresh) std::fill_n(to, parameter.size(), 0.0);
        add_factors(work, block, id, {0, ends.front()}, to);
        if (ends.size() == 1) continue;
        const RowRange others{ends.front(), ends.back()};
        if (std::ssize(work.second_part) < parameter.size())
            work.second_part.resize(static_cast<std::size_t>(parameter.size()), 0.0);
        double* const second = work.second_part.data();
        add_factors(work, block, id, others, second);
        if (std::ranges::all_of(factors_[id], &Factor::is_table)) {
            const AddedFactor<Real> added(network, block, parameter, others);
            for (const Factor& factor : factors_[id]) added.move_rows(factor, second, to);
            continue;
        }
        for (Index i = 0; i < parameter.size(); ++i) to[i] += std::exchange(second[i], 0.0);
    }
}

/// The sum of the gradients of one part, or of two that are one block, and that of their losses behind it.
/// @param first_part  examples of the first  @param sum  overwritten
template <class Real>
void LossGradient<Real>::sum_parts(Thread& work, std::span<const Index> examples, Index first_part,
                                   double* sum) const {
    constexpr auto together = static_cast<std::size_t>(arithmetic::examples_per_block);
    double &loss = sum[parameters_->size()] = 0, of_second = 0;
    for (std::size_t first = 0; first < examples.size(); first += together) {
        const auto some = examples.subspan(first, std::min(together, examples.size() - first));
        const TokenBlock block = token_block(*data_, some);
        work.network->forward(block);
        const std::vector<double> losses = seed(work, some);
        for (std::size_t e = 0; e < some.size(); ++e)
            (static_cast<Index>(first + e) < first_part ? loss : of_second) += losses[e];
        work.network->backward(work.seeds, parameters_->parameters);
        const bool of_both = first_part < std::ssize(examples);
        const std::vector<Index> ends =
            of_both ? std::vector{first_part, std::ssize(some)} : std::vector{std::ssize(some)};
        add_block(work, block, ends, first == 0, sum);
    }
    loss += of_second;
}

template <class Real>
double LossGradient<Real>::operator()(std::span<const Index> batch, const Take& take) {
    const Index examples = std::ssize(batch), parts = gradient_parts(examples);
    const auto first_of = [&](Index part) { return first_of_part(part, examples); };
    collectively(comm_, [&] {
        const std::vector<Index> dealt = dealt_to_parts(*data_, batch);
        begin(parts);
        // As many at a time as there are threads, added in order.
        const Index threads = omp_get_max_threads();
        std::vector<Index> firsts = first_parts(examples, sums_->first(), sums_->last(), threads);
        const Index count = std::ssize(firsts);
        firsts.push_back(sums_->last());
        for (Index begun = 0; begun < count; begun += threads) {
            std::vector<std::vector<double>> made;
            for (Index i = begun; i < std::min(count, begun + threads); ++i) made.push_back(sums_->memory());
            parallel_for(
                std::ssize(made), [&] { return &thread(); },
                [&](Thread* of_thread, Index i) {
                    const auto at = static_cast<std::size_t>(begun + i);
                    const Index first = first_of(firsts[at]), end = first_of(firsts[at + 1]);
                    sum_parts(*of_thread,
                              std::span(dealt).subspan(static_cast<std::size_t>(first),
                                                       static_cast<std::size_t>(end - first)),
                              first_of(firsts[at] + 1) - first, made[static_cast<std::size_t>(i)].data());
                });
            for (std::size_t i = 0; i < made.size(); ++i) {
                const std::size_t at = static_cast<std::size_t>(begun) + i;
                sums_->add(made[i], firsts[at + 1] - firsts[at]);
            }
        }
    });
    double loss = 0;
    sums_->finish(static_cast<double>(examples), [&](Index first, std::span<const double> piece) {
        if (const Index rest = parameters_->size() - first; rest < std::ssize(piece)) {
            loss = piece.back();
            piece = piece.first(static_cast<std::size_t>(rest));
        }
        take(first, piece);
    });
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
