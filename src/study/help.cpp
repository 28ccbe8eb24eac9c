#include "tangram/study/help.hpp"

#include <fmt/format.h>

#include <vector>

#include "tangram/error.hpp"
#include "tangram/files/nearest.hpp"
#include "tangram/study/keys.hpp"
#include "tangram/study/stored_study.hpp"

namespace tangram {

namespace {

/// A name and what it means.
using Explained = std::pair<const char*, const char*>;

/// What an output file holds; <...> stands for any name.
constexpr Explained paths[] = {
    {"/provenance",
     "attributes: study, versions, ranks, grid, seconds, flops and bytes of the run, model_sha256"},
    {"/data/train/token_ids", "int32: all examples' tokens, one after the other"},
    {"/data/train/offsets", "n+1, int64: where each example begins"},
    {"/data/train/labels", "n, int32"},
    {"/data/train/rows", "n, int64: source row, 0-based, header not counted"},
    {"/data/train/tasks", "n, int32: task of each example, with [[tasks]]"},
    {"/data/train/reads", "n, int32: token at which outputs are read, of masked models"},
    {"/data/test/<same>", "the same of the m test examples"},
    {"/data/label_token_ids", "C: vocabulary ids of the label words"},
    {"/data/task_names", "of [[tasks]]"},
    {"/data/task_labels", "labels of each task"},
    {"/kernel", "attributes: output, precision, formula, inputs; of a sketch its size and error"},
    {"/kernel/gram", "N x N: G, both triangles"},
    {"/kernel/cross", "M x N: test x train"},
    {"/kernel/test_diagonal", "M: k(x, x) of the test rows"},
    {"/kernel/outputs_train", "n x C: logits at the initial weights"},
    {"/kernel/outputs_test", "m x C"},
    {"/kernel/tensors", "table: name, size, contraction, trace_share"},
    {"/kernel/task_outputs", "output of each task"},
    {"/kernel/groups/<name>/gram", "N x N, with kernel.groups: they add up to /kernel/gram"},
    {"/kernel/lora/<tensor>", "LoRA's A"},
    {"/kernel/<formula>/<same>", "gram, cross, test_diagonal of further formulas"},
    {"/spectrum/eigenvalues", "N: of G, descending"},
    {"/spectrum/eigenvectors", "N x N: row i belongs to eigenvalue i"},
    {"/spectrum/quality",
     "attributes: solver, noise_floor, residual_max, orthogonality_max, trace_error, seconds"},
    {"/spectrum/<formula>/<same>", "of further formulas"},
    {"/spectrum/groups/<a+b>/<same>", "of the sum of some groups (tangram spectrum --groups a,b)"},
    {"/rates/decay", "attributes: selected, noise_floor, first, last; below it a group of each family"},
    {"/rates/stopping",
     "attributes: critical_radius, stopping_step, step_size, noise, radius and their sources; the path"},
    {"/rates/alignment", "eigenvector coefficients of labels and residual; cumulative power"},
    {"/rates/learning_curve", "sizes x repeats: observed and predicted errors"},
    {"/rates/exponents", "table: source, value, low, high of n^-x"},
    {"/rates/functionals", "attributes and curves: effective dimension, information gain, ranks, alignment"},
    {"/tasks", "with [[tasks]]: stopping step of each, cosines of task vectors, arithmetic"},
    {"/neighbours", "with rates.neighbours"},
    {"/runs", "of `tangram merge`: a row per run"},
};

std::string list_of_paths() {
    std::string text;
    for (const auto& [name, meaning] : paths) text += fmt::format("{:<28} {}\n", name, meaning);
    return text;
}

std::string allowed_text(const Path& path) { return path.required ? "required" : ""; }
std::string allowed_text(const Anything&) { return ""; }
std::string allowed_text(const OnlyDefault&) { return "no other value yet"; }
std::string allowed_text(const Bounds& range) {
    if (range.positive) return "positive";
    std::string text;
    if (range.least) text += fmt::format("at least {}", *range.least);
    if (range.most) text += fmt::format("{}at most {}", text.empty() ? "" : ", ", *range.most);
    return text;
}
std::string allowed_text(const Choices& allowed) {
    std::string text;
    for (const Choices::Choice& choice : allowed.choices)
        if (choice.served)
            text += fmt::format("{}{}{}{}", text.empty() ? "" : " | ", choice.word,
                                choice.meaning.empty() ? "" : ": ", choice.meaning);
    return text;
}

/// What a key means and may hold.
std::string meaning(const KeyValue& at) {
    std::string allowed = std::visit([](const auto& of) { return allowed_text(of); }, at.key->allowed);
    if (std::holds_alternative<StringOrList>(at.value) && !allowed.empty()) allowed += ", or a list";
    const bool choices_first = std::holds_alternative<Choices>(at.key->allowed);
    const std::string& first = choices_first ? allowed : at.key->help;
    const std::string& second = choices_first ? at.key->help : allowed;
    return first + (first.empty() || second.empty() ? "" : "; ") + second;
}

std::string study_help() {
    const auto defaults = study_keys(to_toml(Study{}));
    std::string text =
        "Keys of the study file (TOML), with their defaults. Relative paths are relative to the file.\n";
    std::string section, decide_nothing;
    Study study;
    for (const KeyValue& at : values_of(study)) {
        const Key& key = *at.key;
        if (key.section() != section) text += fmt::format("\n[{}]\n", section = key.section());
        text += fmt::format("{:<34} # {}\n", key.own_name() + " = " + defaults.at(key.name), meaning(at));
        if (key.decides == Decides::nothing)
            decide_nothing += (decide_nothing.empty() ? "" : ", ") + key.name;
    }
    return text + "\nInstead of [data], several [[tasks]], each with a name and the keys of [data].\n" +
           "No result depends on " + decide_nothing + ".\n";
}

constexpr const char* status_help =
    "0   done\n"
    "1   tangram compare: the files differ\n"
    "2   the study is missing or wrong, or does not fit into memory\n"
    "3   a model or data file is missing or wrong\n"
    "4   numerical failure: a gradient that is not finite, no convergence, a failed verify\n"
    "5   output or checkpoint: disk full, read-only, torn, locked, of another study\n"
    "75  stopped on purpose (SIGUSR1, SIGTERM under srun, --time-limit); the same command goes on\n";

constexpr const char* log_help =
    "--log-json FILE: one JSON object per line; seconds are since the start.\n"
    "{\"seconds\", \"level\": \"info\" | \"warning\" | \"result\", \"text\"}\n"
    "{\"seconds\", \"level\": \"progress\", \"stage\", \"done\", \"units\", \"seconds_left\", "
    "\"resident_bytes\", \"flops_per_second\", \"bytes_per_second\"}\n"
    "stage is jacobian (examples through the network), gram (slices of the Jacobian), subsets or neighbours; "
    "done\n"
    "and units count equal pieces of it; memory, flops and bytes received from other ranks are rank 0's.\n";

}  // namespace

std::string help(const std::string& topic) {
    if (topic.empty())
        return "tangram help study | output | status | log\n"
               "  study    every key of the study file, with its default\n"
               "  output   what the output file holds\n"
               "  status   exit statuses\n"
               "  log      the lines of --log-json\n"
               "`tangram --help` lists commands and options.\n";
    if (topic == "study") return study_help();
    if (topic == "output")
        return "n, m: train and test examples; C: labels; N, M: rows of the kernels (n or n C). Eigenvalues "
               "in /spectrum "
               "are G's, /rates speaks of G/n.\n\n" +
               list_of_paths();
    if (topic == "status") return status_help;
    if (topic == "log") return log_help;
    const std::vector<std::string> topics{"study", "output", "status", "log"};
    throw Error(ExitStatus::study,
                fmt::format("no help on {}; did you mean {}?", topic, nearest(topic, topics)));
}

}  // namespace tangram
