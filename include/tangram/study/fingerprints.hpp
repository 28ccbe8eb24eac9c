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

/// Of every key that decides the kernel, as its declaration says; for model.path, of every file that was read
/// there, by its place in the folder. Local; equal on every rank.
/// @param model  hashed
KernelFingerprint fingerprint_of(const Study& study, const LoadedModel& model, const GramJob& job);

/// What a spectrum is made from: the kernel, by the hash of what it was made from, and every key that decides
/// a spectrum. Local.
Inputs spectrum_inputs(const Study& study, const std::string& kernel_hash);
/// What rates are made from: the spectrum, by the hash of what it was made from, and every key that decides
/// the rates. Local.
Inputs rates_inputs(const Study& study, const std::string& spectrum_hash);
/// What fine-tuning is made from: the kernel, the spectrum and the rates, by the hashes of what they were
/// made from (empty: there are none), and every key that decides it. Local.
Inputs finetune_inputs(const Study& study, const std::string& kernel_hash, const std::string& spectrum_hash,
                       const std::string& rates_hash);

}  // namespace tangram
