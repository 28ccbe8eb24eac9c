#include "free_kernel.hpp"

#include <numeric>
#include <optional>

#include "kernel_file.hpp"
#include "tangram/study/initial_network.hpp"

namespace tangram {

namespace {

template <class Real>
class FreeKernelOf final : public FreeKernel {
  public:
    FreeKernelOf(OpenedStudy opened, const Study& study, double factor_bytes, MPI_Comm comm)
        : opened_(std::move(opened)),
          study_(&study),
          comm_(comm),
          network_(initial_network<Real>(opened_.model, study, opened_.job, comm)),
          inputs_{{opened_.job.data.train, nullptr, opened_.job.outputs, opened_.job.parameters,
                   opened_.job.formulas, factor_bytes},
                  network_},
          jacobian_(inputs_, comm) {}

    const OpenedStudy& opened() const override { return opened_; }
    SymmetricOperator gram() override {
        return {comm_, jacobian_.rows(), [this](const std::vector<double>& X, Index vectors) {
                    return jacobian_.product(X, vectors);
                }};
    }
    const JacobianSquares& squares() override {
        if (!squares_) squares_ = jacobian_.squares();
        return *squares_;
    }
    void write(Hdf5File& file) const override {
        KernelSummary kernel{squares_->outputs, {}, squares_->traces, false};
        std::partial_sum(kernel.traces.begin(), kernel.traces.end(), kernel.traces.begin());
        write_kernel(file, *study_, opened_.job, network_, kernel);
    }

  private:
    OpenedStudy opened_;
    const Study* study_;
    MPI_Comm comm_;
    mutable Network<Real> network_;  // whose weights are read as they are written
    KernelInputs<Real> inputs_;
    JacobianOperator<Real> jacobian_;
    std::optional<JacobianSquares> squares_;
};

}  // namespace

std::unique_ptr<FreeKernel> free_kernel(OpenedStudy opened, const Study& study, double factor_bytes,
                                        MPI_Comm comm) {
    if (study.kernel.precision == "double")
        return std::make_unique<FreeKernelOf<double>>(std::move(opened), study, factor_bytes, comm);
    return std::make_unique<FreeKernelOf<float>>(std::move(opened), study, factor_bytes, comm);
}

}  // namespace tangram
