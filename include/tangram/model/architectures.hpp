#pragma once
#include <span>
#include <string_view>

#include "tangram/model/config.hpp"
#include "tangram/model/program.hpp"

namespace tangram {

/// One architecture: the `model_type` of config.json and the function that composes its program.
struct Architecture {
    std::string_view model_type;
    Program (*program)(const Config& config);
};

/// All architectures known, one file in src/model each.
std::span<const Architecture> architectures();

/// The program of a model folder's config. @throws Error(input) naming the model_type and the supported ones.
Program program_of(const Config& config);

Program llama(const Config& config);
Program gpt_neo(const Config& config);

}  // namespace tangram
