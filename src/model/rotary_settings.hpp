#pragma once
#include <optional>
#include <string>

#include "tangram/model/config.hpp"
#include "tangram/model/program.hpp"

/// Rotary positions as config.json asks for them: in rope_scaling or, in newer files, rope_parameters, and in
/// keys at the top of the file.
namespace tangram::parts {

/// What counts of settings for all layers where the layers asked about may have their own.
enum class SharedSettings {
    all,
    base,  ///< rope_theta alone
    none,
};

/// What families differ in.
struct RotaryStyle {
    double theta = 10000;                  ///< the base where no key says it
    std::string theta_key = "rope_theta";  ///< at the top
    std::string older_theta_key = "";      ///< empty: none
    /// "full_attention" or "sliding_attention", where newer files have settings for each; empty: one for all.
    std::string layer_type = "";
    SharedSettings shared = SharedSettings::all;
    /// Phi-3's: "su" and "yarn" are older names of "longrope", and the trained length has this default.
    std::optional<Index> trained_length = std::nullopt;
};

/// Frequencies theta^(-2i/size), i < size/2, in radians per position, scaled as the settings say: "default",
/// "linear" (Chen et al. 2023), "llama3" (Llama 3's piecewise rule), "yarn" (Peng et al. 2023), "longrope"
/// (Ding et al. 2024), or "dynamic", which up to max_position_embeddings is the default. Where versions of
/// transformers differ (the length that a model was trained for), version 5 is followed, and a note says so.
/// @param size  entries of a head that turn
/// @throws Error(input) naming another type, or a setting that is missing or out of range
RotaryAngles rotary_angles(const Config& config, Index size, const RotaryStyle& style = {});

/// The share of a head's entries that turn: partial_rotary_factor, in the object of rotary settings or at the
/// top, or an older key.
/// @param only  the share that is served; nothing: any
double rotary_share(const Config& config, const std::string& older_key, double otherwise,
                    std::optional<double> only = std::nullopt);

/// Throws Error(input) where that is not 1: for families that turn whole heads.
void refuse_other_shares(const Config& config);

}  // namespace tangram::parts
