#include "finetune_file.hpp"

#include "tangram/stages/rates_file.hpp"

namespace tangram {

void write_finetune(Hdf5File& file, const FinetuneResult& result, const std::string& inputs) {
    const std::string at = "/finetune";
    file.remove(at);
    std::vector<TableColumn> columns;
    for (const auto& [name, number] : numbers_of_record()) {
        TableColumn column{name};
        for (const FinetuneRecord& record : result.path) {
            if (name == "step")
                column.integers.push_back(static_cast<Index>(record.step));
            else
                column.numbers.push_back(record.*number);
        }
        columns.push_back(std::move(column));
    }
    file.write_table(at + "/path", columns);
    for (const auto& [name, outputs] : outputs_of_record()) {
        const bool of_test = name.ends_with("_test");
        if (of_test && !result.tested()) continue;
        std::vector<double> all;
        for (const FinetuneRecord& record : result.path)
            all.insert(all.end(), (record.*outputs).begin(), (record.*outputs).end());
        file.write(
            at + "/" + name, all,
            {std::ssize(result.path), of_test ? result.test_examples : result.examples, result.labels});
    }
    if (!result.eigenvalues_after.empty()) file.write(at + "/eigenvalues", result.eigenvalues_after);
    file.write(at + "/summary", lines_of(finetune_summary(result)));
    file.set_attribute(at, "optimizer", result.optimizer);
    file.set_attribute(at, "loss", result.loss);
    file.set_attribute(at, "center", result.center);
    file.set_attribute(at, "learning_rate", result.plan.settings.learning_rate);
    file.set_attribute(at, "largest_rate", result.plan.largest_rate);
    file.set_attribute(at, "steps", result.plan.settings.steps);
    file.set_attribute(at, "stopping_step", result.plan.stopping_step);
    file.set_attribute(at, "best_step", result.best());
    file.set_attribute(at, "linear_best_step", result.linear_best());
    file.set_attribute(at, "linear_reason", result.plan.without_linear);
    file.set_attribute(at, "gap", result.gap(result.judged()));
    file.set_attribute(at, "cost_of_stopping", result.cost_of_stopping());
    file.set_attribute(at, "parting_step", result.parting_step());
    file.set_attribute(at, "kernel_alignment", result.kernel_alignment);
    file.set_attribute(at, "weights", result.weights);
    file.set_attribute(at, "sentence", finetune_sentence(result));
    file.set_attribute(at, "inputs", inputs);
}

}  // namespace tangram
