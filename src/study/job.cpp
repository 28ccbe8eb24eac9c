#include "tangram/study/job.hpp"

#include "tangram/gram/assembly.hpp"
#include "tangram/parallel/communicator.hpp"
#include "tangram/session/resources.hpp"

namespace tangram {

GramJob gram_job(const Study& study, const LoadedModel& model, StudyData data, MPI_Comm comm) {
    const Program& program = model.program;
    GramJob job;
    job.data = std::move(data);
    for (const Index count : job.data.task_labels) {
        job.output_names.push_back(!study.kernel.output.empty() ? study.kernel.output
                                   : count == 2                 ? "margin"
                                                                : "logits");
        job.outputs.add(kernel_output(job.output_names.back(), count), count);
    }
    job.parameters = model.parameters;
    for (const std::string& formula_name : study.kernel.formula) {
        const Formula formula = formula_by_name(formula_name);
        job.formulas.push_back(
            {formula, choose_contractions(program, job.parameters, mean_rows(job.data.train, job.outputs),
                                          study.kernel.sketch, formula)});
    }
    job.groups = group_parameters(program, job.parameters, study.kernel.groups);
    for (const ParameterId p : job.parameters) job.parameter_count += program.parameters()[p].size();
    job.train_rows = kernel_rows(job.data.train, job.outputs).back();
    if (job.data.test) job.test_rows = kernel_rows(*job.data.test, job.outputs).back();
    job.idle_bytes = static_cast<double>(max_over_ranks(comm, resident_bytes()));
    return job;
}

}  // namespace tangram
