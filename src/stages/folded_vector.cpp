#include "folded_vector.hpp"

#include <algorithm>

namespace tangram {

DistributedMatrix folded(const std::vector<double>& values, const ProcessGrid& grid) {
    const Index size = std::ssize(values), rows = std::min(size, folded_rows);
    DistributedMatrix matrix(grid, rows, rows == 0 ? 0 : (size + rows - 1) / rows, folded_block);
    for (Index j = 0; j < matrix.local_columns(); ++j)
        for (Index i = 0; i < matrix.local_rows(); ++i) {
            const Index at = matrix.global_column(j) * rows + matrix.global_row(i);
            matrix.data()[i + j * matrix.lld()] = at < size ? values[static_cast<std::size_t>(at)] : 0.0;
        }
    return matrix;
}

std::vector<double> unfolded(const DistributedMatrix& matrix, Index size) {
    std::vector<double> values = gather(matrix, 0);
    broadcast(matrix.grid().comm().get(), values, 0);
    values.resize(static_cast<std::size_t>(size));
    return values;
}

}  // namespace tangram
