#include <algorithm>

#include "tangram/arithmetic.hpp"
#include "tangram/gram/assembly.hpp"

namespace tangram {

bool is_computed(Index tile_row, Index tile_column, Index tiles) {
    // Tiles less than half way around below the diagonal, as on a circle; those just half way around take
    // turns.
    const Index ahead = (tile_row - tile_column + tiles) % tiles;
    if (2 * ahead != tiles) return 2 * ahead < tiles;
    return (tile_row > tile_column) == (std::min(tile_row, tile_column) % 2 == 0);
}

std::vector<Index> kernel_rows(const DataSet& data, const KernelOutputs& outputs) {
    std::vector<Index> offsets{0};
    for (Index e = 0; e < data.examples(); ++e)
        offsets.push_back(offsets.back() + outputs.shape(data.task(e)).rows_per_example);
    return offsets;
}

KernelMatrices empty_matrices(const ProcessGrid& grid, Index train_rows, Index test_rows,
                              std::size_t parameters, std::size_t formulas, std::size_t groups) {
    const Index block = arithmetic::tile_rows_of(train_rows);
    const auto tiles = static_cast<std::size_t>((train_rows + block - 1) / block);
    KernelMatrices matrices;
    for (std::size_t f = 0; f < formulas; ++f) {
        matrices.formulas.push_back({DistributedMatrix(grid, train_rows, train_rows, block), std::nullopt,
                                     std::vector<double>(static_cast<std::size_t>(test_rows), 0.0),
                                     std::vector<double>(parameters * tiles, 0.0)});
        if (test_rows > 0) matrices.formulas.back().cross.emplace(grid, test_rows, train_rows, block);
    }
    for (std::size_t g = 0; g < groups; ++g)
        matrices.formulas.front().groups.emplace_back(grid, train_rows, train_rows, block);
    return matrices;
}

Sketch KernelProblem::sketch() const {
    Sketch sketch{sketch_dimension, sketch_seed};
    for (std::size_t p = 0; p < parameters.size(); ++p)
        if (formulas.front().choices[p].chosen == Contraction::sketched)
            sketch.parameters.push_back(parameters[p]);
    std::sort(sketch.parameters.begin(), sketch.parameters.end());
    return sketch;
}

template <class Real>
Index KernelInputs<Real>::columns(std::size_t i) const {
    const Parameter& parameter = network.program().parameters()[this->parameters[i]];
    return this->formulas.front().choices[i].chosen == Contraction::sketched
               ? sketch_shape(parameter.shape[0], parameter.shape[1], this->sketch_dimension).size()
               : parameter.size();
}

template struct KernelInputs<float>;
template struct KernelInputs<double>;

double FormulaMatrices::trace(std::size_t selected) const {
    const Index tiles = gram.row_layout().blocks();
    double sum = 0;
    for (Index t = 0; t < tiles; ++t)
        sum += tile_traces[selected * static_cast<std::size_t>(tiles) + static_cast<std::size_t>(t)];
    return sum;
}

}  // namespace tangram
