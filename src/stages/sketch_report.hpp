#pragma once
#include <string>
#include <vector>

#include "tangram/gram/sketch_error.hpp"
#include "tangram/io/hdf5_file.hpp"
#include "tangram/session/log.hpp"

namespace tangram {

/// What a sketched kernel says of itself: /kernel (attributes), and seconds_sketch_error of /provenance.
struct SketchReport {
    Index dimension = 0;  ///< kernel.sketch; 0: exact, nothing is written
    Index total = 0;      ///< numbers that all sketched tensors have together; 0: none was sketched
    Index tensors = 0;    ///< that were sketched
    SketchError error{};
    double seconds = 0;  ///< that the comparison took

    void write(Hdf5File& file) const;
};

/// What is to be said of a sketch that was asked for and that no tensor takes; else empty. Local.
std::string unused_sketch(const std::vector<KernelFormula>& formulas, Index dimension);

/// The examples of 256 rows (all, where there are fewer) drawn with `seed`, ascending. Local.
std::vector<Index> examples_to_compare(const DataSet& train, const KernelOutputs& outputs,
                                       std::uint64_t seed);

/// Compares with the exact entries of the examples of 256 rows (all, where there are fewer) drawn with
/// `seed`, and says so. Collective over the grid of `gram`.
template <class Real>
SketchReport report_sketch(const KernelInputs<Real>& inputs, const DistributedMatrix& gram,
                           std::uint64_t seed, Log& log);

}  // namespace tangram
