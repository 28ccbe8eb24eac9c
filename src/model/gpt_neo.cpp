#include "parts.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

namespace {

/// "global" or "local" per layer, from attention_layers or, in older files, attention_types.
std::vector<std::string> attention_layers(const Config& config, Index layers) {
    std::vector<std::string> kinds;
    const char* const key = config.has("attention_layers") ? "attention_layers" : "attention_types";
    const nlohmann::json& value = config.at(key);
    const auto append = [&](const nlohmann::json& list) {
        for (const auto& kind : list) {
            if (kind != "global" && kind != "local")
                config.refuse(ErrorKind::unsupported, key, "supported: \"global\" and \"local\"");
            kinds.push_back(kind.get<std::string>());
        }
    };
    if (!value.is_array()) config.refuse(ErrorKind::malformed, key, "it must be a list");
    if (config.has("attention_layers")) {
        append(value);
    } else {
        for (const auto& entry : value) {
            if (!entry.is_array() || entry.size() != 2 || !entry[0].is_array() ||
                !entry[1].is_number_unsigned())
                config.refuse(ErrorKind::malformed, key, "it must be a list of [[kinds], count]");
            const auto count = entry[1].get<std::uint64_t>();
            if (count > static_cast<std::uint64_t>(layers))
                config.refuse(ErrorKind::contradiction, key, "it must name num_layers layers");
            for (std::uint64_t i = 0; i < count && std::ssize(kinds) <= layers; ++i) append(entry[0]);
        }
    }
    if (std::ssize(kinds) != layers)
        config.refuse(ErrorKind::contradiction, key, "it must name num_layers layers");
    return kinds;
}

}  // namespace

/// GPTNeoForCausalLM: learned positions, layer norms before attention and MLP, global and local attention,
/// scores without 1/sqrt(head size), q/k/v without bias (Black et al. 2021; tensor names as Hugging Face
/// stores them).
Program gpt_neo(const Config& config, std::optional<Index> classifier_labels) {
    using enum ParameterKind;
    const Index hidden = config.size("hidden_size");
    const Index heads = config.size("num_heads");
    const Index head_size = parts::head_size(config, "num_heads", hidden);
    const Index layers = config.size("num_layers");
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
