#include "tangram/model/architectures.hpp"

#include <array>

namespace tangram {

std::span<const Architecture> architectures() {
    static constexpr std::array known{Architecture{"llama", llama},     Architecture{"mistral", mistral},
                                      Architecture{"qwen2", qwen2},     Architecture{"gpt2", gpt2},
                                      Architecture{"gpt_neo", gpt_neo}, Architecture{"gpt_neox", gpt_neox},
                                      Architecture{"bert", bert},       Architecture{"roberta", roberta}};
    return known;
}

Program program_of(const Config& config, std::optional<Index> classifier_labels) {
    const std::string model_type = config.text("model_type");
    if (config.has("quantization_config"))
        config.refuse(ErrorKind::unsupported, "quantization_config", "supported: null");
    std::string supported;
    for (const Architecture& architecture : architectures()) {
        if (architecture.model_type == model_type) return architecture.program(config, classifier_labels);
        supported += (supported.empty() ? "" : ", ") + std::string(architecture.model_type);
    }
    config.refuse(ErrorKind::unsupported, "model_type", "supported: " + supported);
}

double drawn_deviation(const Config& config) { return config.number("initializer_range", 0.02); }

}  // namespace tangram
