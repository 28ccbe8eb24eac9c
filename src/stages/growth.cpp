#include "growth.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "kernel_file.hpp"
#include "tangram/io/input_file.hpp"

namespace tangram {

namespace {

/// How many examples `smaller` has, if they are the first of `larger`; else 0.
Index leading_examples(const DataSet& smaller, const DataSet& larger) {
    const auto leads = [](const auto& a, const auto& b) {
        return a.size() <= b.size() && std::equal(a.begin(), a.end(), b.begin());
    };
    return leads(smaller.offsets, larger.offsets) && leads(smaller.token_ids, larger.token_ids) &&
                   leads(smaller.labels, larger.labels) && leads(smaller.rows, larger.rows) &&
                   leads(smaller.tasks, larger.tasks) && leads(smaller.reads, larger.reads) &&
                   leads(smaller.answer_ids, larger.answer_ids) &&
                   leads(smaller.answer_offsets, larger.answer_offsets)
               ? std::max<Index>(0, smaller.examples())
               : 0;
}

/// Zeroes all but the tiles whose columns are all known; of a square matrix those whose rows are known too
/// and that do not stand on the diagonal. Local.
void keep_known(DistributedMatrix& matrix, Index known_rows, bool square) {
    const Index block = matrix.block();
    const auto known = [&](Index tile) { return (tile + 1) * block <= known_rows; };
    for (Index j = 0; j < matrix.local_columns(); ++j) {
        const Index J = matrix.global_column(j) / block;
        for (Index i = 0; i < matrix.local_rows(); ++i) {
            const Index I = matrix.global_row(i) / block;
            if (!known(J) || (square && (!known(I) || I == J))) matrix.data()[i + j * matrix.lld()] = 0;
        }
    }
}

}  // namespace

Index take_known_rows(const std::filesystem::path& output, const std::string& basis, const GramJob& job,
                      const Study& study, KernelMatrices& matrices) {
    const ProcessGrid& grid = matrices.grid();
    const MPI_Comm comm = grid.comm().get();
    std::error_code code;
    if (!any_rank(comm, grid.comm().rank() == 0 && std::filesystem::exists(output, code))) return 0;
    const InputFile file(comm, output, ExitStatus::output);
    const Index examples = file.read([&](const Hdf5File& h5) -> Index {
        if (!h5.has_attribute("/kernel", "basis") || h5.text_attribute("/kernel", "basis") != basis) return 0;
        if (!h5.exists("/kernel/gram")) return 0;
        const std::string at = "/data/train/";
        const auto integers = [&](const std::string& name) {
            return h5.exists(at + name) ? h5.read_int32(at + name) : std::vector<std::int32_t>();
        };
        DataSet stored;
        stored.token_ids = integers("token_ids");
        stored.offsets = h5.read_int64(at + "offsets");
        stored.labels = integers("labels");
        stored.rows = h5.read_int64(at + "rows");
        stored.tasks = integers("tasks");
        stored.reads = integers("reads");
        stored.answer_ids = integers("completion_token_ids");  // label words are in the basis
        if (h5.exists(at + "completion_offsets"))
            stored.answer_offsets = h5.read_int64(at + "completion_offsets");
        return leading_examples(stored, job.data.train);
    });
    matrices.known_rows = kernel_rows(job.data.train, job.outputs)[static_cast<std::size_t>(examples)];
    if (matrices.known_rows < 2 * matrices.formulas.front().gram.block()) matrices.known_rows = 0;
    if (matrices.known_rows == 0) return 0;
    const Index stored_rows = matrices.known_rows;
    const auto take = [&](const std::string& path, DistributedMatrix& to, bool square) {
        const std::vector<Index> shape = file.read([&](const Hdf5File& h5) { return h5.shape(path); });
        if (shape != std::vector<Index>{square ? stored_rows : to.rows(), stored_rows})
            throw Error(
                ExitStatus::output, ErrorKind::contradiction,
                fmt::format("{}: {} has not the {} columns of its examples; delete the file and run again",
                            output.string(), path, stored_rows));
        file.read_into(path, to, Orientation::as_is);
        keep_known(to, matrices.known_rows, square);
    };
    for (std::size_t f = 0; f < matrices.formulas.size(); ++f) {
        FormulaMatrices& of = matrices.formulas[f];
        take(kernel_place(study, f) + "/gram", of.gram, true);
        if (of.cross) take(kernel_place(study, f) + "/cross", *of.cross, false);
        for (std::size_t g = 0; g < of.groups.size(); ++g)
            take("/kernel/groups/" + job.groups.names[g] + "/gram", of.groups[g], true);
    }
    return examples;
}

}  // namespace tangram
