#include <cmath>

#include "parts.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

namespace {

/// There is no key for it.
constexpr double epsilon = 1e-12;

/// The masked-language-model head behind the features of the token that is read.
void masked_head(Program& program, Value x, ParameterId table, bool tied, Activation function) {
    using enum ParameterKind;
    const parts::Module root{program, ""};
    const Index hidden = program.shape(x).width;
    x = program.activate(root.linear(x, "vocab_transform", hidden, head), function);
    x = root.layer_norm(x, "vocab_layer_norm", epsilon);
    const ParameterId bias = root.bias("vocab_projector", program.vocabulary_size, head);
    if (tied) program.copy_of("vocab_projector.weight", table);
    program.label_logits(
        x, tied ? table : root.weight("vocab_projector", program.vocabulary_size, hidden, head), bias);
}

/// The head of a DistilBertForSequenceClassification.
void trained_head(Program& program, Value x, Index labels) {
    using enum ParameterKind;
    const parts::Module root{program, ""};
    const Index hidden = program.shape(x).width;
    x = program.activate(root.linear(x, "pre_classifier", hidden, head), Activation::relu);
    const ParameterId weight = root.weight("classifier", labels, hidden, head);
    program.label_logits(x, weight, root.bias("classifier", labels, head));
}

/// @param trained  whether the classifier's head is that of the folder
Program encoder(const Config& config, std::optional<Index> classifier_labels, bool trained) {
    using enum ParameterKind;
    const Index hidden = parts::size(config, "dim", "hidden_size", 768);
    const Index heads = parts::size(config, "n_heads", "num_attention_heads", 12);
    const Index head_size = parts::head_size(config, "n_heads", heads, hidden);
    const Index layers = parts::size(config, "n_layers", "num_hidden_layers", 6);
    const Index inner = config.size("hidden_dim", 3072);
    const Activation function = parts::activation(config, "activation", "gelu");
    if (config.flag("sinusoidal_pos_embds", false))
        config.refuse(ErrorKind::unsupported, "sinusoidal_pos_embds", "supported: false");

    Program program;
    program.vocabulary_size = config.size("vocab_size", 30522);
    program.maximum_length = config.size("max_position_embeddings", 512);
    program.reading = classifier_labels ? Reading::first_token : Reading::mask_token;
    const parts::Module tables{program, "distilbert.embeddings."};
    const ParameterId table = tables.weight("word_embeddings", program.vocabulary_size, hidden, embedding);
    Value x = program.embedding(table);
    x = program.positions(x, tables.weight("position_embeddings", program.maximum_length, hidden, embedding));
    x = tables.layer_norm(x, "LayerNorm", epsilon);
    for (Index layer = 0; layer < layers; ++layer) {
        const parts::Module block{program, "distilbert.transformer.layer." + std::to_string(layer) + "."};
        // Behind the last layer's keys and values only the token that is read matters.
        const bool last = layer == layers - 1;
        const Value q = block.linear(last ? program.at_reads(x) : x, "attention.q_lin", hidden, attention);
        const Value k = block.linear(x, "attention.k_lin", hidden, attention);
        program.idle(program.parameters().size() - 1, 0, hidden);  // softmax does not see a shift of all keys
        const Value v = block.linear(x, "attention.v_lin", hidden, attention);
        const double scale = 1.0 / std::sqrt(static_cast<double>(head_size));
        const Value a = program.attention({q, k, v, heads, heads, head_size, scale, std::nullopt, {}, false});
        if (last) x = program.at_reads(x);
        x = program.add(x, block.linear(a, "attention.out_lin", hidden, attention));
        x = block.layer_norm(x, "sa_layer_norm", epsilon);
        const Value wide = program.activate(block.linear(x, "ffn.lin1", inner, mlp), function);
        x = program.add(x, block.linear(wide, "ffn.lin2", hidden, mlp));
        x = block.layer_norm(x, "output_layer_norm", epsilon);
    }
    const bool tied = config.flag("tie_word_embeddings", true);
    if (classifier_labels && trained)
        trained_head(program, x, *classifier_labels);
    else if (classifier_labels)
        parts::first_token_classifier(program, x, *classifier_labels);
    else
        masked_head(program, x, table, tied, function);
    return program;
}

}  // namespace

/// DistilBertForMaskedLM: BERT without token types, under other names (Sanh et al. 2019; transformers'
/// modeling_distilbert).
Program distilbert(const Config& config, std::optional<Index> classifier_labels) {
    return encoder(config, classifier_labels, false);
}

Program distilbert_with_trained_head(const Config& config, Index labels) {
    return encoder(config, labels, true);
}

}  // namespace tangram
