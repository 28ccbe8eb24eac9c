#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tangram/io/input_file.hpp"
#include "tangram/io/matrix_io.hpp"
#include "tangram/parallel/distributed_matrix.hpp"
#include "tangram/parallel/process_grid.hpp"
#include "tangram/study/configuration.hpp"

namespace tangram {

/// The kernels that fine-tuning reads from the output file, whole rows on every rank, and what stands beside
/// them. Members are collective unless they return what is there already.
class StoredKernels {
  public:
    /// @throws Error(output) on every rank for a matrix that is missing or not finite
    StoredKernels(const Study& study, MPI_Comm comm, const std::filesystem::path& output);

    std::size_t compared() const { return compared_; }  ///< the formula of gram()
    bool is_sgd() const { return is_sgd_; }             ///< whether that is "sgd"
    const DistributedMatrix& gram() const { return gram_; }
    /// Of the linearised model.
    bool has_linear() const { return has_linear_; }
    const DistributedMatrix& linear_gram() const { return asymmetric_ ? *asymmetric_ : gram_; }
    const DistributedMatrix* cross() const { return cross_ ? &*cross_ : nullptr; }
    const ProcessGrid& rows() const { return rows_; }
    /// Of the largest of so many ranks, for kernels of n rows and cross kernels of m. Local.
    static double bytes(const Study& study, Index n, Index m, int ranks);

    /// Eigenvalues of gram(), descending; empty: there is no spectrum.
    std::vector<double> eigenvalues(const Study& study) const;
    /// eta_T of the rates; NaN: there are none, or they are of another formula.
    double stopping_eta() const;
    /// T of every task alone; empty: there are none, or they are of another formula.
    std::vector<double> task_stopping_steps(Index tasks) const;

  private:
    bool holds(const std::string& path) const;
    DistributedMatrix read(const std::string& path, Orientation orientation) const;

    static constexpr Index block_of_rows = 64;
    InputFile file_;
    ProcessGrid rows_;
    bool is_sgd_;
    std::size_t compared_;
    DistributedMatrix gram_;
    bool has_linear_ = false;
    std::optional<DistributedMatrix> asymmetric_, cross_;
};

}  // namespace tangram
