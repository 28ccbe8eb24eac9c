#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "forecast.hpp"
#include "free_kernel.hpp"
#include "stage_checkpoint.hpp"
#include "tangram/gram/assembly.hpp"
#include "tangram/io/output.hpp"
#include "tangram/session/clock.hpp"
#include "tangram/session/provenance.hpp"
#include "tangram/spectrum/eigenpairs.hpp"
#include "tangram/spectrum/spectral_density.hpp"
#include "tangram/stages/study_run.hpp"
#include "tangram/study/model_loading.hpp"
#include "tangram/study/open_study.hpp"

namespace tangram {

template <class Real>
class Finetuning;
template <class Real>
struct FinetuneSetup;
struct TrainedTask;
/// Of training steps in this process, the linearised model's and recording left out.
struct TrainingWork {
    double tokens = 0, seconds = 0;
};
class StoredKernels;

/// What the spectrum stage writes of a matrix.
struct SpectrumResult {
    Eigenpairs pairs;
    Quality checks;
    std::optional<SpectralDensity> density;
};

/// What stages hand to each other in memory; what is not there is read from the output file.
struct StudyRun::State {
    Study study;
    const Session& session;
    MPI_Comm comm;
    bool first_rank;
    std::filesystem::path output;
    std::optional<OutputLock> lock;
    ProcessGrid grid;
    std::string kernel_inputs;                // fingerprint, once known
    bool whole_run = false;                   // spectrum and rates follow
    ProductBackEnd* back_end = nullptr;       // of the Gram matrix
    PassBackEnd* pass_back_end = nullptr;     // of its stage's passes
    std::optional<Forecast> forecast_of_run;  // where the gram stage ran here
    Index own_peak = 0;                       // bytes that this rank alone had in it, as last looked at
    Index peak_warned_of = 0;                 // bytes of the largest rank
    std::optional<DistributedMatrix> gram_matrix;
    std::optional<Eigenpairs> eigen;
    std::unique_ptr<FreeKernel> free;                // spectrum.matrix = "free": once it was opened
    std::optional<OpenedStudy> opened;               // where a later stage needs it
    std::optional<StageCheckpoint> kept_checkpoint;  // of a matrix that the output does not hold

    State(Study s, const Session& in, bool writes);

    // The finished file; all collective.

    bool exists();
    /// Whether it has a group or data set.
    bool holds(const std::string& path);
    /// Whether one of its groups was made from these inputs.
    bool is_done(const std::string& group, const std::string& inputs);
    /// A text attribute of one of its groups; `stage` makes the group. @throws Error(output)
    std::string attribute(const std::string& group, const std::string& key, const char* stage);
    /// Refuses a file whose group was not made from these inputs: another has taken its place since the stage
    /// began. Local. @throws Error(output)
    void check_unchanged(const Hdf5File& file, const std::string& group, const std::string& inputs) const;
    /// Into a file whose results of one stage are made anew: the study that they are made with, beside what
    /// others were. Local.
    void keep_study(Hdf5File& file, const std::string& stage) const;
    /// What stands at the output's name is replaced only if it is tangram's. @throws Error(output)
    void check_output();
    /// Where the gram stage has not run in this process: refuses a file whose kernel another study made, and
    /// takes what that study had left to be chosen. @throws Error(study)
    void check_study(const char* stage);

    // The gram stage.

    /// @param finetuned  whether training follows
    /// @throws Error(study) where spectrum.count, rates.window or finetune.batch asks for more than the
    /// kernel's rows and examples are, and where rates.neighbours goes with some eigenpairs alone. Local
    void check_against_rows(const GramJob& job, bool finetuned) const;
    /// Before anything of the size of model or matrices is allocated. Collective.
    /// @throws Error(study) on every rank, with the numbers and how many ranks would do; Error(output) where
    /// the disk is too small
    template <class Real>
    Forecast forecast_that_fits(const LoadedModel& model, const GramJob& job);
    /// Free bytes of the file system that this run needs for the output file. Local.
    double bytes_to_write(const Forecast& on) const;
    template <class Real>
    void gram(const LoadedModel& model, const GramJob& job);
    /// Whether the output holds this kernel and all that is made from its matrix. Collective.
    bool has_kernel();
    /// Whether this rank's device has failed. Local.
    bool device_failed() const;
    /// The network with its passes on the device, where they find room there; says where they run.
    /// Collective.
    template <class Real>
    Network<Real> with_device(Network<Real> network, const Forecast& planned) const;
    void say_plan(const GramJob& job, const Forecast& planned) const;
    /// Adds up the matrices; writes a checkpoint from time to time, and where it is asked to stop.
    /// Collective. @throws Error(stopped) on every rank after a checkpoint; Error(input, changed) in place of
    /// a checkpoint where one of the files is not what it was when it was read
    template <class Real>
    AssemblyResult assemble_with_checkpoints(const KernelInputs<Real>& inputs, KernelMatrices& matrices,
                                             const StageCheckpoint& checkpoint, const FilesRead& files);
    /// Behind a device's failure: what was stored goes into a checkpoint, where it is more than the units of
    /// the last one. Collective. @throws Error(failure's status) on every rank, saying what there is
    [[noreturn]] void keep_what_was_stored(const Error& failure, const KernelMatrices& matrices,
                                           const StageCheckpoint& checkpoint, Index units_written);
    /// Zero matrices, or what a checkpoint or the finished file of a smaller sample holds of them.
    /// Collective.
    KernelMatrices begin_matrices(const GramJob& job, const StageCheckpoint& checkpoint,
                                  const std::string& basis, Index slices);
    /// Runs `write`; where the output cannot be written, what was computed goes into a checkpoint.
    /// Collective. @throws Error(output) on every rank
    void write_or_keep(const std::function<void()>& write, const KernelMatrices& matrices,
                       const StageCheckpoint& checkpoint);
    /// Behind a written output: the checkpoint goes, unless a spectrum that follows has nothing else to begin
    /// again from. Collective.
    void keep_or_remove_checkpoint(const KernelMatrices& matrices, const StageCheckpoint& checkpoint);
    /// Leaves the matrix to the stages that follow, in their blocks; overwritten. Collective.
    void take_gram_matrix(DistributedMatrix& matrix);
    /// Between checkpoints; 0: none but where the run is stopped.
    double checkpoint_seconds() const { return 60 * study.output.checkpoint_minutes; }

