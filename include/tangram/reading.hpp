#pragma once

namespace tangram {

/// The token of an example at which a model's outputs are read.
enum class Reading {
    last_token,   ///< causal models
    mask_token,   ///< masked models: the template's [MASK]
    first_token,  ///< a classifier on [CLS]
};

}  // namespace tangram
