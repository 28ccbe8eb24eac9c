#include "tangram/study/fingerprints.hpp"

#include <fmt/format.h>

#include <set>

#include "tangram/arithmetic.hpp"
#include "tangram/gram/assembly_cost.hpp"
#include "tangram/session/provenance.hpp"
#include "tangram/study/keys.hpp"

namespace tangram {

namespace {

void add_examples(Inputs& inputs, const std::string& key, const DataSet& set) {
    inputs.add("examples of " + key, std::to_string(set.examples()))
        .add("rows of " + key, set.rows)
        .add("tokens of " + key, set.token_ids)
        .add("lengths of " + key, set.offsets)
        .add("labels of " + key, set.labels)
        .add("places read in " + key, set.reads)
        .add("tasks of " + key, set.tasks);
    if (set.scores_answers())
        inputs.add("answers of " + key, set.answer_ids)
            .add("lengths of answers of " + key, set.answer_offsets)
            .add("numbers of answers of " + key, set.first_answers);
}

void add_parameters(Inputs& inputs, const Program& program, const GramJob& job) {
    std::string tensors, contractions;
    for (const ParameterId p : job.parameters) tensors += program.parameters()[p].name + "\n";
    for (const KernelFormula& formula : job.formulas)
        for (const ContractionChoice& choice : formula.choices) contractions += name(choice.chosen) + "\n";
    inputs.add("kernel.parameters", tensors).add("contractions", contractions);
}

/// What is read, but for the training examples.
void add_labels_and_tests(Inputs& inputs, const Study& study, const GramJob& job) {
    for (std::size_t t = 0; t < study.tasks.size(); ++t)
        inputs.add("labels of " + study.tasks[t].name, std::to_string(job.data.task_labels[t]));
    inputs.add("data.label_words", job.data.label_ids);
    if (!job.data.label_offsets.empty()) inputs.add("lengths of data.label_words", job.data.label_offsets);
    if (job.data.test) add_examples(inputs, "data.test", *job.data.test);
}

/// What stands for the keys that decide this; of examples, all but the training examples. Every enumerator
/// has its case: a key cannot be declared to decide what no fingerprint holds.
void add(Inputs& inputs, Decides decides, const Study& study, const LoadedModel& model, const GramJob& job) {
    switch (decides) {
        case Decides::model:
            for (const FileRead& file : model.files.all())
                inputs.add("model.path, " + file.name, file.sha256);
            return;
        case Decides::parameters:
            add_parameters(inputs, model.program, job);
            return;
        case Decides::outputs:
            inputs.add("kernel.output", fmt::format("{}", fmt::join(job.output_names, " ")));
            return;
        case Decides::examples:
            add_labels_and_tests(inputs, study, job);
            return;
        case Decides::kernel:
            add_values(inputs, study, decides);
            return;
        case Decides::nothing:
        case Decides::spectrum:  // spectrum_inputs()
        case Decides::rates:     // rates_inputs()
        case Decides::finetune:  // finetune_inputs()
            return;
    }
}

}  // namespace

KernelFingerprint fingerprint_of(const Study& study, const LoadedModel& model, const GramJob& job) {
    Inputs made_of;
    made_of.add("program", library_versions().front())
        .add("schema_version", std::to_string(schema_version))
        .add("lengths of sums", fmt::format("{} {} {}", arithmetic::product_depth,
                                            arithmetic::matching_columns, arithmetic::slice_depth))
        .add("slices", fmt::format("{} {}", slice_matrix_rows, slice_entries));
    if (study.kernel.sketch > 0) made_of.add("sketched", "what takes half of the flops");
    std::set<Decides> added;
    for (const Key& key : keys())
        if (added.insert(key.decides).second) add(made_of, key.decides, study, model, job);
    // A fitted head depends on every example.
    Inputs common = made_of;
    add_examples(made_of, "data.train", job.data.train);
    if (study.model.head_init == "least-squares") add_examples(common, "data.train", job.data.train);
    return {made_of, common.hash()};
}

Inputs spectrum_inputs(const Study& study, const std::string& kernel_hash) {
    Inputs inputs;
    inputs.add("kernel", kernel_hash);
    add_values(inputs, study, Decides::spectrum);
    return inputs;
}

Inputs rates_inputs(const Study& study, const std::string& spectrum_hash) {
    Inputs inputs;
    inputs.add("spectrum", spectrum_hash);
    add_values(inputs, study, Decides::rates);
    return inputs;
}

Inputs finetune_inputs(const Study& study, const std::string& kernel_hash, const std::string& spectrum_hash,
                       const std::string& rates_hash) {
    Inputs inputs;
    // What the residual's mean is, where no rates say so.
    inputs.add("kernel", kernel_hash)
        .add("spectrum", spectrum_hash)
        .add("rates", rates_hash)
        .add("rates.center", study.rates.center != "false" ? "1" : "0");
    add_values(inputs, study, Decides::finetune);
    return inputs;
}

}  // namespace tangram
