#pragma once
#include <optional>
#include <string>
#include <vector>

#include "calibration.hpp"
#include "tangram/gram/assembly_cost.hpp"
#include "tangram/model/pass_back_end.hpp"
#include "tangram/study/configuration.hpp"
#include "tangram/study/job.hpp"
#include "tangram/study/model_loading.hpp"

namespace tangram {

struct PlannedStudy;

struct StageForecast {
    /// "head" where one is fitted, "gram", "spectrum", "rates" where there are vectors, "finetune" where it
    /// is asked for
    std::string stage;
    /// Of the largest rank, and once on every host: pages of the files of weights and matrices that were
    /// computed, which its ranks share.
    double own_bytes = 0, shared_bytes = 0;
    double flops = 0;  ///< of all ranks
    double received_bytes = 0, written_bytes = 0, seconds = 0;

    /// What the system says that the largest rank takes: shared pages count on every rank that has read them.
    double resident() const { return own_bytes + shared_bytes; }
};

struct Forecast {
    int grid_rows = 1, grid_columns = 1;
    int ranks_of_host = 1;
    AssemblyCost assembly;
    double factor_limit = 0;          ///< bytes that factors may take on a rank
    double trained_factor_limit = 0;  ///< the same of the kernel after training
    /// What passes take of each rank's device, where they run there; nothing: on the CPU.
    std::optional<PassNeeds> device_passes = {};
    Index training_steps = 0;  ///< that "finetune" is counted for
    std::vector<StageForecast> stages;

    int ranks() const { return grid_rows * grid_columns; }
    /// What is held against a rank's limit: its own, and its part of what the ranks of its host share.
    double bytes(const StageForecast& of) const { return of.own_bytes + of.shared_bytes / ranks_of_host; }
    const StageForecast& largest() const;                ///< the stage that needs most
    const StageForecast& largest_until_written() const;  ///< of the stages that end with the Gram matrix
    double bytes() const { return bytes(largest()); }
    double bytes_until_written() const { return bytes(largest_until_written()); }
    const StageForecast& gram() const { return *of("gram"); }
    const StageForecast* of(const std::string& stage) const;  ///< nullptr: there is none
    /// Bytes of the file system that all stages need: each adds to a copy of the finished file, which then
    /// takes its place.
    double disk_bytes() const;
    /// Bytes of its device that a rank needs, at least and with all sums; 0: nothing is multiplied on one.
    double device_least = 0, device_whole = 0;
    /// Why the solver of the spectrum cannot take the matrix on so many ranks; empty: it can.
    std::string solver_refusal = {};
    /// Whether every stage, or those that end with the Gram matrix, can do its work in the memory of a rank
    /// and of its device. Local.
    bool fits(const PlannedStudy& planned, bool gram_alone) const;
    /// Whether no matrix is formed; then `assembly` holds a piece of J in slice_bytes and vectors in
    /// matrix_bytes.
    bool free = false;
};

/// "3.1 GiB", or "3.1 GiB on the largest rank and 2.5 GiB that the 2 ranks of a host share".
std::string memory_text(const Forecast& on, const StageForecast& stage);

/// @throws Error(study) where a rank's device is too small. Local
void check_device_memory(const PlannedStudy& planned, const Forecast& on);

/// Tokens of the longest sequence of all examples. Local.
Index longest_sequence(const GramJob& job);

/// Whether a stage follows the Gram matrix.
bool is_later(const StageForecast& stage);

/// What a study is planned from, on any number of ranks; the references outlive it.
struct PlannedStudy {
    const LoadedModel& model;
    const GramJob& job;
    const Study& study;
    double limit;           ///< bytes that a rank may take
    WeightBytes weights;    ///< weight_bytes() of the same
    int ranks_of_host = 1;  ///< at most so many ranks share what is shared
    Calibration calibration = {};
    /// Bytes of its device that a rank may take, where tiles are multiplied on one.
    std::optional<double> device_memory = {};
    /// The same of passes.
    std::optional<double> pass_memory = {};

    /// Of a rank before the kernel's part: program, data and weights.
    double own_before() const { return job.idle_bytes + weights.own; }
    /// The same with a rank's part of what so many ranks of a host share.
    double before(int on_host) const { return own_before() + weights.shared / on_host; }
};

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
