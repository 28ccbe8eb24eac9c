#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tangram/session/session.hpp"
#include "tangram/study/configuration.hpp"

namespace tangram {

class PassBackEnd;
class ProductBackEnd;

/// What `tangram plan` is asked for.
struct PlanRequest {
    std::optional<int> ranks;             ///< nothing: those of the session
    bool tensors = false;                 ///< how each is contracted
    std::optional<double> device_memory;  ///< bytes of a GPU that each rank may take; nothing: it has none
};

/// The stages of a study, in order: each reads what the one before it left in memory or in the output file,
/// skips what is already there and made from the same inputs, and adds its groups to the file (written aside
/// and renamed). All members are collective over the session's ranks and throw Error on every rank or none.
class StudyRun {
  public:
    /// Takes the output's lock where it `writes`.
    StudyRun(Study study, const Session& session, bool writes = true);
    ~StudyRun();

    /// Prints whether the study fits, and memory, work and time of every stage. @throws Error(study) where it
    /// does not fit
    void plan(const PlanRequest& asked);
    /// Data -> Jacobian blocks -> /data, /kernel. @throws Error(stopped) after writing a checkpoint,
    /// Error(study) where this stage, or in a whole run one after it, does not fit into memory
    /// @param back_end       multiplies tiles (KernelProblem::back_end)
    /// @param pass_back_end  runs forward and backward passes, where they find room there
    void gram(bool whole_run, ProductBackEnd* back_end = nullptr, PassBackEnd* pass_back_end = nullptr);
    /// /kernel/gram -> /spectrum, and of every further formula that has one
    void spectrum();
    /// The sum of some groups' Gram matrices, /kernel/groups/(name)/gram -> /spectrum/groups/(name+name).
    /// @throws Error(study) where the file does not hold one of them
    void spectrum_of_groups(std::vector<std::string> groups);
    /// /spectrum, /data, /kernel -> /rates
    void rates();
    /// Trains the network beside its linearised model, /kernel -> /finetune and a folder of weights. Where
    /// the study has no [finetune], by its defaults. @throws Error(stopped) after writing a checkpoint
    void finetune();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace tangram
