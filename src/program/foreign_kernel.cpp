#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "commands.hpp"
#include "replaced_output.hpp"
#include "symmetric_input.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/io/output.hpp"
#include "tangram/session/clock.hpp"
#include "tangram/session/provenance.hpp"
#include "tangram/stages/rates_file.hpp"
#include "tangram/stages/rates_request.hpp"
#include "tangram/stages/spectrum_file.hpp"
#include "tangram/stages/spectrum_request.hpp"
#include "tangram/study/file_contents.hpp"

namespace tangram {

namespace {

[[noreturn]] void refuse(ErrorKind kind, const std::string& message) {
    throw Error(ExitStatus::study, kind, message);
}

[[noreturn]] void refuse_numbers(ErrorKind kind, const std::string& message) {
    throw Error(ExitStatus::input, kind, message);
}

/// A data set's numbers with its shape; `whole`: integers.
struct Numbers {
    std::vector<double> values;
    std::vector<Index> shape;
    bool whole = false;
};

Numbers read_numbers(const std::string& place, MPI_Comm comm) {
    const auto [name, path] = file_and_path(place);
    const InputFile file(comm, name, ExitStatus::input);
    Numbers numbers;
    numbers.values = file.read([&, &at = path](const Hdf5File& h5) { return h5.read_doubles(at); });
    numbers.shape = file.read([&, &at = path](const Hdf5File& h5) { return h5.shape(at); });
    for (const double value : numbers.values)
        if (!std::isfinite(value))
            throw Error(ExitStatus::input, ErrorKind::non_finite,
                        fmt::format("{}: holds a value that is not finite", place));
    numbers.whole = file.read([&, &at = path](const Hdf5File& h5) { return h5.is_integer(at) ? 1 : 0; }) == 1;
    if (numbers.shape.empty() || numbers.shape.size() > 2 || numbers.values.empty())
        throw Error(ExitStatus::input, ErrorKind::contradiction,
                    fmt::format("{}: must have one or two dimensions and hold something", place));
    return numbers;
}

/// Targets of `rows` rows: integers from 0 on in one column are classes (two: -1 and +1; more: one-hot),
/// other numbers the targets themselves.
/// @param classes  number of labels, which the training labels decide; 0: not known yet
Targets read_targets(const std::string& labels, const std::string& outputs, Index rows, Index& classes,
                     MPI_Comm comm) {
    const Numbers y = read_numbers(labels, comm);
    if (y.shape[0] != rows)
        refuse_numbers(ErrorKind::contradiction,
                       fmt::format("{}: has {} rows, the kernel {}", labels, y.shape[0], rows));
    Targets result;
    result.classes = y.whole && (y.shape.size() == 1 || y.shape[1] == 1) &&
                     *std::min_element(y.values.begin(), y.values.end()) >= 0;
    if (result.classes) {
        if (classes == 0) {
            if (const double most = *std::max_element(y.values.begin(), y.values.end());
                most >= static_cast<double>(rows))
                refuse_numbers(
                    ErrorKind::out_of_range,
                    fmt::format(
                        "{}: holds label {} of {} rows; number the labels 0, 1, ... without gaps, or store "
                        "targets as floating-point numbers",
                        labels, most, rows));
            classes = static_cast<Index>(*std::max_element(y.values.begin(), y.values.end())) + 1;
            for (Index label = 0; label < classes; ++label)
                if (std::find(y.values.begin(), y.values.end(), static_cast<double>(label)) == y.values.end())
                    refuse_numbers(
                        ErrorKind::missing,
                        fmt::format("{}: integer labels are classes 0 to {}, but {} does not occur; number "
                                    "them without gaps, or "
                                    "store targets as floating-point numbers",
                                    labels, classes - 1, label));
        }
        if (classes < 2)
            refuse_numbers(ErrorKind::degenerate,
                           fmt::format("{}: every label is 0; there is nothing to tell apart", labels));
        for (const double label : y.values)
            if (label >= static_cast<double>(classes))
                refuse_numbers(ErrorKind::out_of_range,
                               fmt::format("{}: label {} does not occur in training, which has 0 to {}",
                                           labels, label, classes - 1));
    }
    result.outputs = result.classes ? (classes == 2 ? 1 : classes) : y.shape.size() == 2 ? y.shape[1] : 1;
    for (Index row = 0; row < rows; ++row) {
        for (Index o = 0; o < result.outputs; ++o) {
            const double value =
                y.values[static_cast<std::size_t>(result.classes ? row : row * result.outputs + o)];
            result.labels.push_back(!result.classes ? value
                                    : classes == 2  ? 2 * value - 1
                                                    : (static_cast<Index>(value) == o ? 1.0 : 0.0));
            result.groups.push_back(static_cast<std::int32_t>(o));
        }
        result.offsets.push_back(std::ssize(result.labels));
    }
    result.initial.assign(result.labels.size(), 0.0);
    if (!outputs.empty()) {
        result.initial = read_numbers(outputs, comm).values;
        if (result.initial.size() != result.labels.size())
            refuse_numbers(ErrorKind::contradiction,
                           fmt::format("{}: has {} numbers, the targets are {} rows of {}", outputs,
                                       result.initial.size(), rows, result.outputs));
    }
    return result;
}

/// Refuses what does not go together, before anything is read. Local.
void check_arguments(const ForeignKernel& kernel, const Study& study) {
    const bool alone = !kernel.eigenvalues.empty();
    if (alone && !kernel.matrix.empty())
        refuse(ErrorKind::contradiction, "give --eigenvalues or --matrix, not both");
    for (const std::string* given :
         {&kernel.labels, &kernel.outputs, &kernel.cross, &kernel.test_labels, &kernel.test_outputs})
        if (alone && !given->empty())
            refuse(ErrorKind::contradiction,
                   fmt::format(
                       "{}: labels, outputs and a cross Gram matrix go with --matrix, not with --eigenvalues",
                       *given));
    if (alone && kernel.samples == 0)
        refuse(ErrorKind::missing, "rates --eigenvalues needs --samples n, the rows of the Gram matrix");
    if (!alone && kernel.samples > 0)
        refuse(ErrorKind::contradiction,
               "--samples goes with --eigenvalues; with --matrix the rows are those of the matrix");
    if (kernel.cross.empty() && !kernel.test_outputs.empty())
        refuse(ErrorKind::contradiction, "--test-outputs goes with --cross and --test-labels");
    if (alone && !study.rates.noise)
        refuse(ErrorKind::missing,
               "rates --eigenvalues needs --noise s: without labels it cannot be estimated");
    if (!alone && kernel.labels.empty())
        refuse(ErrorKind::missing, "rates --matrix needs --labels F.h5:/path");
    if (kernel.cross.empty() != kernel.test_labels.empty())
        refuse(ErrorKind::contradiction, "--cross and --test-labels go together");
    if (study.spectrum.count > 0 && !alone)
        refuse(ErrorKind::contradiction,
               "rates --matrix needs the whole spectrum; leave spectrum.count at 0");
    if (!study.spectrum.vectors && !alone)
        refuse(ErrorKind::contradiction, "rates need eigenvectors; set spectrum.vectors = true");
    if (study.rates.neighbours > 0)
        refuse(ErrorKind::contradiction, "rates.neighbours needs a study with a test set");
}

/// Refuses an output that is one of the files to read. Collective.
void check_output(const ForeignKernel& kernel, const std::filesystem::path& output, MPI_Comm comm) {
    for (const std::string* place : {&kernel.eigenvalues, &kernel.matrix, &kernel.labels, &kernel.outputs,
                                     &kernel.cross, &kernel.test_labels, &kernel.test_outputs}) {
        std::error_code code;
        if (!place->empty() &&
            any_rank(comm, std::filesystem::equivalent(file_and_path(*place).first, output, code)))
            refuse(ErrorKind::contradiction,
                   fmt::format("--output {} is a file that is read; name another", output.string()));
    }
}

/// A kernel as it was read and decomposed. `input` points at the matrices, which stay where they are.
struct Decomposed {
    RatesInput input;
    std::optional<SymmetricInput> gram;
    std::optional<DistributedMatrix> cross;
    std::optional<Eigenpairs> pairs;
    std::optional<Quality> checks;

