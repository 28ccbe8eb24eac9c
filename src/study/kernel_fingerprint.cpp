#include "tangram/study/kernel_fingerprint.hpp"

#include <fmt/format.h>

#include <filesystem>

#include "tangram/arithmetic.hpp"
#include "tangram/files/json.hpp"
#include "tangram/session/provenance.hpp"

namespace tangram {

namespace {

void add_examples(Inputs& inputs, const std::string& key, const DataSet& set) {
    inputs.add("examples of " + key, std::to_string(set.examples()))
        .add("rows of " + key, set.rows)
        .add("tokens of " + key, set.token_ids)
        .add("lengths of " + key, set.offsets)
        .add("labels of " + key, set.labels)
        .add("places read in " + key, set.reads);
}

}  // namespace

KernelFingerprint fingerprint_of(const Study& study, const LoadedModel& model, const GramJob& job) {
    const Program& program = model.program;
    Inputs made_of;
    made_of.add("schema_version", std::to_string(schema_version))
        .add("model.path, config.json", read_text(std::filesystem::path(study.model.path) / "config.json"))
        .add("model.path, weights", model.sha256)
        .add("model.init", study.model.init)
        .add("model.head", study.model.head)
        .add("model.head_init", study.model.head_init)
        .add("model.seed", std::to_string(study.model.seed))
        .add("kernel.lora_rank", std::to_string(study.kernel.lora_rank))
        .add("kernel.lora_alpha", fmt::format("{:.17g}", study.kernel.lora_alpha))
        .add("kernel.lora_seed", std::to_string(study.kernel.lora_seed))
        .add("kernel.output", fmt::format("{}", fmt::join(job.output_names, " ")))
        .add("kernel.precision", study.kernel.precision)
        .add("kernel.sketch", std::to_string(study.kernel.sketch))
        .add("kernel.groups", study.kernel.groups)
        .add("kernel.formula", fmt::format("{}", fmt::join(study.kernel.formula, " ")));
    std::string tensors, contractions;
    for (const ParameterId p : job.parameters) tensors += program.parameters()[p].name + "\n";
    for (const KernelFormula& formula : job.formulas)
        for (const ContractionChoice& choice : formula.choices) contractions += name(choice.chosen) + "\n";
    made_of.add("kernel.parameters", tensors).add("contractions", contractions);
    made_of.add("lengths of sums", fmt::format("{} {} {}", arithmetic::product_depth,
                                               arithmetic::matching_columns, arithmetic::slice_depth));
    if (study.kernel.sketch > 0) made_of.add("data.seed, of the sketch", std::to_string(study.data.seed));
    for (std::size_t t = 0; t < study.tasks.size(); ++t)
        made_of.add("tasks.name", study.tasks[t].name)
            .add("labels of " + study.tasks[t].name, std::to_string(job.data.task_labels[t]));
    made_of.add("data.label_words", job.data.label_ids);
    if (job.data.test) add_examples(made_of, "data.test", *job.data.test);
    // A fitted head depends on every example.
    Inputs common = made_of;
    common.add("program", library_versions().front());
    add_examples(made_of, "data.train", job.data.train);
    if (study.model.head_init == "least-squares") add_examples(common, "data.train", job.data.train);
    return {made_of, common.hash()};
}

}  // namespace tangram
