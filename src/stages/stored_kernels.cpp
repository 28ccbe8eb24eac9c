#include "stored_kernels.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "finetune_plan.hpp"
#include "kernel_file.hpp"
#include "tangram/parallel/block_cyclic.hpp"
#include "tangram/parallel/mpi.hpp"
#include "tangram/rates/step_sizes.hpp"

namespace tangram {

namespace {

/// Where the formula stands among the study's; nothing where it is none of them.
std::optional<std::size_t> place_of(const Study& study, const std::string& formula) {
    const auto found = std::ranges::find(study.kernel.formula, formula);
    if (found == study.kernel.formula.end()) return std::nullopt;
    return static_cast<std::size_t>(found - study.kernel.formula.begin());
}

int size_of(MPI_Comm comm) {
    int size = 1;
    TANGRAM_MPI(MPI_Comm_size(comm, &size));
    return size;
}

}  // namespace

StoredKernels::StoredKernels(const Study& study, MPI_Comm comm, const std::filesystem::path& output)
    : file_(comm, output, ExitStatus::output),
      rows_(comm, size_of(comm), 1),
      is_sgd_(place_of(study, "sgd").has_value()),
      compared_(place_of(study, "sgd").value_or(0)),
      gram_(read(kernel_place(study, compared_) + "/gram", Orientation::transposed)) {
    const auto linear = place_of(study, linear_formula(rule_by_name(study.finetune.optimizer)));
    has_linear_ = linear.has_value();
    if (!linear) return;
    const std::string at = kernel_place(study, *linear);
    if (*linear != compared_) asymmetric_.emplace(read(at + "/gram", Orientation::as_is));
    if (holds(at + "/cross")) cross_.emplace(read(at + "/cross", Orientation::as_is));
}

double StoredKernels::bytes(const Study& study, Index n, Index m, int ranks) {
    const auto rows = [&](Index of) {
        return static_cast<double>(BlockCyclic{of, block_of_rows, ranks}.local_size(0));
    };
    const std::size_t compared = place_of(study, "sgd").value_or(0);
    const auto linear = place_of(study, linear_formula(rule_by_name(study.finetune.optimizer)));
    const double square = linear && *linear != compared ? 2 : 1;
    return 8 * static_cast<double>(n) * (square * rows(n) + (linear ? rows(m) : 0));
}

std::vector<double> StoredKernels::eigenvalues(const Study& study) const {
    const std::string at = "/spectrum" +
                           kernel_place(study, compared_).substr(std::string_view("/kernel").size()) +
                           "/eigenvalues";
    return file_.read(
        [&](const Hdf5File& h5) { return h5.exists(at) ? h5.read_doubles(at) : std::vector<double>{}; });
}

double StoredKernels::stopping_eta() const {
    constexpr const char* at = "/rates/stopping";
    if (!is_sgd_ || compared_ != 0 || !holds(at)) return not_known;
    const auto number = [&](const char* name) {
        return file_.read([&](const Hdf5File& h5) { return h5.number_attribute(at, name); });
    };
    const std::vector<double> listed = file_.read([&](const Hdf5File& h5) {
        const std::string sizes = std::string(at) + "/step_sizes";
        return h5.exists(sizes) ? h5.read_doubles(sizes) : std::vector<double>{};
    });
    const double T = number("stopping_step");
    if (!std::isfinite(T)) return T;
    return (listed.empty() ? StepSizes(number("step_size")) : StepSizes(listed)).eta(T);
}

std::vector<double> StoredKernels::task_stopping_steps(Index tasks) const {
    constexpr const char* at = "/tasks/stopping_step";
    if (!is_sgd_ || compared_ != 0 || !holds(at)) return {};
    return file_.read([&](const Hdf5File& h5) { return h5.read_doubles(at, tasks); });
}

bool StoredKernels::holds(const std::string& path) const {
    return file_.read([&](const Hdf5File& h5) { return h5.exists(path) ? 1 : 0; }) == 1;
}

DistributedMatrix StoredKernels::read(const std::string& path, Orientation orientation) const {
    DistributedMatrix matrix = file_.read_matrix(path, rows_, block_of_rows, orientation);
    if (!is_finite(matrix))
        throw Error(ExitStatus::output, ErrorKind::non_finite,
                    fmt::format("{}: {} holds a value that is not finite; delete the file and use `tangram "
                                "run` to compute it again",
                                file_.name().string(), path));
    return matrix;
}

}  // namespace tangram
