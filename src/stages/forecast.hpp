#pragma once
#include <optional>
#include <string>
#include <vector>

#include "calibration.hpp"
#include "tangram/gram/assembly_cost.hpp"
#include "tangram/study/configuration.hpp"
#include "tangram/study/job.hpp"
#include "tangram/study/model_loading.hpp"

namespace tangram {

struct StageForecast {
    /// "head" where one is fitted, "gram", "spectrum", "rates" where there are vectors, "finetune" where it
    /// is asked for
    std::string stage;
    double bytes = 0;  ///< resident on the largest rank
    double flops = 0;  ///< of all ranks
    double received_bytes = 0, written_bytes = 0, seconds = 0;
};

struct Forecast {
    int grid_rows = 1, grid_columns = 1;
    AssemblyCost assembly;
    double factor_limit = 0;          ///< bytes that factors may take on a rank
    double trained_factor_limit = 0;  ///< the same of the kernel after training
    Index training_steps = 0;         ///< that "finetune" is counted for
    std::vector<StageForecast> stages;

    int ranks() const { return grid_rows * grid_columns; }
    double bytes() const;                ///< of the stage that needs most
    double bytes_until_written() const;  ///< of the stages that end with the Gram matrix
    const StageForecast& gram() const { return *of("gram"); }
    const StageForecast* of(const std::string& stage) const;  ///< nullptr: there is none
    /// Whether no matrix is formed; then `assembly` holds a piece of J in slice_bytes and vectors in
    /// matrix_bytes.
    bool free = false;
};

/// Whether a stage follows the Gram matrix.
bool is_later(const StageForecast& stage);

/// What a study is planned from, on any number of ranks; the references outlive it.
struct PlannedStudy {
    const LoadedModel& model;
    const GramJob& job;
    const Study& study;
    double limit;          ///< bytes that a rank may take
    double network_bytes;  ///< network_bytes() of the same
    Calibration calibration = {};

    /// Of a rank before matrices, slices and factors.
    double resident() const { return job.idle_bytes + network_bytes; }
};

/// Bytes of a rank's network while it works: its weights, and on every thread the buffers of passes over the
/// longest examples. Local, from shapes and tokens; nothing is allocated or read.
/// @throws Error(input) as weight_bytes
template <class Real>
double network_bytes(const LoadedModel& model, const GramJob& job, const Study& study);

/// Memory, work and time of every stage on a number of ranks, from shapes and tokens. Local.
template <class Real>
Forecast forecast(const PlannedStudy& planned, int ranks);

/// The fewest ranks on which every stage, or those that end with the Gram matrix, fits into the limit; of
/// more than 64 a multiple of a 64th of the next power of two. Nothing where no power of two up to
/// most_ranks_tried does. Local.
template <class Real>
std::optional<int> fewest_ranks(const PlannedStudy& planned, bool gram_alone);

inline constexpr int most_ranks_tried = 1024;

/// What "finetune" is counted for where steps = "auto": T is not known before the rates.
inline constexpr Index training_steps_assumed = 100;

}  // namespace tangram
