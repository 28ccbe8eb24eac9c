#include "tangram/study/help.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "tangram/error.hpp"
#include "tangram/files/nearest.hpp"
#include "tangram/study/configuration.hpp"

namespace tangram {

namespace {

constexpr Explained keys[] = {
    {"model.path",
     "Hugging Face folder: config.json, model.safetensors or a sharded index, tokenizer.json; required"},
    {"model.init", "pretrained | random | mixed (pretrained body, drawn head)"},
    {"model.head", "lm: logits of the label words | classifier: a new linear head"},
    {"model.head_init", "random | least-squares: the classifier fitted to the training features"},
    {"model.seed", "of every drawn weight"},
    {"data.train", ".tsv, .csv, .jsonl, or .h5 already tokenised; required, unless there are [[tasks]]"},
    {"data.test", "the same; empty: none"},
    {"data.text", "column of the text"},
    {"data.label", "column of the label"},
    {"data.labels", "names of the labels, in order, where the column holds names"},
    {"data.template", "\"{column}\" is replaced; \"[MASK]\" marks the token that a masked model predicts"},
    {"data.label_words", "one word per label, each a single token"},
    {"data.max_length", "tokens of an example, special ones included"},
    {"data.samples", "training examples drawn without replacement; 0: all; fewer are a prefix of more"},
    {"data.test_samples", "test examples; 0: all"},
    {"data.seed", "of the drawing"},
    {"kernel.parameters",
     "all | attention | mlp | norm | embedding | head, or a list of patterns of tensor names"},
    {"kernel.lora_rank", "> 0: the parameters are LoRA factors of the selected linear layers"},
    {"kernel.lora_alpha", "scale of LoRA; 0: the rank"},
    {"kernel.lora_seed", "of LoRA's A"},
    {"kernel.output", "margin | logits | trace | sum | loss; empty: margin for two labels, else logits"},
    {"kernel.formula",
     "sgd | signgd | asymmetric-signgd, or a list; the first one's spectrum gives the rates"},
    {"kernel.precision", "mixed: float32 products, float64 sums | double"},
    {"kernel.sketch", "> 0: sketch dimension per linear layer; 0: exact"},
    {"kernel.groups", "none | kind | layer: also keep the Gram matrix of each group"},
    {"spectrum.solver", "auto | lapack | scalapack-dc | scalapack-mrrr | elpa1 | elpa2"},
    {"spectrum.vectors", "eigenvectors too; the rates need them"},
    {"spectrum.count", "0: all eigenpairs (no other value yet)"},
    {"spectrum.block", "block of the block-cyclic layout; 0: chosen"},
    {"rates.noise", "sigma, or auto: estimated"},
    {"rates.radius", "RKHS norm of the target, or auto: estimated"},
    {"rates.step_size", "learning rate, a list that does not grow, or auto: 1/l_1 of G/n"},
    {"rates.center", "take the residual's training mean out and add it back to predictions"},
    {"rates.sizes", "of the learning curve; empty: powers of two from 128 up to n, and n"},
    {"rates.repeats", "random nested subsets per size"},
    {"rates.neighbours", "> 0: regression on as many nearest training examples"},
    {"output.path", "the HDF5 file; required"},
    {"output.save_gram", "keep the Gram matrix in the file"},
    {"output.checkpoint_minutes", "between checkpoints of the Gram stage; 0: only on a signal"},
};

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

std::string list(std::span<const Explained> entries) {
    std::string text;
    for (const auto& [name, meaning] : entries) text += fmt::format("{:<28} {}\n", name, meaning);
    return text;
}

std::string study_help() {
    const auto defaults = study_keys(to_toml(Study{}));
    std::string text =
        "Keys of the study file (TOML), with their defaults. Relative paths are relative to the file.\n";
    std::string section;
    for (const auto& [key, meaning] : keys) {
        const std::string name = key, own = name.substr(0, name.find('.'));
        if (own != section) text += fmt::format("\n[{}]\n", section = own);
        text +=
            fmt::format("{:<34} # {}\n", name.substr(own.size() + 1) + " = " + defaults.at(name), meaning);
    }
    return text + "\nInstead of [data], several [[tasks]], each with a name and the keys of [data].\n";
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

std::span<const Explained> explained_keys() { return keys; }
std::span<const Explained> explained_paths() { return paths; }

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
               list(paths);
    if (topic == "status") return status_help;
    if (topic == "log") return log_help;
    const std::vector<std::string> topics{"study", "output", "status", "log"};
    throw Error(ExitStatus::study,
                fmt::format("no help on {}; did you mean {}?", topic, nearest(topic, topics)));
}

}  // namespace tangram
