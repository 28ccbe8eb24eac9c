#include "tangram/model/architectures.hpp"

#include <array>

namespace tangram {

std::span<const Architecture> architectures() {
    static constexpr std::array known{Architecture{"llama", llama}, Architecture{"gpt_neo", gpt_neo}};
    return known;
}

Program program_of(const Config& config) {
    const std::string model_type = config.text("model_type");
    std::string supported;
    for (const Architecture& architecture : architectures()) {
        if (architecture.model_type == model_type) return architecture.program(config);
        supported += (supported.empty() ? "" : ", ") + std::string(architecture.model_type);
    }
    config.refuse("model_type", "supported: " + supported);
}

}  // namespace tangram
