#include <cmath>

#include "decoder.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

namespace {

using enum ParameterKind;

struct ModernBertSizes {
    Index hidden, heads, head_size, inner;
    double epsilon;
    Activation function;
    bool attention_bias, mlp_bias, norm_bias;
};

Value modernbert_layer(Program& program, Value x, Index number, bool last, const parts::DecoderLayer& layer,
                       const ModernBertSizes& of) {
    const parts::Module block{program, "model.layers." + std::to_string(number) + "."};
    const Value h = number > 0 ? block.layer_norm(x, "attn_norm", of.epsilon, of.norm_bias) : x;
    const Value qkv = block.linear(h, "attn.Wqkv", 3 * of.hidden, attention, of.attention_bias);
    const auto third = [&](Index i) { return program.columns(qkv, i * of.hidden, of.hidden, of.hidden, 1); };
    // Behind the last layer's keys and values only the token that is read matters.
    const Value q = program.rotary(last ? program.at_reads(third(0)) : third(0), of.head_size, *layer.angles);
    const Value k = program.rotary(third(1), of.head_size, *layer.angles);
    const Value a = program.attention({q,
                                       k,
                                       third(2),
                                       of.heads,
                                       of.heads,
                                       of.head_size,
                                       1.0 / std::sqrt(static_cast<double>(of.head_size)),
                                       layer.window,
                                       {},
                                       false});
    if (last) x = program.at_reads(x);
    x = program.add(x, block.linear(a, "attn.Wo", of.hidden, attention, of.attention_bias));
    const Value m = block.layer_norm(x, "mlp_norm", of.epsilon, of.norm_bias);
    const Value both = block.linear(m, "mlp.Wi", 2 * of.inner, mlp, of.mlp_bias);
    const Value gate = program.activate(program.columns(both, 0, of.inner, of.inner, 1), of.function);
    const Value gated = program.multiply(gate, program.columns(both, of.inner, of.inner, of.inner, 1));
    return program.add(x, block.linear(gated, "mlp.Wo", of.hidden, mlp, of.mlp_bias));
}

/// What the trained heads share, behind the features that are read.
Value prediction_head(Program& program, Value x, const Config& config, const ModernBertSizes& of) {
    const parts::Module root{program, ""};
    x = root.linear(x, "head.dense", of.hidden, head, config.flag("classifier_bias", false));
    x = program.activate(x, parts::activation(config, "classifier_activation", "gelu"));
    return root.layer_norm(x, "head.norm", of.epsilon, of.norm_bias);
}

/// The masked-language-model head behind the features of the token that is read.
void modernbert_head(Program& program, Value x, ParameterId table, const Config& config,
                     const ModernBertSizes& of) {
    const parts::Module root{program, ""};
    x = prediction_head(program, x, config, of);
    const bool tied = config.flag("tie_word_embeddings", true);
    if (tied) program.copy_of("decoder.weight", table);
    const ParameterId weight =
        tied ? table : root.weight("decoder", program.vocabulary_size, of.hidden, head);
    program.label_logits(x, weight,
                         config.flag("decoder_bias", true)
                             ? std::optional(root.bias("decoder", program.vocabulary_size, head))
                             : std::nullopt);
}

/// The head of a ModernBertForSequenceClassification.
void trained_head(Program& program, Value x, const Config& config, const ModernBertSizes& of, Index labels) {
    const parts::Module root{program, ""};
    x = prediction_head(program, x, config, of);
    const ParameterId weight = root.weight("classifier", labels, of.hidden, head);
    program.label_logits(x, weight, root.bias("classifier", labels, head));
}

/// Whether a trained classifier reads the mean over all tokens, and not the first.
bool reads_mean(const Config& config) {
    const std::string pooling = config.text("classifier_pooling", "cls");
    if (pooling != "cls" && pooling != "mean")
        config.refuse(ErrorKind::unsupported, "classifier_pooling", "supported: cls, mean");
    return pooling == "mean";
}

/// @param trained  whether the classifier's head is that of the folder
Program encoder(const Config& config, std::optional<Index> classifier_labels, bool trained) {
    const Index hidden = config.size("hidden_size", 768), heads = config.size("num_attention_heads", 12);
    const ModernBertSizes of{hidden,
                             heads,
                             parts::head_size(config, "num_attention_heads", heads, hidden),
                             config.size("intermediate_size", 1152),
                             config.number("norm_eps", 1e-5),
                             parts::activation(config, "hidden_activation", "gelu"),
                             config.flag("attention_bias", false),
                             config.flag("mlp_bias", false),
                             config.flag("norm_bias", false)};
    if (of.head_size % 2 != 0)
        config.refuse(ErrorKind::out_of_range, "num_attention_heads",
                      "rotary positions need an even head size");
    const Index layers = config.size("num_hidden_layers", 22);
    const Index period = config.size("global_attn_every_n_layers", 3);
    std::vector<bool> own;
    for (Index i = 0; i < layers; ++i) own.push_back(i % period != 0);
    const std::vector<bool> local = parts::sliding_layers(config, own);
    if (local != own)
        config.note(
            "layer_types counts, global_attn_every_n_layers says otherwise; transformers before 5 went by "
            "the latter");
    const Index window = config.size("local_attention", 128) / 2;  // on each side
    if (window == 0) config.refuse(ErrorKind::out_of_range, "local_attention", "it must be 2 or more");
    const auto angles = [&](double theta, const char* key, const char* type) {
        return parts::rotary_angles(config, of.head_size,
                                    {.theta = theta, .theta_key = key, .layer_type = type});
    };
    // null is the global base, as in transformers 4.
    const bool one_base = config.names("local_rope_theta") && !config.has("local_rope_theta");
    const double local_base = one_base ? config.number("global_rope_theta", 160000) : 10000;
    const parts::DecoderLayer everywhere{std::nullopt, angles(160000, "global_rope_theta", "full_attention")},
        near{window, angles(local_base, "local_rope_theta", "sliding_attention")};
    config.names("layer_norm_eps");  // in published files, of no effect

    Program program;
    program.vocabulary_size = config.size("vocab_size", 50368);
    program.maximum_length = config.size("max_position_embeddings", 8192);
    program.reading = classifier_labels ? Reading::first_token : Reading::mask_token;
    const parts::Module model{program, "model."};
    const ParameterId table =
        model.weight("embeddings.tok_embeddings", program.vocabulary_size, hidden, embedding);
    Value x = model.layer_norm(program.embedding(table), "embeddings.norm", of.epsilon, of.norm_bias);
    const bool mean = trained && reads_mean(config);
    for (Index i = 0; i < layers; ++i)
        x = modernbert_layer(program, x, i, i == layers - 1 && !mean,
                             local[static_cast<std::size_t>(i)] ? near : everywhere, of);
    x = model.layer_norm(x, "final_norm", of.epsilon, of.norm_bias);
    if (mean) x = program.token_mean(x);
    if (classifier_labels && trained)
        trained_head(program, x, config, of, *classifier_labels);
    else if (classifier_labels)
        parts::first_token_classifier(program, x, *classifier_labels);
    else
        modernbert_head(program, x, table, config, of);
    return program;
}

}  // namespace

/// ModernBertForMaskedLM: q, k and v from one matrix, gated MLPs from one, rotary positions, attention to all
/// tokens in every third layer and to those nearby in the others (Warner et al. 2024; transformers'
/// modular_modernbert).
Program modernbert(const Config& config, std::optional<Index> classifier_labels) {
    return encoder(config, classifier_labels, false);
}

Program modernbert_with_trained_head(const Config& config, Index labels) {
    return encoder(config, labels, true);
}

}  // namespace tangram
