#include "tangram/study/keys.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace tangram {

namespace {

std::vector<Key> model_keys() {
    return {
        {"model.path", [](Study& s) { return StudyValue(&s.model.path); }, Path{true}, Decides::model,
         "Hugging Face folder: config.json, model.safetensors or a sharded index, tokenizer.json"},
        {"model.init", [](Study& s) { return StudyValue(&s.model.init); },
         Choices{{{"pretrained", ""}, {"random", ""}, {"mixed", "pretrained body, drawn head"}}},
         Decides::kernel, ""},
        {"model.adapter", [](Study& s) { return StudyValue(&s.model.adapter); },
         Path{false, {"auto", "none"}}, Decides::model,
         "a folder with adapter_config.json and adapter_model.safetensors; auto: the model's where it has "
         "them; "
         "none. With kernel.lora_rank its factors are the parameters, else they are added to the weights"},
        {"model.head", [](Study& s) { return StudyValue(&s.model.head); },
         Choices{{{"lm", "logits of the label words"},
                  {"classifier", "a new linear head"},
                  {"checkpoint", "the trained one of a *ForSequenceClassification, labels from id2label"}}},
         Decides::kernel, ""},
        {"model.head_init", [](Study& s) { return StudyValue(&s.model.head_init); },
         Choices{{{"random", ""}, {"least-squares", "the classifier fitted to the training features"}}},
         Decides::kernel, ""},
        {"model.seed", [](Study& s) { return StudyValue(&s.model.seed); }, Anything{}, Decides::kernel,
         "of every drawn weight"},
    };
}

std::vector<Key> data_keys() {
    using Data = Study::Data;
    return {
        {"tasks.name", [](Study::Task& t) { return StudyValue(&t.name); }, Anything{}, Decides::kernel,
         "of the task"},
        {"data.train", [](Data& d) { return StudyValue(&d.train); }, Path{true}, Decides::examples,
         ".tsv, .csv, .jsonl, or .h5 already tokenised"},
        {"data.test", [](Data& d) { return StudyValue(&d.test); }, Path{false}, Decides::examples,
         "the same; empty: none"},
        {"data.text", [](Data& d) { return StudyValue(&d.text); }, Anything{}, Decides::examples,
         "column of the text"},
        {"data.label", [](Data& d) { return StudyValue(&d.label); }, Anything{}, Decides::examples,
         "column of the label"},
        {"data.labels", [](Data& d) { return StudyValue(&d.labels); }, Anything{}, Decides::examples,
         "names of the labels, in order, where the column holds names"},
        {"data.template", [](Data& d) { return StudyValue(&d.tmpl); }, Anything{}, Decides::examples,
         "\"{column}\" is replaced; \"[MASK]\" marks the token that a masked model predicts"},
        {"data.label_words", [](Data& d) { return StudyValue(&d.label_words); }, Anything{},
         Decides::examples, "one word per label, each a single token, or with another score several"},
        {"data.score", [](Data& d) { return StudyValue(&d.score); },
         Choices{{{"logit", "of the word's one token"},
                  {"log-likelihood", "of all of the word's tokens behind the template"},
                  {"mean-log-likelihood", "its mean over them"}}},
         Decides::kernel, ""},
        {"data.completion", [](Data& d) { return StudyValue(&d.completion); }, Anything{}, Decides::examples,
         "column of each example's own text in place of label words: one row per example, no targets"},
        {"data.max_length", [](Data& d) { return StudyValue(&d.max_length); }, Bounds{1, {}},
         Decides::examples, "tokens of an example, special ones included"},
        {"data.samples", [](Data& d) { return StudyValue(&d.samples); }, Bounds{0, {}}, Decides::examples,
         "training examples drawn without replacement; 0: all; fewer are a prefix of more"},
        {"data.test_samples", [](Data& d) { return StudyValue(&d.test_samples); }, Bounds{0, {}},
         Decides::examples, "test examples; 0: all"},
        // Draws a sketch and the rates' subsets too.
        {"data.seed", [](Data& d) { return StudyValue(&d.seed); }, Anything{}, Decides::kernel,
         "of the drawing"},
    };
}

std::vector<Key> kernel_keys() {
    return {
        {"kernel.parameters", [](Study& s) { return StudyValue(StringOrList{&s.kernel.parameters}); },
         Anything{}, Decides::parameters,
         "all | attention | mlp | norm | embedding | head, or a list of patterns of tensor names"},
        {"kernel.lora_rank", [](Study& s) { return StudyValue(&s.kernel.lora_rank); }, Bounds{0, 65536},
         Decides::kernel, "> 0: the parameters are LoRA factors of the selected linear layers"},
        {"kernel.lora_alpha", [](Study& s) { return StudyValue(&s.kernel.lora_alpha); }, Bounds{0, {}},
         Decides::kernel, "scale of LoRA; 0: the rank"},
        {"kernel.lora_seed", [](Study& s) { return StudyValue(&s.kernel.lora_seed); }, Anything{},
         Decides::kernel, "of LoRA's A"},
        {"kernel.output", [](Study& s) { return StudyValue(&s.kernel.output); },
         Choices{{{"margin", ""}, {"logits", ""}, {"trace", ""}, {"sum", ""}, {"loss", ""}}, true},
         Decides::outputs, "empty: margin for two labels, else logits"},
        {"kernel.formula", [](Study& s) { return StudyValue(StringOrList{&s.kernel.formula}); },
         Choices{{{"sgd", ""}, {"signgd", ""}, {"asymmetric-signgd", ""}}}, Decides::kernel,
         "the first one's spectrum gives the rates"},
        {"kernel.precision", [](Study& s) { return StudyValue(&s.kernel.precision); },
         Choices{{{"mixed", "float32 products, float64 sums"}, {"double", ""}}}, Decides::kernel, ""},
        {"kernel.sketch", [](Study& s) { return StudyValue(&s.kernel.sketch); }, Bounds{0, 1 << 30},
         Decides::kernel,
         "> 0: sketch dimension of linear layers that take at most half of the flops so; 0: exact"},
        {"kernel.groups", [](Study& s) { return StudyValue(&s.kernel.groups); },
         Choices{{{"none", ""}, {"kind", ""}, {"layer", ""}}}, Decides::kernel,
         "also keep the Gram matrix of each group"},
    };
}

std::vector<Key> spectrum_keys() {
    return {
        {"spectrum.solver", [](Study& s) { return StudyValue(&s.spectrum.solver); },
         Choices{{{"auto", ""},
                  {"lapack", ""},
                  {"scalapack-dc", ""},
                  {"scalapack-mrrr", ""},
                  {"elpa1", ""},
                  {"elpa2", ""},
                  {"cusolver", "on a GPU; what finds no room there is solved as by auto"},
                  {"lanczos", "block Lanczos, of matrix = \"free\""}}},
         Decides::spectrum, ""},
        {"spectrum.vectors", [](Study& s) { return StudyValue(&s.spectrum.vectors); }, Anything{},
         Decides::spectrum, "eigenvectors too; the rates need them"},
        {"spectrum.count", [](Study& s) { return StudyValue(&s.spectrum.count); }, Bounds{0, {}},
         Decides::spectrum, "the largest eigenpairs alone; 0: all. The rates are then bounds"},
        {"spectrum.block", [](Study& s) { return StudyValue(&s.spectrum.block); }, Bounds{0, {}},
         Decides::spectrum, "block of the block-cyclic layout; 0: chosen"},
        {"spectrum.matrix", [](Study& s) { return StudyValue(&s.spectrum.matrix); },
         Choices{
             {{"formed", ""},
              {"free", "x -> J (J^T x), nothing of size N x N; with spectrum.count or spectrum.density"}}},
         Decides::spectrum, ""},
        {"spectrum.density", [](Study& s) { return StudyValue(&s.spectrum.density); }, Anything{},
         Decides::spectrum, "how the eigenvalues are spread, in bins of half a decade with intervals"},
    };
}

std::vector<Key> rates_keys() {
    return {
        {"rates.noise", [](Study& s) { return StudyValue(&s.rates.noise); }, Bounds{0, 1e100}, Decides::rates,
         "sigma, or auto: estimated"},
        {"rates.radius", [](Study& s) { return StudyValue(&s.rates.radius); }, Bounds{{}, {}, true},
         Decides::rates, "RKHS norm of the target, or auto: estimated"},
        {"rates.step_size", [](Study& s) { return StudyValue(NumbersOrAuto{&s.rates.step_size}); },
         Bounds{{}, {}, true}, Decides::rates,
         "learning rate, a list that does not grow, or auto: 1/l_1 of G/n"},
        {"rates.center", [](Study& s) { return StudyValue(FlagOrWord{&s.rates.center}); },
         Choices{{{"true", "the residual's training mean is taken out and added back to predictions"},
                  {"false", ""},
                  {"kernel", "and the kernel's functions are centred too"}}},
         Decides::rates, ""},
        {"rates.window", [](Study& s) { return StudyValue(&s.rates.window); }, Bounds{1, {}}, Decides::rates,
         "[first, last]: ranks of the decay fit, at least five; empty: chosen"},
        {"rates.sizes", [](Study& s) { return StudyValue(&s.rates.sizes); }, Bounds{2, {}}, Decides::rates,
         "of the learning curve; empty: powers of two from 128 up to n, and n"},
        {"rates.repeats", [](Study& s) { return StudyValue(&s.rates.repeats); }, Bounds{1, 10000},
         Decides::rates, "random nested subsets per size"},
        {"rates.neighbours", [](Study& s) { return StudyValue(&s.rates.neighbours); }, Bounds{0, {}},
         Decides::rates, "> 0: regression on as many nearest training examples"},
    };
}

std::vector<Key> finetune_keys() {
    return {
        {"finetune.optimizer", [](Study& s) { return StudyValue(&s.finetune.optimizer); },
         Choices{{{"gd", "all examples at once"},
                  {"sgd", "batches"},
                  {"signgd", "signs of the gradient"},
                  {"adamw", ""}}},
         Decides::finetune, ""},
        {"finetune.loss", [](Study& s) { return StudyValue(&s.finetune.loss); },
         Choices{{{"squared", "half the mean over the kernel's rows"}, {"cross-entropy", "over the labels"}}},
         Decides::finetune, ""},
        {"finetune.learning_rate", [](Study& s) { return StudyValue(&s.finetune.learning_rate); },
         Bounds{{}, {}, true}, Decides::finetune,
         "or auto: 1/l_1 of G/n over the loss's largest curvature, less for batches (gd and sgd)"},
        {"finetune.steps", [](Study& s) { return StudyValue(&s.finetune.steps); }, Bounds{1, {}},
         Decides::finetune, "or auto: twice the stopping step T of the rates"},
        {"finetune.batch", [](Study& s) { return StudyValue(&s.finetune.batch); }, Bounds{0, {}},
         Decides::finetune, "examples of a step; 0: all"},
        {"finetune.momentum", [](Study& s) { return StudyValue(&s.finetune.momentum); }, Bounds{0, 0.999999},
         Decides::finetune, "of sgd"},
        {"finetune.weight_decay", [](Study& s) { return StudyValue(&s.finetune.weight_decay); },
         Bounds{0, {}}, Decides::finetune, "in the gradient (sgd), apart from it (adamw)"},
        {"finetune.schedule", [](Study& s) { return StudyValue(&s.finetune.schedule); },
         Choices{{{"constant", ""}, {"linear", "down to 0"}, {"cosine", "half a period, down to 0"}}},
         Decides::finetune, ""},
        {"finetune.seed", [](Study& s) { return StudyValue(&s.finetune.seed); }, Anything{},
         Decides::finetune, "of the batches"},
    };
}

std::vector<Key> output_keys() {
    return {
        {"output.path", [](Study& s) { return StudyValue(&s.output.path); }, Path{true}, Decides::nothing,
         "the HDF5 file"},
        {"output.save_gram", [](Study& s) { return StudyValue(&s.output.save_gram); }, Anything{},
         Decides::nothing, "keep the Gram matrix in the file"},
        {"output.checkpoint_minutes", [](Study& s) { return StudyValue(&s.output.checkpoint_minutes); },
         Bounds{0, {}}, Decides::nothing, "between checkpoints of the Gram stage; 0: only on a signal"},
    };
}

}  // namespace

