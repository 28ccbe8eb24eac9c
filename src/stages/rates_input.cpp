#include "rates_input.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tangram/arithmetic.hpp"

namespace tangram {

namespace {

/// The output file of a study, with what every data set must be. Members are collective and throw on every
/// rank.
class StoredStudy {
  public:
    explicit StoredStudy(const InputFile& file) : file_(file) {}

    [[noreturn]] void refuse(ErrorKind kind, const std::string& path, const std::string& problem) const {
        throw Error(ExitStatus::output, kind,
                    fmt::format("{}: {} {}; delete the file and use `tangram run` to compute it again",
                                file_.name().string(), path, problem));
    }
    bool exists(const std::string& path) const {
        return file_.read([&](const Hdf5File& h5) { return h5.exists(path) ? 1 : 0; }) == 1;
    }
    std::string text(const std::string& path, const std::string& attribute) const {
        return file_.read([&](const Hdf5File& h5) { return h5.text_attribute(path, attribute); });
    }
    /// A number from 0 to `most`.
    double number(const std::string& path, const std::string& attribute, double most) const {
        const double value =
            file_.read([&](const Hdf5File& h5) { return h5.number_attribute(path, attribute); });
        if (!(value >= 0 && value <= most))
            refuse(ErrorKind::out_of_range, path + "@" + attribute,
                   fmt::format("is {}, which it cannot be", value));
        return value;
    }
    bool has(const std::string& path, const std::string& attribute) const {
        return file_.read([&](const Hdf5File& h5) { return h5.has_attribute(path, attribute) ? 1 : 0; }) == 1;
    }

    /// Entries of a data set of one dimension, at least `least`.
    Index length(const std::string& path, Index least) const {
        const std::vector<Index> found = shape(path);
        if (found.size() != 1 || found.front() < least)
            refuse(ErrorKind::contradiction, path,
                   fmt::format("has the shape ({}); one dimension and at least {} entries are needed",
                               fmt::join(found, ", "), least));
        return found.front();
    }
    std::vector<std::string> texts(const std::string& path, Index size) const {
        check_shape(path, {size});
        return file_.read([&](const Hdf5File& h5) { return h5.read_texts(path, size); });
    }
    /// Integers from `least` to `most`.
    std::vector<Index> integers(const std::string& path, Index size, Index least, Index most) const {
        check_shape(path, {size});
        const std::vector<Index> values =
            file_.read([&](const Hdf5File& h5) { return h5.read_int64(path, size); });
        for (const Index value : values)
            if (value < least || value > most)
                refuse(ErrorKind::out_of_range, path,
                       fmt::format("holds {}; {} to {} are possible", value, least, most));
        return values;
    }
    std::vector<double> doubles(const std::string& path, const std::vector<Index>& size) const {
        check_shape(path, size);
        const std::vector<double> values =
            file_.read([&](const Hdf5File& h5) { return h5.read_doubles(path); });
        if (!std::ranges::all_of(values, [](double value) { return std::isfinite(value); }))
            refuse(ErrorKind::non_finite, path, "holds a value that is not finite");
        return values;
    }
    DistributedMatrix matrix(const std::string& path, Index rows, Index columns, const ProcessGrid& grid,
                             Orientation orientation) const {
        if (orientation == Orientation::as_is)
            check_shape(path, {rows, columns});
        else
            check_shape(path, {columns, rows});
        DistributedMatrix found = file_.read_matrix(path, grid, arithmetic::tile_rows, orientation);
        if (!is_finite(found)) refuse(ErrorKind::non_finite, path, "holds a value that is not finite");
        return found;
    }

  private:
    std::vector<Index> shape(const std::string& path) const {
        return file_.read([&](const Hdf5File& h5) { return h5.shape(path); });
    }
    void check_shape(const std::string& path, const std::vector<Index>& needed) const {
        if (const std::vector<Index> found = shape(path); found != needed)
            refuse(ErrorKind::contradiction, path,
                   fmt::format("has the shape ({}), ({}) is needed", fmt::join(found, ", "),
                               fmt::join(needed, ", ")));
    }

