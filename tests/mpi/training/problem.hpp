#pragma once
#include <cmath>
#include <numeric>

#include "support/model_fixture.hpp"
#include "support/mpi_test.hpp"
#include "support/unrecorded.hpp"
#include "tangram/jacobian/selection.hpp"
#include "tangram/training/loss_gradient.hpp"

/// Small models of odd shapes that learn made-up labels of made-up texts.
namespace tangram::testing {

/// Examples of 1 to `longest` tokens from Knuth's MMIX generator; labels in turn.
inline DataSet made_up(Index examples, std::int32_t vocabulary, Index labels, Index longest) {
    std::uint64_t state = 1;
    const auto draw = [&](std::uint64_t bound) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        return (state >> 33) % bound;
    };
    DataSet data;
    for (Index e = 0; e < examples; ++e) {
        std::vector<std::int32_t> tokens(1 + draw(static_cast<std::uint64_t>(longest)));
        for (std::int32_t& token : tokens)
            token = static_cast<std::int32_t>(draw(static_cast<std::uint64_t>(vocabulary)));
        data.append(tokens, static_cast<std::int32_t>(e % labels), e);
    }
    return data;
}

/// The whole gradient of a batch. @return the mean loss
template <class Real>
double gradient_of_batch(LossGradient<Real>& of, const std::vector<Index>& batch,
                         std::vector<double>& gradient) {
    gradient.clear();
    return of(batch, [&](Index first, std::span<const double> piece) {
        EXPECT_EQ(first, std::ssize(gradient));
        gradient.insert(gradient.end(), piece.begin(), piece.end());
    });
}

struct Case {
    const char* model;
    KernelOutput output;
    Loss loss;
    std::int32_t vocabulary = 50;
};
/// A network with what it is to learn.
template <class Real>
struct Problem {
    explicit Problem(const Case& of, Index examples = 37, Index longest = 12)
        : network(
              program_of(Config(test_data() / "models" / of.model / "config.json", testing::Unrecorded())),
              Weights(test_data() / "models" / of.model, testing::Unrecorded()),
              of.output == KernelOutput::margin ? std::vector<std::int32_t>{3, 8}
                                                : std::vector<std::int32_t>{3, 8, 11}),
          data(made_up(examples, of.vocabulary, network.labels(), longest)),
          loss(of.loss),
          parameters(network.program(), select_parameters(network.program(), {"all"})) {
        targets.output = of.output;
        targets.labels = network.labels();
        targets.own = data.labels;
        for (Index i = 0; i < data.examples() * targets.rows(); ++i)
            targets.wanted.push_back(std::sin(static_cast<double>(i)));
    }
    double operator()(const std::vector<Index>& batch, std::vector<double>& gradient,
                      MPI_Comm comm = MPI_COMM_WORLD) {
        LossGradient<Real> of(network, data, targets, loss, parameters, comm);
        return gradient_of_batch(of, batch, gradient);
    }
    double loss_of(const std::vector<Index>& batch) {
        const std::vector<double> logits = logits_of(network, data, MPI_COMM_SELF);
        std::vector<double> rows(static_cast<std::size_t>(targets.rows())), slopes(rows);
        double sum = 0;
        for (const Index e : batch) {
            rows_of_logits(targets.output,
                           std::span(logits).subspan(static_cast<std::size_t>(e * targets.labels),
                                                     static_cast<std::size_t>(targets.labels)),
                           rows);
            sum += loss_of_example(loss, targets, e, rows, slopes);
        }
        return sum / static_cast<double>(batch.size());
    }

    Network<Real> network;
    DataSet data;
    TrainingTargets targets;
    Loss loss;
    ParameterVector parameters;
};

inline std::vector<Index> all_of(const DataSet& data) {
    std::vector<Index> all(static_cast<std::size_t>(data.examples()));
    std::iota(all.begin(), all.end(), Index{0});
    return all;
}

inline double norm(const std::vector<double>& x) {
    return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0));
}
inline double distance(std::vector<double> a, const std::vector<double>& b) {
    for (std::size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
    return norm(a);
}

}  // namespace tangram::testing