const std::vector<Key>& keys() {
    static const std::vector<Key> all = [] {
        std::vector<Key> declared;
        for (const auto& section : {model_keys(), data_keys(), kernel_keys(), spectrum_keys(), rates_keys(),
                                    finetune_keys(), output_keys()})
            declared.insert(declared.end(), section.begin(), section.end());
        return declared;
    }();
    return all;
}

bool decides_kernel(Decides decides) {
    switch (decides) {
        case Decides::model:
        case Decides::parameters:
        case Decides::outputs:
        case Decides::examples:
        case Decides::kernel:
            return true;
        case Decides::nothing:
        case Decides::spectrum:
        case Decides::rates:
        case Decides::finetune:
            return false;
    }
    return false;
}

std::string KeyValue::name() const {
    return task ? fmt::format("tasks[{}].{}", *task, key->own_name()) : key->name;
}

std::vector<KeyValue> values_of(Study& study) {
    std::vector<KeyValue> values;
    for (const Key& key : keys()) {
        if (key.decides == Decides::finetune && !study.finetune.asked) continue;
        if (const auto* const of_study = std::get_if<StudyValue (*)(Study&)>(&key.place))
            values.push_back({&key, std::nullopt, (*of_study)(study)});
        const auto* const of_data = std::get_if<StudyValue (*)(Study::Data&)>(&key.place);
        if (of_data != nullptr && study.tasks.empty())
            values.push_back({&key, std::nullopt, (*of_data)(study.data)});
    }
    for (std::size_t t = 0; t < study.tasks.size(); ++t)
        for (const Key& key : keys()) {
            if (const auto* const of_data = std::get_if<StudyValue (*)(Study::Data&)>(&key.place))
                values.push_back({&key, t, (*of_data)(study.tasks[t].data)});
            if (const auto* const of_task = std::get_if<StudyValue (*)(Study::Task&)>(&key.place))
                values.push_back({&key, t, (*of_task)(study.tasks[t])});
        }
    return values;
}

std::string text_of(const StudyValue& value) {
    return std::visit(
        [](const auto& at) -> std::string {
            using Type = std::decay_t<decltype(at)>;
            if constexpr (std::is_same_v<Type, std::optional<double>*> ||
                          std::is_same_v<Type, std::optional<Index>*>)
                return *at ? fmt::format("{}", **at) : "auto";
            else if constexpr (std::is_same_v<Type, NumbersOrAuto>)
                return at.values->empty() ? "auto" : fmt::format("{}", *at.values);
            else if constexpr (std::is_same_v<Type, StringOrList>)
                return fmt::format("{}", *at.values);
            else if constexpr (std::is_same_v<Type, FlagOrWord>)
                return *at.word;
            else
                return fmt::format("{}", *at);
        },
        value);
}

void add_values(Inputs& inputs, const Study& study, Decides decides) {
    Study copy = study;
    for (const KeyValue& at : values_of(copy))
        if (at.key->decides == decides) inputs.add(at.name(), text_of(at.value));
}

bool decides_a_result(const std::string& name) {
    return std::ranges::none_of(
        keys(), [&](const Key& key) { return key.name == name && key.decides == Decides::nothing; });
}

}  // namespace tangram
