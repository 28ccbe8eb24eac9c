#include "tangram/study/initial_network.hpp"

// GCC 12 takes its own AVX-512 intrinsics for uninitialised (bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <Eigen/Dense>
#include <algorithm>
#include <numeric>
#include <optional>

#include "tangram/jacobian/token_blocks.hpp"
#include "tangram/model/lora.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/parallel/shared_memory.hpp"

namespace tangram {

namespace {

/// A head, and the shapes that its fit follows from.
struct Head {
    operation::LabelLogits logits;
    Index examples, width, labels;
    Index together;  ///< examples of a block; no bit depends on it

    Head(const Program& program, const GramJob& job)
        : logits(std::get<operation::LabelLogits>(program.operations().back())),
          examples(job.data.train.examples()),
          width(program.shape(logits.in).width),
          labels(std::ssize(job.data.label_ids)),
          together(examples_per_block(job.data.train, program, sizeof(double))) {}
    Index columns() const { return width + (logits.bias ? 1 : 0); }
    Index blocks() const { return (examples + together - 1) / together; }
    Index first(Index block) const { return block * together; }
    Index size(Index block) const { return std::min(together, examples - first(block)); }
};

/// Features of one block of training examples, examples x width.
template <class Real>
std::vector<double> features_of(Network<Real>& network, const DataSet& data, const Head& head, Index of) {
    std::vector<Index> examples(static_cast<std::size_t>(head.size(of)));
    std::iota(examples.begin(), examples.end(), head.first(of));
    network.forward(token_block(data, examples));
    const Real* const rows = network.value(head.logits.in);
    return {rows, rows + head.size(of) * head.width};
}

/// Features of all training examples, and a column of ones for the bias, on the first rank; on the others
/// nothing. Blocks go round the ranks. Collective.
template <class Real>
Eigen::MatrixXd all_features(Network<Real>& network, const DataSet& data, const Head& head, MPI_Comm comm) {
    int rank = 0, ranks = 1;
    TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
    TANGRAM_MPI(MPI_Comm_size(comm, &ranks));
    Eigen::MatrixXd X;
    collectively(comm, [&] {
        if (rank == 0) X = Eigen::MatrixXd::Ones(head.examples, head.columns());
    });
    for (Index round = 0; round < head.blocks(); round += ranks) {
        std::vector<double> own = collectively(comm, [&] {
            return round + rank < head.blocks() ? features_of(network, data, head, round + rank)
                                                : std::vector<double>();
        });
        for (Index block = round; block < std::min<Index>(head.blocks(), round + ranks); ++block) {
            std::vector<double> features = block == round + rank ? std::move(own) : std::vector<double>();
            broadcast(comm, features, static_cast<int>(block - round));
            for (Index e = 0; rank == 0 && e < head.size(block); ++e)
                for (Index i = 0; i < head.width; ++i)
                    X(head.first(block) + e, i) = features[static_cast<std::size_t>(e * head.width + i)];
        }
    }
    return X;
}

/// What the logits of the training examples are to be, examples x labels.
Eigen::MatrixXd targets_of(const GramJob& job, const Head& head) {
    Eigen::MatrixXd Y = Eigen::MatrixXd::Zero(head.examples, head.labels);
    for (Index e = 0; e < head.examples; ++e) {
        const Index task = job.data.train.task(e), first = job.outputs.first_label(task);
        const bool margin = job.outputs.output(task) == KernelOutput::margin;
        if (margin) Y.row(e).segment(first, 2).setConstant(-0.5);
        Y(e, first + job.data.train.labels[static_cast<std::size_t>(e)]) = margin ? 0.5 : 1.0;
    }
    return Y;
}

/// The head's weight and bias, fitted to the features of the training examples, by name.
template <class Real>
std::map<std::string, std::vector<double>> fitted_head(Network<Real>& network, const GramJob& job,
                                                       MPI_Comm comm) {
    const Head head(network.program(), job);
    const Eigen::MatrixXd X = all_features(network, job.data.train, head, comm);
    // Solved once: the same bits on any number of ranks.
    std::vector<double> weights(static_cast<std::size_t>(head.labels * head.width)),
        biases(static_cast<std::size_t>(head.labels));
    collectively(comm, [&] {
        if (X.size() == 0) return;
        const Eigen::MatrixXd solution = X.completeOrthogonalDecomposition().solve(targets_of(job, head));
        for (Index c = 0; c < head.labels; ++c) {
            for (Index i = 0; i < head.width; ++i)
                weights[static_cast<std::size_t>(c * head.width + i)] = solution(i, c);
            if (head.logits.bias) biases[static_cast<std::size_t>(c)] = solution(head.width, c);
        }
    });
    broadcast(comm, weights, 0);
    broadcast(comm, biases, 0);
    const auto name_of = [&](ParameterId p) { return network.program().parameters()[p].name; };
    std::map<std::string, std::vector<double>> given{{name_of(head.logits.table), weights}};
    if (head.logits.bias) given[name_of(*head.logits.bias)] = biases;
    return given;
}

/// Matrices that are drawn, or sums with an adapter's product: computed once for the ranks of a host, each by
/// one of them. Collective.
template <class Real>
void share_matrices(const Program& program, InitialWeights& source, MPI_Comm comm) {
    std::vector<const Parameter*> computed;
    Index entries = 0;
    collectively(comm, [&] {
        for (const Parameter& parameter : program.parameters()) {
            if (parameter.shape.size() < 2 || is_lora(parameter) || source.in_place(parameter) != nullptr)
                continue;
            computed.push_back(&parameter);
            entries += parameter.size();
        }
    });
    if (computed.empty()) return;
    const Index bytes = entries * static_cast<Index>(sizeof(Real));
    const auto owner = collectively(comm, [] { return std::make_shared<std::optional<SharedMemory>>(); });
    const SharedMemory& memory = owner->emplace(comm, bytes);
    collectively(comm, [&] {
        auto* to = reinterpret_cast<Real*>(memory.data());
        for (std::size_t k = 0; k < computed.size(); ++k) {
            if (static_cast<int>(k) % memory.ranks() == memory.rank())
                std::ranges::copy(source.values<Real>(*computed[k]), to);
            source.shared[computed[k]->name] = {to, dtype_of<Real>};
            to += computed[k]->size();
        }
        source.memory = owner;
    });
}

}  // namespace

template <class Real>
Network<Real> initial_network(const LoadedModel& model, const Study& study, const GramJob& job,
                              MPI_Comm comm) {
    InitialWeights source = model.initial(study);
    share_matrices<Real>(model.program, source, comm);
    // The model's weights are the same on every rank; a bad one is one message.
    const auto network = [&] {
        return collectively(comm, [&] { return Network<Real>(model.program, source, job.data.logit_ids()); });
    };
    if (study.model.head_init == "least-squares") {
        Network<Real> features = network();
        source.given = fitted_head(features, job, comm);
        for (const auto& [name, values] : source.given) source.shared.erase(name);
    }
    return network();
}

FittedHeadCost fitted_head_cost(const Program& program, const GramJob& job) {
    const Head head(program, job);
    const auto n = static_cast<double>(head.examples), columns = static_cast<double>(head.columns()),
               labels = static_cast<double>(head.labels);
    // Features, their decomposition, and the targets with the copy that a solution is made in.
    const double least = std::min(n, columns);
    return {8 * (2 * n * columns + 3 * n * labels), 4 * least * least * std::max(n, columns),
            8 * n * static_cast<double>(head.width)};
}

template Network<float> initial_network(const LoadedModel&, const Study&, const GramJob&, MPI_Comm);
template Network<double> initial_network(const LoadedModel&, const Study&, const GramJob&, MPI_Comm);

}  // namespace tangram

#pragma GCC diagnostic pop
