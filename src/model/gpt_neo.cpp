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
            if (kind != "global" && kind != "local") config.refuse(key, "supported: \"global\" and \"local\"");
            kinds.push_back(kind.get<std::string>());
        }
    };
    if (!value.is_array()) config.refuse(key, "it must be a list");
    if (config.has("attention_layers")) {
        append(value);
    } else {
        for (const auto& entry : value) {
            if (!entry.is_array() || entry.size() != 2 || !entry[0].is_array() || !entry[1].is_number_unsigned())
                config.refuse(key, "it must be a list of [[kinds], count]");
            const auto count = entry[1].get<std::uint64_t>();
            for (std::uint64_t i = 0; i < count && std::ssize(kinds) <= layers; ++i) append(entry[0]);
        }
    }
    if (std::ssize(kinds) != layers) config.refuse(key, "it must name num_layers layers");
    return kinds;
}

}  // namespace

/// GPTNeoForCausalLM: learned positions, layer norms before attention and MLP, global and local attention, scores
/// without 1/sqrt(head size), q/k/v without bias (Black et al. 2021; tensor names as Hugging Face stores them).
Program gpt_neo(const Config& config) {
    using enum ParameterKind;
    const Index hidden = config.size("hidden_size");
    const Index heads = config.size("num_heads");
    const Index layers = config.size("num_layers");
    const Index intermediate = config.size("intermediate_size", 4 * hidden);
    const Index window = config.size("window_size", 256);
    const double epsilon = config.number("layer_norm_epsilon", 1e-5);
    if (hidden % heads != 0) config.refuse("num_heads", "it must divide hidden_size");
    if (config.text("activation_function", "gelu_new") != "gelu_new")
        config.refuse("activation_function", "supported: gelu_new");

    Program program;
    program.vocabulary_size = config.size("vocab_size");
    program.maximum_length = config.size("max_position_embeddings");
    const auto weight = [&](const std::string& name, Index d_out, Index d_in, ParameterKind kind) {
        return program.parameter(name + ".weight", {d_out, d_in}, kind);
    };
    const auto bias = [&](const std::string& name, Index d, ParameterKind kind) {
        return program.parameter(name + ".bias", {d}, kind);
    };
    const auto norm_at = [&](Value in, const std::string& name) {
        const ParameterId w = program.parameter(name + ".weight", {hidden}, norm);
        return program.layer_norm(in, w, bias(name, hidden, norm), epsilon);
    };

    const ParameterId table = weight("transformer.wte", program.vocabulary_size, hidden, embedding);
    Value x = program.embedding(table);
    x = program.positions(x, weight("transformer.wpe", program.maximum_length, hidden, embedding));
    const std::vector<std::string> kinds = attention_layers(config, layers);
    for (Index layer = 0; layer < layers; ++layer) {
        const std::string at = "transformer.h." + std::to_string(layer) + ".";
        const std::string attn = at + "attn.attention.";
        const Value h = norm_at(x, at + "ln_1");
        // Behind the last layer's keys and values only the token that is read matters.
        const bool last = layer == layers - 1;
        const Value q =
            program.linear(last ? program.at_reads(h) : h, weight(attn + "q_proj", hidden, hidden, attention));
        const Value k = program.linear(h, weight(attn + "k_proj", hidden, hidden, attention));
        const Value v = program.linear(h, weight(attn + "v_proj", hidden, hidden, attention));
        const bool local = kinds[static_cast<std::size_t>(layer)] == "local";
        const Value a = program.attention({q, k, v, heads, heads, hidden / heads, 1.0,
                                           local ? std::optional<Index>(window) : std::nullopt, {}});
        if (last) x = program.at_reads(x);
        const ParameterId out = weight(attn + "out_proj", hidden, hidden, attention);
        x = program.add(x, program.linear(a, out, bias(attn + "out_proj", hidden, attention)));
        const Value m = norm_at(x, at + "ln_2");
        const ParameterId fc = weight(at + "mlp.c_fc", intermediate, hidden, mlp);
        const Value inner = program.linear(m, fc, bias(at + "mlp.c_fc", intermediate, mlp));
        const Value active = program.activate(inner, Activation::gelu_new);
        const ParameterId proj = weight(at + "mlp.c_proj", hidden, intermediate, mlp);
        x = program.add(x, program.linear(active, proj, bias(at + "mlp.c_proj", hidden, mlp)));
    }
    x = norm_at(x, "transformer.ln_f");
    const bool tied = config.flag("tie_word_embeddings", true);
    program.label_logits(x, tied ? table : weight("lm_head", program.vocabulary_size, hidden, head));
    return program;
}

}  // namespace tangram