    template <class Real>
    void plan(const LoadedModel& model, const GramJob& job, const PlanRequest& asked);
    /// Says which rank took more memory than the forecast of the stages up to this one, if any did and no
    /// stage before has said so of as much. Local.
    void warn_beyond_plan(const std::string& stage, const Forecast& planned, const Provenance& taken);

    // The spectrum stage.

    /// The spectrum of a Gram matrix into group `at` of the output file. Collective.
    Eigenpairs write_spectrum_of(const DistributedMatrix& gram, const std::string& at,
                                 const std::string& inputs);
    /// Of a matrix whose rounding explains its negative eigenvalues, into group `at`. Collective.
    void write_spectrum_stage(const SpectrumResult& result, const std::string& at, const std::string& inputs,
                              double seconds);
    /// Bytes that so many eigenvectors of a spectrum add to the file; 0 where they replace as many.
    /// Collective.
    double vector_bytes(const std::string& at, Index rows, Index count) const;
    /// Of the first formula's matrix, with all eigenvalues or the vectors of those that are known.
    /// Collective.
    SpectralDensity density_of(const DistributedMatrix& gram, const Eigenpairs& pairs, double floor) const;

    // Both stages where no matrix is formed; of them block Lanczos is checkpointed.

    /// Makes `free`, where it fits. Collective. @throws Error(study) where it does not
    void open_free(OpenedStudy with);
    void free_gram(OpenedStudy with);
    void free_spectrum(const std::string& inputs);
    /// From a checkpoint where there is one, with new ones from time to time. Collective.
    /// @throws Error(stopped) on every rank after one
    LeadingPairs free_leading_pairs(const SymmetricOperator& G, const StageCheckpoint& checkpoint);
    /// The pairs and the density that the study asks for. Collective.
    SpectrumResult free_pairs(const StageCheckpoint& checkpoint);

    /// A symmetric matrix of the output file. Collective.
    DistributedMatrix read_gram(const std::string& path);

    // The fine-tuning stage.

    /// @return whether a checkpoint holds all of it
    template <class Real>
    bool train(Finetuning<Real>& training, const StageCheckpoint& checkpoint, const FilesRead& files,
               Index steps);
    /// Runs `work`, which follows training; where it fails, training is in a checkpoint. Collective.
    /// @param is_kept  it is in one already
    template <class Real>
    void keep_training(const Finetuning<Real>& training, bool is_kept, const StageCheckpoint& checkpoint,
                       const FilesRead& files, const std::function<void()>& work);
    template <class Real>
    void finetune(const OpenedStudy& with, const Inputs& inputs);
    /// The kernel after training, the folder of weights and the stage's part of the file. Collective.
    template <class Real>
    void finish_finetune(FinetuneSetup<Real>& setup, const Finetuning<Real>& training, bool is_kept,
                         const OpenedStudy& with, const std::string& hash, Clock::time_point start);
    /// What `write` writes, and what the stage took. Collective.
    void write_finetune_stage(const std::function<void(Hdf5File&)>& write, const Forecast& planned,
                              const TrainingWork& work, double own_seconds);
    /// Before anything of the size of the trained weights is allocated. Collective. @return in
    /// fine-tuning's bytes also what is resident by now beyond the study's data
    /// @throws Error(study) on every rank, with the numbers
    template <class Real>
    Forecast finetuning_that_fits(const OpenedStudy& with) const;
    /// Local.
    bool has_trained_folders() const;
    /// Trains a copy of the network on every task of several, and judges sums of the weights' changes.
    template <class Real>
    void finetune_tasks(const OpenedStudy& with, const Inputs& inputs);
    /// Task t's training on a network of its own, from a checkpoint where there is one. Collective.
    template <class Real>
    TrainedTask train_task(const OpenedStudy& with, const StoredKernels& kernels, std::size_t t,
                           const Inputs& inputs);
};

}  // namespace tangram
