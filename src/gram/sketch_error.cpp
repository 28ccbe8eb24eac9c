#include "tangram/gram/sketch_error.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "tangram/parallel/collective_error.hpp"

namespace tangram {

namespace {

/// Some examples, and the exact kernel of their rows. Local.
template <class Real>
struct ExactPart {
    DataSet examples;
    std::vector<Index> rows;  ///< of the whole kernel
    std::optional<KernelInputs<Real>> inputs;
    std::optional<KernelMatrices> matrices;

    ExactPart(const KernelInputs<Real>& whole, const ProcessGrid& grid, const std::vector<Index>& chosen) {
        const std::vector<Index> offsets = kernel_rows(whole.train, whole.outputs);
        for (const Index e : chosen) {
            const auto at = static_cast<std::size_t>(e);
            examples.append_from(whole.train, e);
            for (Index row = offsets[at]; row < offsets[at + 1]; ++row) rows.push_back(row);
        }
        const KernelFormula exact{Formula::sgd, choose_contractions(whole.network.program(), whole.parameters,
                                                                    mean_rows(whole.train, whole.outputs))};
        inputs.emplace(KernelInputs<Real>{
            {examples, nullptr, whole.outputs, whole.parameters, {exact}, whole.factor_bytes},
            whole.network});
        matrices.emplace(empty_matrices(grid, std::ssize(rows), 0, whole.parameters.size()));
    }
    ExactPart(const ExactPart&) = delete;  // inputs refer to the examples
    ExactPart& operator=(const ExactPart&) = delete;
};

}  // namespace

template <class Real>
SketchError sketch_error(const KernelInputs<Real>& inputs, const DistributedMatrix& gram,
                         const std::vector<Index>& examples) {
    const MPI_Comm comm = gram.grid().comm().get();
    std::optional<ExactPart<Real>> exact;
    std::vector<double> errors;
    collectively(comm, [&] {
        exact.emplace(inputs, gram.grid(), examples);
        errors.assign(2, 0.0);
    });
    assemble<Real>(*exact->inputs, *exact->matrices, [](const AssemblyProgress&) { return true; });

    const std::vector<Index>& rows = exact->rows;
    const DistributedMatrix sketched = principal_submatrix(gram, rows);
    std::vector<double> G = gather(exact->matrices->formulas.front().gram, 0), S = gather(sketched, 0);
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