    Decomposed() = default;
    Decomposed(const Decomposed&) = delete;
    Decomposed& operator=(const Decomposed&) = delete;
};

/// Eigenvalues alone. Collective.
void read_eigenvalues(const ForeignKernel& kernel, MPI_Comm comm, RatesInput& input) {
    const Numbers eigenvalues = read_numbers(kernel.eigenvalues, comm);
    if (eigenvalues.shape.size() != 1)
        refuse_numbers(
            ErrorKind::contradiction,
            fmt::format("{}: is a matrix of {} x {}; --eigenvalues takes a list, and `tangram spectrum "
                        "--matrix` makes one of a matrix",
                        kernel.eigenvalues, eigenvalues.shape[0], eigenvalues.shape[1]));
    input.eigenvalues = eigenvalues.values;
    std::sort(input.eigenvalues.begin(), input.eigenvalues.end(), std::greater<>());
    input.rows = kernel.samples;
    if (std::ssize(input.eigenvalues) > input.rows)
        refuse(ErrorKind::contradiction,
               fmt::format("--samples {}: a Gram matrix of so many rows has not {} eigenvalues", input.rows,
                           input.eigenvalues.size()));
    double trace = 0;
    for (const double value : input.eigenvalues) trace += value;
    input.noise_floor = noise_floor(input.eigenvalues, trace, false);
}

/// The test x train Gram matrix and the test targets. Collective.
/// @param classes  of the training targets, which are set in `to`
void read_test_set(const ForeignKernel& kernel, const ProcessGrid& grid, Index classes, Decomposed& to) {
    RatesInput& input = to.input;
    const auto [file, path] = file_and_path(kernel.cross);
    const DistributedMatrix& cross = to.cross.emplace(
        read_matrix({file, ExitStatus::input}, path, grid, arithmetic::tile_rows, Orientation::as_is));
    if (!is_finite(cross))
        throw Error(ExitStatus::input, ErrorKind::non_finite,
                    fmt::format("{}: holds a value that is not finite", kernel.cross));
    if (cross.columns() != input.rows)
        refuse_numbers(ErrorKind::contradiction,
                       fmt::format("{}: has {} columns, the Gram matrix {} rows; it is test x train",
                                   kernel.cross, cross.columns(), input.rows));
    input.test =
        read_targets(kernel.test_labels, kernel.test_outputs, cross.rows(), classes, grid.comm().get());
    if (input.test->classes != input.train->classes)
        refuse_numbers(
            ErrorKind::contradiction,
            fmt::format(
                "{}: integers are classes, other numbers targets; training and test labels must be of "
                "one kind",
                kernel.test_labels));
    if (input.test->outputs != input.train->outputs)
        refuse_numbers(ErrorKind::contradiction,
                       fmt::format("{}: {} outputs, the training targets have {}", kernel.test_labels,
                                   input.test->outputs, input.train->outputs));
    input.cross = &cross;
}

/// The Gram matrix and the targets; the test set where there is one. Collective.
void read_matrices(const ForeignKernel& kernel, const ProcessGrid& grid, const Session& session,
                   Decomposed& to) {
    RatesInput& input = to.input;
    const DistributedMatrix& gram = to.gram.emplace(read_symmetric(kernel.matrix, grid, session)).matrix;
    input.gram = &gram;
    input.rows = gram.rows();
    Index classes = 0;
    input.train = read_targets(kernel.labels, kernel.outputs, input.rows, classes, grid.comm().get());
    if (!kernel.cross.empty()) read_test_set(kernel, grid, classes, to);
}

/// The spectrum of the matrix that was read. Collective.
void decompose(const Study& study, const Session& session, const OutputLock& lock, Decomposed& of) {
    const LeaveOnStop leaving = leave_during(session, lock, "spectrum");
    const Eigenpairs& pairs =
        of.pairs.emplace(requested_eigenpairs(of.gram->matrix, of.gram->name, study, session));
    of.checks = quality(of.gram->matrix, pairs, of.gram->rounded);
    if (!of.checks->left_to_ranks.empty())
        session.log.say("spectrum: checked by the ranks: " + of.checks->left_to_ranks);
    warn_indefinite(*of.gram, pairs, *of.checks, session);
    of.input.eigenvalues = pairs.values;
    of.input.noise_floor = of.checks->noise_floor;
    of.input.vectors = &*pairs.vectors;
}

}  // namespace

void rates_of_kernel(const ForeignKernel& kernel, const std::filesystem::path& output, const Study& study,
                     const Session& session) {
    const MPI_Comm comm = session.world.get();
    check_arguments(kernel, study);
    const OutputLock lock(comm, output);
    check_output(kernel, output, comm);
    check_replaced(output, made_by::rates, session);
    const ProcessGrid grid = ProcessGrid::most_square(comm);
    const auto start = Clock::now();
    const auto seconds = [&] { return max_over_ranks(comm, seconds_since(start)); };
    RatesOptions options = rates_options(study);
    Decomposed spectrum;
    double spectrum_seconds = 0;
    if (kernel.matrix.empty()) {
        read_eigenvalues(kernel, comm, spectrum.input);
        // Single precision leaves less: 2^-24 of the largest, times the root of the rows.
        const auto [least, largest] = std::ranges::minmax(spectrum.input.eigenvalues);
        if (least < -1e-5 * largest)
            session.log.warn(
                fmt::format("{}: {:.4g} is below zero by more than rounding: no Gram matrix J J^T "
                            "has it; eigenvalues below zero count as zero",
                            kernel.eigenvalues, least));
    } else {
        read_matrices(kernel, grid, session, spectrum);
        decompose(study, session, lock, spectrum);
        spectrum_seconds = seconds();
    }
    RatesResult result = compute_rates(spectrum.input, options, rates_listener(session));
    if (!kernel.eigenvalues.empty() && !study.rates.radius) result.radius_source = "the default";
    const double rates_seconds = seconds() - spectrum_seconds;
    const Provenance provenance = Provenance::gather(grid);
    StagedFile file(comm, output, false, 0.0);
    file.write_small([&](Hdf5File& h5) {
        const std::string made_of = kernel.matrix.empty() ? kernel.eigenvalues : kernel.matrix;
        if (const auto& pairs = spectrum.pairs)
            write_spectrum(h5, "/spectrum",
                           Eigenpairs{pairs->values, std::nullopt, pairs->solver, pairs->reason},
                           *spectrum.checks, made_of, spectrum_seconds);
        write_rates(h5, result);
        provenance.write(h5, fmt::format("{}{}\n{}", made_by::rates, made_of, to_toml(study)), "",
                         arithmetic::tile_rows, session);
        h5.set_attribute("/provenance", "seconds_rates", rates_seconds);
        complete_file(h5, session.log, "rates");
    });
    file.commit();
    tell_rates(result, session.log);
}

}  // namespace tangram
