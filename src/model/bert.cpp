#include <cmath>

#include "parts.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

namespace {

/// What tells the three apart.
struct Names {
    std::string model;                          ///< prefix
    std::string dense, norm, bias, decoder;     ///< of the masked-language-model head
    std::optional<Activation> head_activation;  ///< nothing: hidden_act
    Index first_position;                       ///< row of the position table of an example's first token
    std::string trained_dense, trained_output;  ///< of the sequence classifier's head
    Activation trained_activation = Activation::tanh;
    Index embedding_size = 0;  ///< of the tables and the masked-language-model head; 0: hidden_size
};

/// A classifier's head on the features of the first token.
enum class ClassifierHead { drawn, trained };

/// classifier.weight and .bias, or the layers of a *ForSequenceClassification: dense, activation, output.
void classifier_head(Program& program, Value x, const Names& names, Index labels, ClassifierHead which) {
    using enum ParameterKind;
    const parts::Module root{program, ""};
    const bool trained = which == ClassifierHead::trained;
    const Index hidden = program.shape(x).width;
    if (trained)
        x = program.activate(root.linear(x, names.trained_dense, hidden, head), names.trained_activation);
    const std::string name = trained ? names.trained_output : "classifier";
    const ParameterId weight = root.weight(name, labels, hidden, head);
    program.label_logits(x, weight, root.bias(name, labels, head));
}

/// The masked-language-model head behind the features of the token that is read.
void masked_head(Program& program, Value x, const Config& config, const Names& names, ParameterId table,
                 bool tied) {
    using enum ParameterKind;
    const parts::Module root{program, ""};
    const Index width = program.parameters()[table].shape.back();
    x = program.activate(root.linear(x, names.dense, width, head),
                         names.head_activation.value_or(parts::activation(config, "hidden_act", "gelu")));
    x = root.layer_norm(x, names.norm, config.number("layer_norm_eps", 1e-12));
    const ParameterId bias = program.parameter(names.bias, {program.vocabulary_size}, head);
    program.copy_of(names.decoder + ".bias", bias);
    if (tied) program.copy_of(names.decoder + ".weight", table);
    program.label_logits(x, tied ? table : root.weight(names.decoder, program.vocabulary_size, width, head),
                         bias);
}

/// BertForMaskedLM, ElectraForMaskedLM and RobertaForMaskedLM (XLM-RoBERTa's and CamemBERT's classes are
/// RoBERTa's under other names, with its tensors' names and defaults): learned positions, token types, norms
/// behind attention and MLP, every token sees all others; masked-language-model head (Devlin et al. 2019, Liu
/// et al. 2019; names as Hugging Face stores them).
Program encoder(const Config& config, const Names& names, std::optional<Index> classifier_labels,
                ClassifierHead which) {
    using enum ParameterKind;
    const Index hidden = config.size("hidden_size");
    const Index heads = config.size("num_attention_heads");
    const Index head_size = parts::head_size(config, "num_attention_heads", heads, hidden);
    const Index layers = config.size("num_hidden_layers");
    const Index inner = config.size("intermediate_size");
    const Index positions = config.size("max_position_embeddings");
    const double epsilon = config.number("layer_norm_eps", 1e-12);
    const Activation function = parts::activation(config, "hidden_act", "gelu");
    if (config.text("position_embedding_type", "absolute") != "absolute")
        config.refuse(ErrorKind::unsupported, "position_embedding_type", "supported: absolute");
    if (config.flag("is_decoder", false))
        config.refuse(ErrorKind::unsupported, "is_decoder", "supported: false");
    if (config.flag("add_cross_attention", false))
        config.refuse(ErrorKind::unsupported, "add_cross_attention", "supported: false");
    if (config.has("pruned_heads") && !config.at("pruned_heads").empty())
        config.refuse(ErrorKind::unsupported, "pruned_heads", "supported: none");
    const bool tied = config.flag("tie_word_embeddings", true);
    if (positions <= names.first_position)
        config.refuse(ErrorKind::out_of_range, "max_position_embeddings",
                      "it leaves no position behind the padding's");

    Program program;
    program.vocabulary_size = config.size("vocab_size");
    program.maximum_length = positions - names.first_position;
    if (names.first_position > 0) program.padding_id = static_cast<std::int32_t>(names.first_position - 1);
    program.reading = classifier_labels ? Reading::first_token : Reading::mask_token;
    const parts::Module tables{program, names.model + "embeddings."};
    const Index width = names.embedding_size > 0 ? names.embedding_size : hidden;
    const ParameterId table = tables.weight("word_embeddings", program.vocabulary_size, width, embedding);
    Value x = program.embedding(table);
    x = program.token_type(
        x, tables.weight("token_type_embeddings", config.size("type_vocab_size", 2), width, embedding));
    x = program.positions(x, tables.weight("position_embeddings", positions, width, embedding),
                          names.first_position);
    x = tables.layer_norm(x, "LayerNorm", epsilon);
    if (width != hidden) x = parts::Module{program, names.model}.linear(x, "embeddings_project", hidden, mlp);
    for (Index layer = 0; layer < layers; ++layer) {
        const parts::Module block{program, names.model + "encoder.layer." + std::to_string(layer) + "."};
        // Behind the last layer's keys and values only the token that is read matters.
        const bool last = layer == layers - 1;
        const Value q =
            block.linear(last ? program.at_reads(x) : x, "attention.self.query", hidden, attention);
        const ParameterId key = block.weight("attention.self.key", hidden, hidden, attention);
        const ParameterId key_bias = block.bias("attention.self.key", hidden, attention);
        program.idle(key_bias, 0, hidden);  // softmax does not see a shift of all keys
        const Value k = program.linear(x, key, key_bias);
        const Value v = block.linear(x, "attention.self.value", hidden, attention);
        const double scale = 1.0 / std::sqrt(static_cast<double>(head_size));
        const Value a = program.attention({q, k, v, heads, heads, head_size, scale, std::nullopt, {}, false});
        if (last) x = program.at_reads(x);
        x = program.add(x, block.linear(a, "attention.output.dense", hidden, attention));
        x = block.layer_norm(x, "attention.output.LayerNorm", epsilon);
        const Value wide = program.activate(block.linear(x, "intermediate.dense", inner, mlp), function);
        x = program.add(x, block.linear(wide, "output.dense", hidden, mlp));
        x = block.layer_norm(x, "output.LayerNorm", epsilon);
    }
    if (classifier_labels)
        classifier_head(program, x, names, *classifier_labels, which);
    else
        masked_head(program, x, config, names, table, tied);
    return program;
}

Program bert(const Config& config, std::optional<Index> classifier_labels, ClassifierHead which) {
    return encoder(config,
                   {"bert.", "cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm",
                    "cls.predictions.bias", "cls.predictions.decoder", std::nullopt, 0, "bert.pooler.dense",
                    "classifier"},
                   classifier_labels, which);
}

Program electra(const Config& config, std::optional<Index> classifier_labels, ClassifierHead which) {
    // ElectraConfig's default where the file has none.
    constexpr Index usual_embedding_size = 128;
    return encoder(
        config,
        {"electra.", "generator_predictions.dense", "generator_predictions.LayerNorm",
         "generator_lm_head.bias", "generator_lm_head", Activation::gelu, 0, "classifier.dense",
         "classifier.out_proj", Activation::gelu, config.size("embedding_size", usual_embedding_size)},
        classifier_labels, which);
}

Program roberta(const Config& config, std::optional<Index> classifier_labels, ClassifierHead which) {
    // Position ids count on from the padding token's id.
    const Index padding =
        config.has("pad_token_id") && config.at("pad_token_id") == 0 ? 0 : config.size("pad_token_id", 1);
    return encoder(config,
                   {"roberta.", "lm_head.dense", "lm_head.layer_norm", "lm_head.bias", "lm_head.decoder",
                    Activation::gelu, padding + 1, "classifier.dense", "classifier.out_proj"},
                   classifier_labels, which);
}

}  // namespace

Program bert(const Config& config, std::optional<Index> classifier_labels) {
    return bert(config, classifier_labels, ClassifierHead::drawn);
}

Program bert_with_trained_head(const Config& config, Index labels) {
    return bert(config, labels, ClassifierHead::trained);
}

Program electra(const Config& config, std::optional<Index> classifier_labels) {
    return electra(config, classifier_labels, ClassifierHead::drawn);
}

Program electra_with_trained_head(const Config& config, Index labels) {
    return electra(config, labels, ClassifierHead::trained);
}

Program roberta(const Config& config, std::optional<Index> classifier_labels) {
    return roberta(config, classifier_labels, ClassifierHead::drawn);
}

Program roberta_with_trained_head(const Config& config, Index labels) {
    return roberta(config, labels, ClassifierHead::trained);
}

}  // namespace tangram