    const InputFile& file_;
};

void check_output(const StoredStudy& stored, const std::string& path, const std::string& output,
                  Index labels) {
    constexpr const char* known[] = {"margin", "logits", "trace", "sum", "loss"};
    if (std::ranges::find(known, output) == std::end(known) || (output == "margin" && labels != 2))
        stored.refuse(
            ErrorKind::contradiction, path,
            fmt::format("names the output \"{}\", which a kernel of {} labels cannot have", output, labels));
}

/// @param labels  of all tasks together
TaskNames read_tasks(const StoredStudy& stored, Index labels) {
    TaskNames tasks;
    if (!stored.exists("/data/task_names")) {
        tasks.outputs = {stored.text("/kernel", "output")};
        check_output(stored, "/kernel@output", tasks.outputs.front(), labels);
        return tasks;
    }
    const Index count = stored.length("/data/task_names", 1);
    tasks.names = stored.texts("/data/task_names", count);
    tasks.labels = stored.integers("/data/task_labels", count, 1, labels);
    if (const Index all = std::accumulate(tasks.labels.begin(), tasks.labels.end(), Index{0}); all != labels)
        stored.refuse(ErrorKind::contradiction, "/data/task_labels",
                      fmt::format("adds up to {} labels, /data/label_token_ids holds {}", all, labels));
    tasks.outputs = stored.texts("/kernel/task_outputs", count);
    for (std::size_t t = 0; t < tasks.names.size(); ++t)
        check_output(stored, "/kernel/task_outputs", tasks.outputs[t], tasks.labels[t]);
    return tasks;
}

/// The targets of "train" or "test", and the task of every example where there are several.
struct PartOfStudy {
    Targets targets;
    std::vector<std::int32_t> task_of;
};
PartOfStudy read_part(const StoredStudy& stored, const std::string& part, const TaskNames& tasks,
                      Index labels) {
    const std::string at = "/data/" + part;
    const Index examples = stored.length(at + "/offsets", 2) - 1;
    const auto narrowed = [](const std::vector<Index>& values) {
        return std::vector<std::int32_t>(values.begin(), values.end());
    };
    PartOfStudy found;
    const std::vector<Index> own = stored.integers(at + "/labels", examples, 0, labels - 1);
    if (!tasks.names.empty()) {
        const Index last = std::ssize(tasks.names) - 1;
        const std::vector<Index> task_of = stored.integers(at + "/tasks", examples, 0, last);
        if (!std::ranges::is_sorted(task_of))
            stored.refuse(ErrorKind::malformed, at + "/tasks", "is not in the order of the tasks");
        for (Index t = 0; t <= last && part == "train"; ++t)
            if (!std::ranges::binary_search(task_of, t))
                stored.refuse(ErrorKind::missing, at + "/tasks", fmt::format("has no example of task {}", t));
        for (std::size_t e = 0; e < own.size(); ++e)
            if (const auto t = static_cast<std::size_t>(task_of[e]); own[e] >= tasks.labels[t])
                stored.refuse(ErrorKind::out_of_range, at + "/labels",
                              fmt::format("holds {} in task {}; 0 to {} are possible", own[e], tasks.names[t],
                                          tasks.labels[t] - 1));
        found.task_of = narrowed(task_of);
    }
    found.targets = task_targets(tasks, found.task_of, narrowed(own),
                                 stored.doubles("/kernel/outputs_" + part, {examples, labels}));
    return found;
}

}  // namespace

RatesInput read_rates_input(const InputFile& file, const ProcessGrid& grid, RatesMatrices& matrices) {
    const StoredStudy stored(file);
    const bool completed = stored.exists("/data/train/completion_offsets");
    const Index labels = completed                              ? 1
                         : stored.exists("/data/label_offsets") ? stored.length("/data/label_offsets", 2) - 1
                                                                : stored.length("/data/label_token_ids", 1);
    const TaskNames tasks = read_tasks(stored, labels);
    const bool without_targets = completed || tasks.outputs.front() == "loss";
    RatesInput input;
    input.task_names = tasks.names;
    if (!without_targets) {
        PartOfStudy train = read_part(stored, "train", tasks, labels);
        input.train = std::move(train.targets);
        input.train_tasks = std::move(train.task_of);
    }
    input.rows = without_targets ? stored.length("/data/train/offsets", 2) - 1 : input.train->rows();
    const auto largest =
        static_cast<Index>(stored.has("/spectrum", "count")
                               ? stored.number("/spectrum", "count", static_cast<double>(input.rows))
                               : 0);
    input.eigenvalues = stored.doubles("/spectrum/eigenvalues", {largest > 0 ? largest : input.rows});
    if (!std::ranges::is_sorted(input.eigenvalues, std::greater<>()))
        stored.refuse(ErrorKind::malformed, "/spectrum/eigenvalues", "is not descending");
    input.noise_floor = stored.number("/spectrum/quality", "noise_floor", std::numeric_limits<double>::max());
    if (stored.has("/kernel", "sketch_dimension"))
        input.sketch = static_cast<Index>(stored.number("/kernel", "sketch_dimension", 1e15));
    input.mixed_precision = stored.text("/kernel", "precision") == "mixed";
    if (largest > 0) {
        const auto n = static_cast<double>(input.rows);
        constexpr double most = std::numeric_limits<double>::max();
        matrices.largest = {input.eigenvalues, input.rows,
                            stored.number("/spectrum/quality", "trace", most) / n,
                            stored.number("/spectrum/quality", "rounding", most) / n};
        for (double& l : matrices.largest->l) l /= n;
        input.train.reset();
        input.task_names.clear();
        return input;
    }
    if (without_targets) return input;  // decay and functionals alone

    const auto square = [&](const char* path) {
        return stored.matrix(path, input.rows, input.rows, grid, Orientation::transposed);
    };
    if (!matrices.vectors && !stored.exists("/spectrum/eigenvectors"))
        throw Error(ExitStatus::output, ErrorKind::missing,
                    fmt::format("{}: /spectrum/eigenvectors is missing, which rates need; run `tangram "
                                "spectrum` with spectrum.vectors = true",
                                file.name().string()));
    if (!matrices.vectors) matrices.vectors.emplace(square("/spectrum/eigenvectors"));
    input.vectors = &*matrices.vectors;
    if (!matrices.gram && stored.exists("/kernel/gram")) matrices.gram.emplace(square("/kernel/gram"));
    if (matrices.gram) input.gram = &*matrices.gram;
    if (stored.exists("/kernel/cross")) {
        PartOfStudy test = read_part(stored, "test", tasks, labels);
        input.test = std::move(test.targets);
        input.test_tasks = std::move(test.task_of);
        const Index rows = input.test->rows();
        matrices.cross.emplace(stored.matrix("/kernel/cross", rows, input.rows, grid, Orientation::as_is));
        input.cross = &*matrices.cross;
        matrices.test_diagonal = stored.doubles("/kernel/test_diagonal", {rows});
        input.test_diagonal = &matrices.test_diagonal;
    }
    return input;
}

}  // namespace tangram
