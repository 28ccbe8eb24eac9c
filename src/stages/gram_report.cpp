#include "gram_report.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "tangram/parallel/communicator.hpp"
#include "tangram/session/log.hpp"

namespace tangram {

namespace {

template <class Real>
double needed_product_flops(const KernelInputs<Real>& inputs, const GramJob& job) {
    const auto n = static_cast<double>(job.train_rows), m = static_cast<double>(job.test_rows);
    double flops = 0;
    for (const KernelFormula& formula : job.formulas) {
        const double per_column =
            n * ((formula.formula == Formula::asymmetric_signgd ? 2 * n : n + 1) + 2 * m);
        for (std::size_t p = 0; p < job.parameters.size(); ++p) {
            const Contraction chosen = formula.choices[p].chosen;
            if (chosen == Contraction::multiply_out || chosen == Contraction::sketched)
                flops += static_cast<double>(inputs.columns(p) * job.outputs.components()) * per_column;
        }
    }
    return flops;
}

}  // namespace

template <class Real>
GramReport GramReport::gather(const KernelInputs<Real>& inputs, const GramJob& job,
                              const AssemblyResult& assembled, double seconds, double whole, MPI_Comm comm) {
    const auto slowest = [&](double of_this_rank) { return max_over_ranks(comm, of_this_rank); };
    GramReport report{slowest(seconds),
                      slowest(assembled.jacobian_seconds),
                      slowest(assembled.packing_seconds),
                      slowest(assembled.waiting_seconds),
                      slowest(assembled.product_seconds),
                      0,
                      needed_product_flops(inputs, job),
                      gather_to_all(comm, Index{std::llround(assembled.bytes_received)})};
    for (const double flops : gather_to_all(comm, assembled.jacobian_flops)) report.jacobian_flops += flops;
    double done = 0;
    for (const double flops : gather_to_all(comm, assembled.product_flops)) done += flops;
    if (whole > 0) report.product_flops *= done / whole;
    return report;
}

void GramReport::write(Hdf5File& file) const {
    const std::string at = "/provenance";
    file.set_attribute(at, "seconds_gram", seconds);
    file.set_attribute(at, "seconds_jacobian", jacobian_seconds);
    file.set_attribute(at, "seconds_multiply_out", packing_seconds);
    file.set_attribute(at, "seconds_exchange", waiting_seconds);
    file.set_attribute(at, "seconds_products", product_seconds);
    file.set_attribute(at, "flops_jacobian", jacobian_flops);
    file.set_attribute(at, "flops_products", product_flops);
    file.set_attribute(at, "bytes_received_per_rank", bytes_received);
}

std::string GramReport::text() const {
    return fmt::format(
        "done in {} (passes {} at {:.0f} GFLOP/s, slices {}, waiting {} for {}, products {} at {:.0f} "
        "GFLOP/s)",
        duration_text(seconds), duration_text(jacobian_seconds), jacobian_flops / 1e9 / jacobian_seconds,
        duration_text(packing_seconds), duration_text(waiting_seconds),
        bytes_text(static_cast<double>(std::ranges::max(bytes_received))), duration_text(product_seconds),
        product_flops / 1e9 / std::max(product_seconds, 1e-9));
}

template GramReport GramReport::gather(const KernelInputs<float>&, const GramJob&, const AssemblyResult&,
                                       double, double, MPI_Comm);
template GramReport GramReport::gather(const KernelInputs<double>&, const GramJob&, const AssemblyResult&,
                                       double, double, MPI_Comm);

}  // namespace tangram
