#include "tangram/gram/sketch_error.hpp"

#include <algorithm>
#include <cmath>

namespace tangram {

template <class Real>
SketchError sketch_error(const KernelInputs<Real>& inputs, const DistributedMatrix& gram,
                         const std::vector<Index>& examples) {
    const std::vector<Index> offsets = kernel_rows(inputs.train, inputs.outputs);
    DataSet chosen;
    std::vector<Index> rows;
    for (const Index e : examples) {
        const auto at = static_cast<std::size_t>(e);
        chosen.append(inputs.train.tokens(e), inputs.train.labels[at], inputs.train.rows[at]);
        if (!inputs.train.tasks.empty()) chosen.tasks.push_back(inputs.train.tasks[at]);
        if (!inputs.train.reads.empty()) chosen.reads.push_back(inputs.train.reads[at]);
        for (Index row = offsets[at]; row < offsets[at + 1]; ++row) rows.push_back(row);
    }
    const KernelFormula whole{Formula::sgd, choose_contractions(inputs.network.program(), inputs.parameters,
                                                                mean_tokens(inputs.train))};
    const KernelInputs<Real> exact{
        {chosen, nullptr, inputs.outputs, inputs.parameters, {whole}, inputs.factor_bytes}, inputs.network};
    KernelMatrices matrices = empty_matrices(gram.grid(), std::ssize(rows), 0, inputs.parameters.size());
    assemble<Real>(exact, matrices, [](const AssemblyProgress&) { return true; });

    const MPI_Comm comm = gram.grid().comm().get();
    const DistributedMatrix sketched = principal_submatrix(gram, rows);
    std::vector<double> G = gather(matrices.formulas.front().gram, 0), S = gather(sketched, 0);
    std::vector<double> errors{0.0, 0.0};
    const std::size_t n = rows.size();
    if (!G.empty()) {
        double squares = 0, difference_squares = 0;
        for (std::size_t j = 0; j < n; ++j)
            for (std::size_t i = 0; i < n; ++i) {
                const double difference = S[i + j * n] - G[i + j * n];
                squares += G[i + j * n] * G[i + j * n];
                difference_squares += difference * difference;
                const double scale = std::sqrt(G[i + i * n] * G[j + j * n]);
                if (scale > 0) errors[1] = std::max(errors[1], std::abs(difference) / scale);
            }
        errors[0] = squares > 0 ? std::sqrt(difference_squares / squares) : 0.0;
    }
    broadcast(comm, errors, 0);
    return {errors[0], errors[1], std::ssize(rows)};
}

template SketchError sketch_error(const KernelInputs<float>&, const DistributedMatrix&,
                                  const std::vector<Index>&);
template SketchError sketch_error(const KernelInputs<double>&, const DistributedMatrix&,
                                  const std::vector<Index>&);

}  // namespace tangram
