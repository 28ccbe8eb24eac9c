#include "parts.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

namespace {

/// Adds the kinds that a list names.
void append_kinds(const Config& config, const std::string& key, const nlohmann::json& list,
                  std::vector<std::string>& kinds) {
    for (const auto& kind : list) {
        if (kind != "global" && kind != "local")
            config.refuse(ErrorKind::unsupported, key, "supported: \"global\" and \"local\"");
        kinds.push_back(kind.get<std::string>());
    }
}

/// "global" or "local" per layer, from attention_layers ("global", ...) or attention_types ([[kinds],
/// count]).
std::vector<std::string> kinds_under(const Config& config, const std::string& key, Index layers) {
    std::vector<std::string> kinds;
    const nlohmann::json& value = config.at(key);
    if (!value.is_array()) config.refuse(ErrorKind::malformed, key, "it must be a list");
    if (key == "attention_layers") append_kinds(config, key, value, kinds);
    for (std::size_t e = 0; key == "attention_types" && e < value.size(); ++e) {
        const nlohmann::json& entry = value[e];
        if (!entry.is_array() || entry.size() != 2 || !entry[0].is_array() || !entry[1].is_number_unsigned())
            config.refuse(ErrorKind::malformed, key, "it must be a list of [[kinds], count]");
        const auto count = entry[1].get<std::uint64_t>();
        if (count > static_cast<std::uint64_t>(layers))
            config.refuse(ErrorKind::contradiction, key, "it must name num_layers layers");
        for (std::uint64_t i = 0; i < count && std::ssize(kinds) <= layers; ++i)
            append_kinds(config, key, entry[0], kinds);
    }
    if (std::ssize(kinds) != layers)
        config.refuse(ErrorKind::contradiction, key, "it must name num_layers layers");
    return kinds;
}

/// "global" or "local" per layer.
std::vector<std::string> attention_layers(const Config& config, Index layers) {
    const bool by_layer = config.has("attention_layers"), by_type = config.has("attention_types");
    if (!by_layer) return kinds_under(config, "attention_types", layers);
    const std::vector<std::string> kinds = kinds_under(config, "attention_layers", layers);
    if (by_type && kinds_under(config, "attention_types", layers) != kinds)
        config.note("attention_layers counts, attention_types beside it says otherwise; remove one");
    return kinds;
}

}  // namespace

/// GPTNeoForCausalLM: learned positions, layer norms before attention and MLP, global and local attention,
/// scores without 1/sqrt(head size), q/k/v without bias (Black et al. 2021; tensor names as Hugging Face
/// stores them).
Program gpt_neo(const Config& config, std::optional<Index> classifier_labels) {
    using enum ParameterKind;
    const Index hidden = config.size("hidden_size");
    const Index heads = parts::size(config, "num_heads", "num_attention_heads");
    const Index head_size = parts::head_size(config, "num_heads", heads, hidden);
    const Index layers = parts::size(config, "num_layers", "num_hidden_layers");
    const Index intermediate = config.size("intermediate_size", 4 * hidden);
    const Index window = config.size("window_size", 256);
    const double epsilon = config.number("layer_norm_epsilon", 1e-5);
    const Activation function = parts::activation(config, "activation_function", "gelu_new");

    Program program;
    program.vocabulary_size = config.size("vocab_size");
    program.maximum_length = config.size("max_position_embeddings");
    const parts::Module model{program, "transformer."};
    const ParameterId table = model.weight("wte", program.vocabulary_size, hidden, embedding);
    Value x = program.embedding(table);
    x = program.positions(x, model.weight("wpe", program.maximum_length, hidden, embedding));
    const std::vector<std::string> kinds = attention_layers(config, layers);
    for (Index layer = 0; layer < layers; ++layer) {
        const parts::Module block{program, "transformer.h." + std::to_string(layer) + "."};
        const std::string attn = "attn.attention.";
        const Value h = block.layer_norm(x, "ln_1", epsilon);
        // Behind the last layer's keys and values only the token that is read matters.
        const bool last = layer == layers - 1;
        const Value q =
            block.linear(last ? program.at_reads(h) : h, attn + "q_proj", hidden, attention, false);
        const Value k = block.linear(h, attn + "k_proj", hidden, attention, false);
        const Value v = block.linear(h, attn + "v_proj", hidden, attention, false);
        const bool local = kinds[static_cast<std::size_t>(layer)] == "local";
        const Value a = program.attention(
            {q, k, v, heads, heads, head_size, 1.0, local ? std::optional<Index>(window) : std::nullopt});
        if (last) x = program.at_reads(x);
        x = program.add(x, block.linear(a, attn + "out_proj", hidden, attention));
        const Value m = block.linear(block.layer_norm(x, "ln_2", epsilon), "mlp.c_fc", intermediate, mlp);
        x = program.add(x, block.linear(program.activate(m, function), "mlp.c_proj", hidden, mlp));
    }
    x = model.layer_norm(x, "ln_f", epsilon);
    const bool tied = config.flag("tie_word_embeddings", true);
    parts::causal_head(program, x, tied ? std::optional(table) : std::nullopt, "lm_head", classifier_labels);
    return program;
}

}  // namespace tangram
