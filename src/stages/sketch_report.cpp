#include "sketch_report.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>

#include "tangram/drawing.hpp"

namespace tangram {

std::string unused_sketch(const std::vector<KernelFormula>& formulas, Index dimension) {
    if (dimension == 0 || std::ranges::find(formulas.front().choices, Contraction::sketched,
                                            &ContractionChoice::chosen) != formulas.front().choices.end())
        return "";
    return fmt::format("kernel.sketch = {}: no tensor takes half of the flops sketched; the kernel is exact",
                       dimension);
}

std::vector<Index> examples_to_compare(const DataSet& train, const KernelOutputs& outputs,
                                       std::uint64_t seed) {
    constexpr Index wanted_rows = 256;
    std::vector<Index> examples;
    Index rows = 0;
    for (const Index e : draw_rows(train.examples(), 0, seed, "the study")) {
        if (rows >= wanted_rows) break;
        rows += outputs.shape(train.task(e)).rows_per_example;
        examples.push_back(e);
    }
    std::sort(examples.begin(), examples.end());
    return examples;
}

template <class Real>
SketchReport report_sketch(const KernelInputs<Real>& inputs, const DistributedMatrix& gram,
                           std::uint64_t seed, Log& log) {
    SketchReport report;
    report.dimension = inputs.sketch_dimension;
    if (report.dimension == 0) return report;
    const std::vector<Parameter>& parameters = inputs.network.program().parameters();
    for (const ParameterId p : inputs.sketch().parameters) {
        ++report.tensors;
        report.total += sketch_shape(parameters[p].shape[0], parameters[p].shape[1], report.dimension).size();
    }
    if (report.tensors == 0) return report;
    const auto start = std::chrono::steady_clock::now();
    report.error = sketch_error(inputs, gram, examples_to_compare(inputs.train, inputs.outputs, seed));
    report.seconds =
        max_over_ranks(gram.grid().comm().get(),
                       std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    log.say(fmt::format(
        "gram: sketched: {} tensors to {} numbers in all; against {} exact rows the error is {:.2g} of the "
        "norm, of one entry at most {:.2g} of its rows' norms ({})",
        report.tensors, report.total, report.error.rows, report.error.relative, report.error.largest,
        duration_text(report.seconds)));
    return report;
}

void SketchReport::write(Hdf5File& file) const {
    if (dimension == 0) return;
    file.set_attribute("/kernel", "sketch", dimension);
    file.set_attribute("/kernel", "sketch_dimension", total);
    file.set_attribute("/kernel", "sketch_tensors", tensors);
    file.set_attribute("/kernel", "sketch_error", error.relative);
    file.set_attribute("/kernel", "sketch_error_max", error.largest);
    file.set_attribute("/kernel", "sketch_rows", error.rows);
    file.set_attribute("/provenance", "seconds_sketch_error", seconds);
}

template SketchReport report_sketch(const KernelInputs<float>&, const DistributedMatrix&, std::uint64_t,
                                    Log&);
template SketchReport report_sketch(const KernelInputs<double>&, const DistributedMatrix&, std::uint64_t,
                                    Log&);

}  // namespace tangram
