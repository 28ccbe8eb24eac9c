#include "checks.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "tangram/error.hpp"
#include "tangram/study/keys.hpp"

namespace tangram {

namespace {

std::vector<double> numbers_of(const StudyValue& value) {
    return std::visit(
        [](const auto& at) -> std::vector<double> {
            using Type = std::decay_t<decltype(at)>;
            if constexpr (std::is_same_v<Type, Index*> || std::is_same_v<Type, double*>)
                return {static_cast<double>(*at)};
            else if constexpr (std::is_same_v<Type, std::vector<Index>*>)
                return {at->begin(), at->end()};
            else if constexpr (std::is_same_v<Type, NumbersOrAuto>)
                return *at.values;
            else if constexpr (std::is_same_v<Type, std::optional<double>*> ||
                               std::is_same_v<Type, std::optional<Index>*>)
                return *at ? std::vector<double>{static_cast<double>(**at)} : std::vector<double>();
            else
                return {};
        },
        value);
}

void check(const KeyValue& at, const Bounds& range) {
    for (const double number : numbers_of(at.value)) {
        const auto refuse_unless = [&](bool holds, const std::string& what) {
            if (!holds)
                refuse(ErrorKind::out_of_range, fmt::format("{} = {} must be {}", at.name(), number, what));
        };
        if (range.least) refuse_unless(number >= *range.least, fmt::format("at least {}", *range.least));
        if (range.most) refuse_unless(number <= *range.most, fmt::format("at most {}", *range.most));
        if (range.positive) refuse_unless(number > 0, "positive");
    }
}

void check(const KeyValue& at, const Choices& allowed) {
    std::vector<std::string> words;
    if (const auto* const word = std::get_if<std::string*>(&at.value)) words = {**word};
    if (const auto* const list = std::get_if<StringOrList>(&at.value)) words = *list->values;
    if (const auto* const flag = std::get_if<FlagOrWord>(&at.value)) words = {*flag->word};
    std::string possible;
    for (const Choices::Choice& choice : allowed.choices)
        possible += fmt::format("{}\"{}\"", possible.empty() ? "" : ", ", choice.word);
    for (const std::string& word : words) {
        if (word.empty() && allowed.or_empty) continue;
        if (std::ranges::find(allowed.choices, word, &Choices::Choice::word) == allowed.choices.end())
            refuse(ErrorKind::unknown_name,
                   fmt::format("{} = \"{}\" is not possible; use one of {}", at.name(), word, possible));
    }
}

void check(const KeyValue&, const Anything&) {}
void check(const KeyValue&, const Path&) {}

void check_step_sizes(const std::vector<double>& step_sizes) {
    double before = std::numeric_limits<double>::infinity();
    for (const double alpha : step_sizes) {
        if (alpha > before)
            refuse(ErrorKind::out_of_range,
                   fmt::format("rates.step_size: {} follows {}; step sizes must not grow", alpha, before));
        before = alpha;
    }
}

void check_window(const std::vector<Index>& window) {
    if (!window.empty() && window.size() != 2)
        refuse(ErrorKind::malformed,
               fmt::format("rates.window has {} entries; write [first, last], the ranks of the decay fit",
                           window.size()));
    if (!window.empty() && window.front() >= window.back())
        refuse(ErrorKind::out_of_range,
               fmt::format("rates.window = [{}, {}]: the first rank must come before the last",
                           window.front(), window.back()));
}

void check_answers(const std::string& prefix, const Study::Data& data, bool classifier) {
    if (classifier && data.score != "logit")
        refuse(ErrorKind::contradiction,
               fmt::format("{}score = \"{}\" needs model.head = \"lm\": a classifier has no vocabulary",
                           prefix, data.score));
    if (data.completion.empty()) return;
    if (data.score == "logit")
        refuse(ErrorKind::contradiction,
               fmt::format("{0}completion needs {0}score = \"log-likelihood\" or \"mean-log-likelihood\"",
                           prefix));
    if (!data.label_words.empty() || !data.labels.empty())
        refuse(
            ErrorKind::contradiction,
            fmt::format("{0}completion takes the place of labels; leave {0}label_words and {0}labels empty",
                        prefix));
}

void check_data(const std::string& prefix, const Study::Data& data, bool classifier, LabelWords words) {
    check_answers(prefix, data, classifier);
    if (!classifier && data.tmpl.empty() && !data.train.ends_with(".h5"))
        refuse(
            ErrorKind::missing,
            prefix + "template is missing; it is needed where head = \"lm\", for example \"{text} It was\"");
    if (words == LabelWords::not_yet) return;
    if (!classifier && data.label_words.size() < 2 && data.completion.empty() && !data.train.ends_with(".h5"))
        refuse(ErrorKind::missing,
               fmt::format("{}label_words {}; give one word per label, for example [\" bad\", \" great\"]",
                           prefix, data.label_words.empty() ? "is missing" : "has one word alone"));
    for (auto at = data.labels.begin(); at != data.labels.end(); ++at)
        if (std::find(data.labels.begin(), at, *at) != at)
            refuse(ErrorKind::contradiction,
                   fmt::format("{}labels names \"{}\" twice; give each label once", prefix, *at));
    if (!data.labels.empty() && !data.label_words.empty() && data.labels.size() != data.label_words.size())
        refuse(
            ErrorKind::contradiction,
            fmt::format("{0}labels names {1} labels, {0}label_words gives {2} words; give one word per label",
                        prefix, data.labels.size(), data.label_words.size()));
}

void check_formulas(const Study& s) {
    const std::vector<std::string>& formulas = s.kernel.formula;
    if (formulas.empty())
        refuse(ErrorKind::degenerate, "kernel.formula is empty; name one, \"sgd\" for example");
    for (std::size_t f = 0; f < formulas.size(); ++f)
        if (std::find(formulas.begin(), formulas.begin() + static_cast<Index>(f), formulas[f]) !=
            formulas.begin() + static_cast<Index>(f))
            refuse(ErrorKind::contradiction, fmt::format("kernel.formula names \"{}\" twice", formulas[f]));
    if (formulas.front() == "asymmetric-signgd")
        refuse(ErrorKind::unsupported,
               "kernel.formula: \"asymmetric-signgd\" is not symmetric and has no spectrum; name another "
               "formula first");
    if (formulas.size() > 1 && !s.output.save_gram)
        refuse(ErrorKind::contradiction, "kernel.formula: several formulas need output.save_gram = true");
    if (s.kernel.sketch > 0 && (formulas.size() > 1 || formulas.front() != "sgd"))
        refuse(
            ErrorKind::contradiction,
            "kernel.sketch is for formula = \"sgd\": the signs of projected gradients are not those of the "
            "gradients");
}

void check_finetune(const Study& s) {
    const auto& f = s.finetune;
    if (!f.asked) return;
    if (!s.tasks.empty() && s.model.head != "lm")
        refuse(ErrorKind::unsupported,
               fmt::format("[finetune] of several tasks is of label words: model.head = \"{}\" goes with "
                           "[data] in place of [[tasks]]; use \"lm\"",
                           s.model.head));
    if (!s.tasks.empty() && f.optimizer == "signgd")
        refuse(
            ErrorKind::unsupported,
            "finetune.optimizer = \"signgd\" goes with [data] in place of [[tasks]]; use gd, sgd or adamw");
    if (!s.kernel.output.empty() && s.kernel.output != "margin" && s.kernel.output != "logits")
        refuse(ErrorKind::unsupported,
               fmt::format("kernel.output = \"{}\" is no output that training follows row by row; with "
                           "[finetune] use \"margin\" or \"logits\"",
                           s.kernel.output));
    if (score_of(s) != "logit")
        refuse(
            ErrorKind::unsupported,
            fmt::format("data.score = \"{}\" is not what [finetune] trains on; use \"logit\"", score_of(s)));
    if (!s.output.save_gram)
        refuse(ErrorKind::contradiction,
               "[finetune] needs output.save_gram = true: the linearised model is made from the Gram matrix");
    if (f.optimizer == "gd" && f.batch > 0)
        refuse(ErrorKind::contradiction, fmt::format("finetune.batch = {} goes with optimizer = \"sgd\"; "
                                                     "\"gd\" takes all examples at once",
                                                     f.batch));
    if (f.momentum > 0 && f.optimizer != "sgd")
        refuse(ErrorKind::contradiction,
               fmt::format("finetune.momentum = {} goes with optimizer = \"sgd\"", f.momentum));
    if (f.weight_decay > 0 && f.optimizer == "signgd")
        refuse(ErrorKind::contradiction, "finetune.weight_decay does not go with optimizer = \"signgd\"");
    const bool rule_without_rate = f.optimizer == "signgd" || f.optimizer == "adamw";
    if (rule_without_rate && !f.learning_rate)
        refuse(ErrorKind::missing,
               fmt::format("finetune.learning_rate = \"auto\" is of gd and sgd; give a number for \"{}\"",
                           f.optimizer));
    if ((rule_without_rate || f.loss != "squared") && !f.steps)
        refuse(ErrorKind::missing,
               "finetune.steps = \"auto\" is of gd and sgd on the squared loss, which the "
               "stopping step is about; give a number");
    // The scale of rates, and T, are of one kernel.
    if (!f.learning_rate && std::ranges::find(s.kernel.formula, "sgd") == s.kernel.formula.end())
        refuse(
            ErrorKind::missing,
            "finetune.learning_rate = \"auto\" follows from the kernel \"sgd\"; let kernel.formula name it, "
            "or give a number");
    if (!f.steps && (s.kernel.formula.front() != "sgd" || s.rates.center == "kernel"))
        refuse(ErrorKind::missing,
               "finetune.steps = \"auto\" follows from the stopping step of the kernel \"sgd\" as it is: the "
               "first of kernel.formula, and rates.center not \"kernel\"; give a number");
}

/// What stands on the formed Gram matrix, or on the cross Gram matrix beside it.
void check_free(const Study& s) {
    const bool lanczos = s.spectrum.solver == "lanczos";
    if (s.spectrum.density && !s.spectrum.free() && s.spectrum.count > 0 && !s.spectrum.vectors)
        refuse(ErrorKind::contradiction,
               "spectrum.density beside spectrum.count needs spectrum.vectors = true");
    if (!s.spectrum.free()) {
        if (lanczos)
            refuse(ErrorKind::contradiction,
                   "spectrum.solver = \"lanczos\" is for spectrum.matrix = \"free\"");
        return;
    }
    const auto needs_matrix = [](ErrorKind kind, const std::string& key, const std::string& instead) {
        refuse(kind,
               fmt::format("spectrum.matrix = \"free\" forms no matrix, which {} needs; {}", key, instead));
    };
    if (s.spectrum.count == 0 && !s.spectrum.density)
        refuse(ErrorKind::missing,
               "spectrum.matrix = \"free\" needs spectrum.count, or spectrum.density = true");
    if (s.spectrum.solver != "auto" && !lanczos)
        needs_matrix(ErrorKind::contradiction, fmt::format("spectrum.solver = \"{}\"", s.spectrum.solver),
                     "use \"lanczos\" or \"auto\"");
    if (s.spectrum.block > 0) needs_matrix(ErrorKind::contradiction, "spectrum.block", "leave it at 0");
    if (s.kernel.formula.size() > 1)
        needs_matrix(ErrorKind::unsupported, "a second kernel.formula", "name one");
    if (s.kernel.groups != "none")
        needs_matrix(ErrorKind::unsupported, fmt::format("kernel.groups = \"{}\"", s.kernel.groups),
                     "select them with kernel.parameters, a run each");
    if (s.kernel.sketch > 0)
        needs_matrix(ErrorKind::unsupported, "the error of kernel.sketch", "leave it at 0: J is not stored");
    if (s.finetune.asked) needs_matrix(ErrorKind::contradiction, "[finetune]", "use \"formed\"");
    const auto tested = [](const Study::Task& task) { return !task.data.test.empty(); };
    if (!s.data.test.empty() || std::ranges::any_of(s.tasks, tested))
        needs_matrix(ErrorKind::unsupported, "the prediction of data.test", "leave it out");
}

void check_tasks(const Study& s, LabelWords words) {
    for (std::size_t t = 0; t < s.tasks.size(); ++t) {
        const Study::Task& task = s.tasks[t];
        const std::string at = fmt::format("tasks[{}].", t);
        if (task.name.empty()) refuse(ErrorKind::missing, at + "name is missing; every task needs a name");
        if (task.name.find_first_of("/:+ ") != std::string::npos || task.name == ".")
            refuse(ErrorKind::malformed,
                   fmt::format("{}name = \"{}\" must hold no blank and none of / : +", at, task.name));
        for (std::size_t other = 0; other < t; ++other)
            if (s.tasks[other].name == task.name)
                refuse(ErrorKind::contradiction, fmt::format("{}name = \"{}\" stands twice", at, task.name));
        check_data(at, task.data, s.model.head != "lm", words);
        if (task.data.score != s.tasks.front().data.score)
            refuse(ErrorKind::contradiction,
                   fmt::format("{}score = \"{}\", but that of tasks[0] is \"{}\"; tasks share one", at,
                               task.data.score, s.tasks.front().data.score));
        if (!task.data.completion.empty())
            refuse(ErrorKind::unsupported, at + "completion: completions have no targets; use [data] alone");
    }
}

}  // namespace

void refuse(ErrorKind kind, const std::string& message) { throw Error(ExitStatus::study, kind, message); }

void check_values(Study& study) {
    for (const KeyValue& at : values_of(study))
        std::visit([&](const auto& allowed) { check(at, allowed); }, at.key->allowed);
    check_step_sizes(study.rates.step_size);
    check_window(study.rates.window);
}

void check_together(const Study& s, LabelWords words) {
    if (s.tasks.empty()) check_data("data.", s.data, s.model.head != "lm", words);
    check_tasks(s, words);
    if (!s.data.completion.empty() && !s.kernel.output.empty() && s.kernel.output != "logits")
        refuse(
            ErrorKind::contradiction,
            fmt::format("kernel.output = \"{}\": with data.completion there is one output per example; use "
                        "\"logits\"",
                        s.kernel.output));
    check_formulas(s);
    check_finetune(s);
    check_free(s);
    if (s.kernel.lora_alpha > 0 && s.kernel.lora_rank == 0)
        refuse(ErrorKind::missing, "kernel.lora_alpha needs kernel.lora_rank, the rank of the LoRA factors");
    if (s.kernel.groups != "none" && !s.output.save_gram)
        refuse(ErrorKind::contradiction,
               fmt::format("kernel.groups = \"{}\" needs output.save_gram = true", s.kernel.groups));
    const auto tested = [](const Study::Task& task) { return !task.data.test.empty(); };
    if (s.rates.neighbours > 0 && s.data.test.empty() && std::none_of(s.tasks.begin(), s.tasks.end(), tested))
        refuse(ErrorKind::missing,
               "rates.neighbours needs data.test: the neighbours are those of the test examples");
    if (s.model.head_init == "least-squares" && s.model.head != "classifier")
        refuse(
            ErrorKind::contradiction,
            "model.head_init = \"least-squares\" needs head = \"classifier\": a language model's head is not "
            "fitted");
}

}  // namespace tangram
