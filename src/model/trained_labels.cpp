#include <fmt/core.h>

#include "tangram/model/architectures.hpp"

namespace tangram {

namespace {

constexpr const char* supported = "model.head = \"checkpoint\" is for one label of several";

/// The names under id2label, whose keys are the numbers 0 .. C-1 as texts.
std::vector<std::string> names_by_id(const Config& config) {
    const nlohmann::json& names = config.at("id2label");
    std::vector<std::string> labels;
    if (!names.is_object()) config.refuse(ErrorKind::malformed, "id2label", "it must be an object");
    for (std::size_t id = 0; id < names.size(); ++id) {
        const auto found = names.find(std::to_string(id));
        if (found == names.end() || !(found->is_string() || found->is_number_integer()))
            config.refuse(ErrorKind::malformed, "id2label",
                          fmt::format("it must name labels 0 to {}", names.size() - 1));
        labels.push_back(found->is_string() ? found->get<std::string>() : found->dump());
    }
    return labels;
}

}  // namespace

std::vector<std::string> trained_labels(const Config& config) {
    if (config.has("architectures")) {
        bool classifier = false;
        for (const nlohmann::json& name : config.at("architectures"))
            classifier = classifier ||
                         (name.is_string() && name.get<std::string>().ends_with("ForSequenceClassification"));
        if (!classifier)
            config.refuse(ErrorKind::unsupported, "architectures",
                          "model.head = \"checkpoint\" is for a *ForSequenceClassification; use \"lm\" or "
                          "\"classifier\"");
    }
    if (config.text("problem_type", "single_label_classification") != "single_label_classification")
        config.refuse(ErrorKind::unsupported, "problem_type", supported);
    std::vector<std::string> labels;
    if (config.has("id2label"))
        labels = names_by_id(config);
    else
        for (Index id = 0; id < config.size("num_labels", 2); ++id)
            labels.push_back(fmt::format("LABEL_{}", id));
    if (labels.size() < 2)
        config.refuse(ErrorKind::unsupported, config.has("id2label") ? "id2label" : "num_labels",
                      fmt::format("a single label stands for a regression; {}", supported));
    return labels;
}

std::optional<std::int32_t> token_passed_over(const Config& config, const Program& program) {
    if (program.reading != Reading::last_token) return std::nullopt;
    const std::string family = config.text("model_type");
    const Config text = family == "gemma3" ? config.inside("text_config") : config;
    if (!text.has("pad_token_id")) {
        if (text.names("pad_token_id")) return std::nullopt;  // null
        // Of transformers' configurations, where the file has none.
        for (const auto& [name, id] :
             {std::pair{"smollm3", 128004}, std::pair{"phi3", 32000}, std::pair{"olmo2", 1},
              std::pair{"olmo3", 1}, std::pair{"opt", 1}, std::pair{"gemma", 0}, std::pair{"gemma2", 0},
              std::pair{"gemma3", 0}, std::pair{"gemma3_text", 0}})
            if (family == name && id < program.vocabulary_size) return id;
        return std::nullopt;
    }
    const nlohmann::json& id = text.at("pad_token_id");
    if (!id.is_number_integer() || id < 0 || id >= program.vocabulary_size) return std::nullopt;
    return id.get<std::int32_t>();
}

}  // namespace tangram
