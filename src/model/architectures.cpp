#include "tangram/model/architectures.hpp"

#include <array>

namespace tangram {

std::span<const Architecture> architectures() {
    static constexpr std::array known{Architecture{"llama", llama},
                                      Architecture{"mistral", mistral},
                                      Architecture{"qwen2", qwen2},
                                      Architecture{"qwen3", qwen3},
                                      Architecture{"olmo2", olmo2},
                                      Architecture{"olmo3", olmo3},
                                      Architecture{"smollm3", smollm3},
                                      Architecture{"phi3", phi3},
                                      Architecture{"phi", phi},
                                      Architecture{"starcoder2", starcoder2},
                                      Architecture{"stablelm", stablelm},
                                      Architecture{"granite", granite},
                                      Architecture{"gemma", gemma},
                                      Architecture{"gemma2", gemma2},
                                      Architecture{"gemma3_text", gemma3_text},
                                      Architecture{"gemma3", gemma3},
                                      Architecture{"gpt2", gpt2},
                                      Architecture{"gpt_neo", gpt_neo},
                                      Architecture{"gpt_neox", gpt_neox},
                                      Architecture{"opt", opt},
                                      Architecture{"bert", bert, bert_with_trained_head},
                                      Architecture{"roberta", roberta, roberta_with_trained_head},
                                      Architecture{"xlm-roberta", roberta, roberta_with_trained_head},
                                      Architecture{"camembert", roberta, roberta_with_trained_head},
                                      Architecture{"electra", electra, electra_with_trained_head},
                                      Architecture{"distilbert", distilbert, distilbert_with_trained_head},
                                      Architecture{"modernbert", modernbert, modernbert_with_trained_head}};
    return known;
}

namespace {

const Architecture& architecture_of(const Config& config) {
    const std::string model_type = config.text("model_type");
    if (config.has("quantization_config"))
        config.refuse(ErrorKind::unsupported, "quantization_config",
                      "quantised weights (GPTQ, AWQ, bitsandbytes, FP8) are not read: give the folder of the "
                      "model that they were made from, or one of dequantised weights (transformers: "
                      "model.dequantize().save_pretrained(FOLDER))");
    std::string supported;
    for (const Architecture& architecture : architectures()) {
        if (architecture.model_type == model_type) return architecture;
        supported += (supported.empty() ? "" : ", ") + std::string(architecture.model_type);
    }
    config.refuse(ErrorKind::unsupported, "model_type", "supported: " + supported);
}

}  // namespace

Program program_of(const Config& config, std::optional<Index> classifier_labels) {
    return architecture_of(config).program(config, classifier_labels);
}

Program program_with_trained_head(const Config& config, Index labels) {
    const Architecture& architecture = architecture_of(config);
    if (architecture.with_trained_head != nullptr) return architecture.with_trained_head(config, labels);
    Program program = architecture.program(config, labels);
    if (program.reading != Reading::last_token)
        config.refuse(ErrorKind::unsupported, "model_type",
                      "model.head = \"checkpoint\" is not served for this family; use \"classifier\"");
    return program;
}

double drawn_deviation(const Config& config) {
    const std::string model_type = config.text("model_type");
    const double range = config.number(model_type == "opt" ? "init_std" : "initializer_range", 0.02);
    return model_type == "gemma3" ? config.inside("text_config").number("initializer_range", range) : range;
}

}  // namespace tangram
