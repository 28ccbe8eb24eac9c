#pragma once
#include <string>

#include "finetune_path.hpp"
#include "tangram/io/hdf5_file.hpp"
#include "tangram/session/log.hpp"

namespace tangram {

/// What fine-tuning has come to.
struct FinetuneResult {
    std::string optimizer, loss;
    FinetunePlan plan;
    FinetunePath path;
    Index examples = 0, test_examples = 0, labels = 0;
    bool margin = false;                  ///< the kernel's output; else all logits
    std::string center;                   ///< rates.center, by which the residual's mean is taken out
    bool lora_b_alone = false;            ///< what trains begins at 0
    Index sketch = 0;                     ///< dimension to which the linearised model's kernel is sketched
    double kernel_alignment = not_known;  ///< centred, of the kernel after training with the one before
    std::vector<double> eigenvalues_before, eigenvalues_after;  ///< of G, descending; empty: no spectrum
    std::string weights;  ///< the folder that was written, as seen from the output file
    double seconds = 0, tokens = 0;

    bool tested() const { return test_examples > 0; }
    double best() const;  ///< the step with the least test loss (training loss where nothing is tested)
    double linear_best() const;
    /// |real - linearised| over |what the real outputs have changed by| in a record, on the test outputs
    /// where there are any; NaN where nothing has changed and where there is no linearised model, infinite
    /// where that one is not finite. Of a margin, of the margins.
    double gap(const FinetuneRecord& record) const;
    /// The record at T, or the last where T is 0 or was not reached: what the sentence speaks of.
    const FinetuneRecord& judged() const;
    /// By how much the loss at T is above the best one, as a share of what training gained; NaN where T was
    /// not reached or nothing was gained.
    double cost_of_stopping() const;
    /// The first recorded step from which on the gap is above 0.2 up to the last; infinite: none.
    double parting_step() const;
};

/// /finetune, made anew. Local; the first rank.
void write_finetune(Hdf5File& file, const FinetuneResult& result, const std::string& inputs);

/// The table of the path and what follows from it, as text for the console.
std::string finetune_summary(const FinetuneResult& result);
/// One sentence: whether the kernel told what training did.
std::string finetune_sentence(const FinetuneResult& result);
/// Says the summary, and its numbers by name. Local; the first rank speaks.
void tell_finetune(const FinetuneResult& result, Log& log);

}  // namespace tangram
