#pragma once
#include <optional>
#include <string>
#include <vector>

#include "tangram/gram/assembly_cost.hpp"
#include "tangram/session/session.hpp"
#include "tangram/study/configuration.hpp"
#include "tangram/study/job.hpp"

namespace tangram {

/// Seconds that this machine takes for units of work of one rank, all ranks busy.
struct Calibration {
    double per_pass_flop = 0, per_packed_entry = 0, per_product_flop = 0, per_float64_flop = 0;
};

struct StageForecast {
    std::string stage;
    double bytes = 0;  ///< resident on the largest rank
    double flops = 0;  ///< of all ranks
    double received_bytes = 0, written_bytes = 0, seconds = 0;
};

struct Forecast {
    int grid_rows = 1, grid_columns = 1;
    AssemblyCost assembly;
    double factor_limit = 0;  ///< bytes that factors may take on a rank
    std::vector<StageForecast> stages;

    double bytes() const;  ///< of the stage that needs most
};

/// Resident bytes of this rank once a block of the longest examples went forward and backward: what it holds
/// before matrices, slices and factors. @throws Error(numerical) on every rank
template <class Real>
double trial_memory(Network<Real>& network, const GramJob& job, MPI_Comm comm);

/// Times a forward and backward pass over the longest examples and small pieces of the rest of the work, some
/// tenths of a second in all, on all ranks at once; the slowest counts. Kept in the user's cache folder for
/// the same program, machine, model and precision. Collective.
template <class Real>
Calibration calibrated(Network<Real>& network, const GramJob& job, const std::string& model_sha256,
                       const Session& session);

/// Memory, work and time of every stage on a number of ranks, from shapes and tokens. Local.
/// @param resident  bytes that a rank holds before matrices, slices and factors, its network included
template <class Real>
Forecast forecast(const Program& program, const GramJob& job, const Study& study,
                  const Calibration& calibration, double resident, double limit, int ranks);

/// The fewest ranks on which every stage, or the Gram stage alone, fits into `limit` bytes per rank; nothing
/// where up to 1024 do not do. Local.
template <class Real>
std::optional<int> fewest_ranks(const Program& program, const GramJob& job, const Study& study,
                                double resident, double limit, bool gram_alone);

/// What `tangram plan` prints.
std::string plan_text(const Program& program, const GramJob& job, const Forecast& forecast, double limit,
                      std::optional<int> fewest);

}  // namespace tangram
