#include "tangram/study/initial_network.hpp"

// GCC 12 takes its own AVX-512 intrinsics for uninitialised (bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <Eigen/Dense>
#include <algorithm>

#include "tangram/arithmetic.hpp"
#include "tangram/parallel/collective_error.hpp"

namespace tangram {

namespace {

/// The head's weight and bias, fitted to the features of the training examples (examples x width).
template <class Real>
std::map<std::string, std::vector<double>> fitted_head(Network<Real>& network, const StudyData& data,
                                                       const KernelOutputs& outputs, MPI_Comm comm) {
    const auto head = std::get<operation::LabelLogits>(network.program().operations().back());
    const Index n = data.train.examples(), width = network.program().shape(head.in).width,
                labels = network.labels();
    int rank = 0, ranks = 1;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    std::vector<double> features(static_cast<std::size_t>(n * width), 0.0);
    collectively(comm, [&] {
        const Index together = arithmetic::examples_per_block;
        for (Index first = rank * together; first < n; first += ranks * together) {
            TokenBlock block;
            block.offsets.push_back(0);
            for (Index e = first; e < std::min(n, first + together); ++e) {
                const auto tokens = data.train.tokens(e);
                block.reads.push_back(block.offsets.back() + data.train.read(e));
                block.token_ids.insert(block.token_ids.end(), tokens.begin(), tokens.end());
                block.offsets.push_back(std::ssize(block.token_ids));
            }
            network.forward(block);
            const Real* const rows = network.value(head.in);
            std::copy_n(rows, block.examples() * width, features.begin() + first * width);
        }
    });
    sum_over_ranks(comm, features);  // each entry stands on one rank, zero elsewhere
    // Solved once: the same bits on any number of ranks.
    std::vector<double> weights(static_cast<std::size_t>(labels * width)),
        biases(static_cast<std::size_t>(labels));
    collectively(comm, [&] {
        if (rank != 0) return;
        const Index columns = width + (head.bias ? 1 : 0);
        Eigen::MatrixXd X(n, columns), Y = Eigen::MatrixXd::Zero(n, labels);
        for (Index e = 0; e < n; ++e) {
            for (Index i = 0; i < width; ++i) X(e, i) = features[static_cast<std::size_t>(e * width + i)];
            if (head.bias) X(e, width) = 1;
            const Index task = data.train.task(e), first = outputs.first_label(task);
            const Index label = first + data.train.labels[static_cast<std::size_t>(e)];
            if (outputs.output(task) == KernelOutput::margin) Y.row(e).segment(first, 2).setConstant(-0.5);
            Y(e, label) = outputs.output(task) == KernelOutput::margin ? 0.5 : 1.0;
        }
        const Eigen::MatrixXd solution = X.completeOrthogonalDecomposition().solve(Y);
        for (Index c = 0; c < labels; ++c) {
            for (Index i = 0; i < width; ++i)
                weights[static_cast<std::size_t>(c * width + i)] = solution(i, c);
            if (head.bias) biases[static_cast<std::size_t>(c)] = solution(width, c);
        }
    });
    broadcast(comm, weights, 0);
    broadcast(comm, biases, 0);
    const auto name_of = [&](ParameterId p) { return network.program().parameters()[p].name; };
    std::map<std::string, std::vector<double>> given{{name_of(head.table), weights}};
    if (head.bias) given[name_of(*head.bias)] = biases;
    return given;
}

}  // namespace

template <class Real>
Network<Real> initial_network(const LoadedModel& model, const Study& study, const GramJob& job,
                              MPI_Comm comm) {
    InitialWeights source = model.initial(study);
    // The model's weights are the same on every rank; a bad one is one message.
    const auto network = [&] {
        return collectively(comm, [&] { return Network<Real>(model.program, source, job.data.label_ids); });
    };
    if (study.model.head_init == "least-squares") {
        Network<Real> features = network();
        source.given = fitted_head(features, job.data, job.outputs, comm);
    }
    return network();
}

template Network<float> initial_network(const LoadedModel&, const Study&, const GramJob&, MPI_Comm);
template Network<double> initial_network(const LoadedModel&, const Study&, const GramJob&, MPI_Comm);

}  // namespace tangram

#pragma GCC diagnostic pop
