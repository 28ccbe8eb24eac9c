#pragma once
#include <string>

#include "tangram/study/inputs.hpp"
#include "tangram/study/job.hpp"
#include "tangram/study/model_loading.hpp"

namespace tangram {

/// What the Gram stage's result is made from.
struct KernelFingerprint {
    Inputs made_of;
    /// Of all but the training examples: what the kernel of a smaller sample must agree in to be taken over.
    std::string basis;
};

/// Reads the model's config.json. Local; equal on every rank. @throws Error(input)
KernelFingerprint fingerprint_of(const Study& study, const LoadedModel& model, const GramJob& job);

}  // namespace tangram
