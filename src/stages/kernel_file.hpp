#pragma once
#include <string>
#include <vector>

#include "forecast.hpp"
#include "tangram/gram/assembly.hpp"
#include "tangram/io/hdf5_file.hpp"
#include "tangram/io/matrix_io.hpp"

namespace tangram {

/// The group of the output file that the f-th formula's matrices stand in.
std::string kernel_place(const Study& study, std::size_t formula);

/// A matrix of the kernel and where it goes.
struct KernelMatrix {
    std::string path;
    const DistributedMatrix* matrix;
    Orientation orientation;
};

/// Those that the study keeps. Local; they point into `matrices`.
std::vector<KernelMatrix> kernel_matrices(const Study& study, const GramJob& job,
                                          const KernelMatrices& matrices);

/// What /kernel says beside its matrices.
struct KernelSummary {
    std::vector<double> train_outputs, test_outputs;  ///< examples x C
    std::vector<double> traces;                       ///< of G once each selected parameter was added
    bool formed;  ///< tensors were contracted as the job has it; else multiplied out
};

/// /data, and /kernel without matrices. Local; the first rank.
template <class Real>
void write_kernel(Hdf5File& file, const Study& study, const GramJob& job, Network<Real>& network,
                  const KernelSummary& kernel);

/// /data, and /kernel but for its matrices' entries, which follow: their space is made. Local; the first
/// rank.
/// @param assembled  what the finished assembly of `matrices` returned
template <class Real>
void write_kernel(Hdf5File& file, const Study& study, const GramJob& job, Network<Real>& network,
                  const KernelMatrices& matrices, const AssemblyResult& assembled);

}  // namespace tangram
