#pragma once
#include <mpi.h>

#include <string>
#include <vector>

#include "forecast.hpp"
#include "tangram/gram/assembly.hpp"
#include "tangram/io/hdf5_file.hpp"

namespace tangram {

/// What an assembly took, equal on every rank.
struct GramReport {
    double seconds;  ///< of the slowest rank, as those below
    double jacobian_seconds, packing_seconds, waiting_seconds, product_seconds;
    double jacobian_flops;  ///< of all ranks
    double product_flops;   ///< that symmetric and general products need, as far as they were left to do
    std::vector<Index> bytes_received;  ///< by each rank

    /// @param seconds  that the assembly took on this rank
    /// @param whole    product flops of an assembly that begins from nothing, as AssemblyCost counts them.
    /// Collective.
    template <class Real>
    static GramReport gather(const KernelInputs<Real>& inputs, const GramJob& job,
                             const AssemblyResult& assembled, double seconds, double whole, MPI_Comm comm);
    /// Attributes of /provenance. Local; the first rank.
    void write(Hdf5File& file) const;
    /// "done in ...", with how fast each part was.
    std::string text() const;
};

}  // namespace tangram
