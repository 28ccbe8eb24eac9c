#include "kernel_file.hpp"

#include <fmt/format.h>

#include "tangram/model/lora.hpp"

namespace tangram {

namespace {

/// @param completed  whether every example has an answer of its own
void write_examples(Hdf5File& file, const std::string& part, const DataSet& data, bool completed) {
    const std::string at = "/data/" + part + "/";
    file.write(at + "token_ids", data.token_ids);
    file.write(at + "offsets", data.offsets);
    file.write(at + "labels", data.labels);
    file.write(at + "rows", data.rows);
    if (!data.tasks.empty()) file.write(at + "tasks", data.tasks);
    if (!data.reads.empty()) file.write(at + "reads", data.reads);
    if (!completed) return;
    file.write(at + "completion_token_ids", data.answer_ids);
    file.write(at + "completion_offsets", data.answer_offsets);
}

void write_data(Hdf5File& file, const Study& study, const StudyData& data) {
    const bool completed = data.train.scores_answers() && data.label_ids.empty();
    write_examples(file, "train", data.train, completed);
    if (data.test) write_examples(file, "test", *data.test, completed);
    if (!completed) file.write("/data/label_token_ids", data.label_ids);
    if (!data.label_offsets.empty()) file.write("/data/label_offsets", data.label_offsets);
    if (study.tasks.empty()) return;
    std::vector<std::string> names;
    for (const Study::Task& task : study.tasks) names.push_back(task.name);
    file.write("/data/task_names", names);
    file.write("/data/task_labels", data.task_labels);
}

/// What each tensor adds to the trace of the first formula's Gram matrix, and how it was contracted.
void write_tensors(Hdf5File& file, const GramJob& job, const Program& program, const KernelSummary& kernel) {
    TableColumn names{"name"}, sizes{"size"}, ways{"contraction"}, shares{"trace_share"};
    const double whole = kernel.traces.back();
    double before = 0;
    for (std::size_t p = 0; p < job.parameters.size(); ++p) {
        const Parameter& parameter = program.parameters()[job.parameters[p]];
        names.texts.push_back(parameter.name);
        sizes.integers.push_back(parameter.size());
        ways.texts.push_back(
            name(kernel.formed ? job.formulas.front().choices[p].chosen : Contraction::multiply_out));
        const double trace = kernel.traces[p];
        shares.numbers.push_back((trace - before) / whole);
        before = trace;
    }
    file.write_table("/kernel/tensors", {names, sizes, ways, shares});
}

/// LoRA's A, which the kernel depends on and no checkpoint of the model holds.
template <class Real>
void write_lora(Hdf5File& file, Network<Real>& network) {
    const std::vector<Parameter>& parameters = network.program().parameters();
    for (ParameterId p = 0; p < parameters.size(); ++p) {
        if (!is_lora(parameters[p]) || is_lora_b(parameters[p])) continue;
        const auto A = network.weights(p);
        file.write("/kernel/lora/" + parameters[p].name, std::vector<double>(A.begin(), A.end()),
                   parameters[p].shape);
    }
}

}  // namespace

std::string kernel_place(const Study& study, std::size_t formula) {
    return formula == 0 ? "/kernel" : "/kernel/" + study.kernel.formula[formula];
}

std::vector<KernelMatrix> kernel_matrices(const Study& study, const GramJob& job,
                                          const KernelMatrices& matrices) {
    // A symmetric matrix is written fastest the other way round.
    std::vector<KernelMatrix> all;
    for (std::size_t f = 0; f < job.formulas.size(); ++f) {
        const FormulaMatrices& of = matrices.formulas[f];
        const std::string place = kernel_place(study, f);
        const bool symmetric = job.formulas[f].formula != Formula::asymmetric_signgd;
        if (study.output.save_gram)
            all.push_back(
                {place + "/gram", &of.gram, symmetric ? Orientation::transposed : Orientation::as_is});
        if (of.cross) all.push_back({place + "/cross", &*of.cross, Orientation::as_is});
        for (std::size_t g = 0; g < of.groups.size(); ++g)
            all.push_back(
                {"/kernel/groups/" + job.groups.names[g] + "/gram", &of.groups[g], Orientation::transposed});
    }
    return all;
}

template <class Real>
void write_kernel(Hdf5File& file, const Study& study, const GramJob& job, Network<Real>& network,
                  const KernelMatrices& matrices, const AssemblyResult& assembled) {
    KernelSummary kernel{assembled.train_outputs, assembled.test_outputs, {}, true};
    for (std::size_t p = 0; p < job.parameters.size(); ++p)
        kernel.traces.push_back(matrices.formulas.front().trace(p));
    write_kernel(file, study, job, network, kernel);
    for (const auto& [path, matrix, orientation] : kernel_matrices(study, job, matrices))
        file.create_matrix(path, matrix->rows(), matrix->columns());
    for (std::size_t f = 0; f < job.formulas.size() && job.test_rows > 0; ++f)
        file.write(kernel_place(study, f) + "/test_diagonal", matrices.formulas[f].test_diagonal);
}

template <class Real>
void write_kernel(Hdf5File& file, const Study& study, const GramJob& job, Network<Real>& network,
                  const KernelSummary& kernel) {
    const StudyData& data = job.data;
    write_data(file, study, data);
    if (!study.tasks.empty()) file.write("/kernel/task_outputs", job.output_names);
    const Index labels = job.outputs.labels();
    file.write("/kernel/outputs_train", kernel.train_outputs, {data.train.examples(), labels});
    if (data.test) file.write("/kernel/outputs_test", kernel.test_outputs, {data.test->examples(), labels});
    write_tensors(file, job, network.program(), kernel);
    write_lora(file, network);
    file.set_attribute("/kernel", "output", fmt::format("{}", fmt::join(job.output_names, ", ")));
    file.set_attribute("/kernel", "precision", study.kernel.precision);
    file.set_attribute("/kernel", "formula", study.kernel.formula.front());
}

template void write_kernel(Hdf5File&, const Study&, const GramJob&, Network<float>&, const KernelSummary&);
template void write_kernel(Hdf5File&, const Study&, const GramJob&, Network<double>&, const KernelSummary&);
template void write_kernel(Hdf5File&, const Study&, const GramJob&, Network<float>&, const KernelMatrices&,
                           const AssemblyResult&);
template void write_kernel(Hdf5File&, const Study&, const GramJob&, Network<double>&, const KernelMatrices&,
                           const AssemblyResult&);

}  // namespace tangram
