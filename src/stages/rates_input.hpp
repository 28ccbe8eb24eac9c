#pragma once
#include <optional>
#include <vector>

#include "largest_rates.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/learning/kernel_rates.hpp"

namespace tangram {

/// The matrices that a study's rates are made from; the output file gives those that are not in memory.
struct RatesMatrices {
    std::optional<DistributedMatrix> gram, vectors, cross;
    std::vector<double> test_diagonal;  ///< with `cross`
    /// Where the file has the k largest eigenvalues alone; then nothing else of this is read.
    std::optional<LargestEigenvalues> largest;
};

/// What a study's output file says for its rates; points into `matrices`. Collective over the grid.
/// @throws Error(output) on every rank, naming file and data set: a shape that does not follow from the
/// number of examples and labels, a label or task that does not exist, a value that is not finite
RatesInput read_rates_input(const InputFile& file, const ProcessGrid& grid, RatesMatrices& matrices);

}  // namespace tangram
