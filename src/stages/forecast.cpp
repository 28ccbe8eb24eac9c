#include "forecast.hpp"

#include <fmt/core.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "sketch_report.hpp"
#include "stored_kernels.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/gram/jacobian_operator.hpp"
#include "tangram/learning/kernel_rates.hpp"
#include "tangram/learning/nested_subsets.hpp"
#include "tangram/model/factors.hpp"
#include "tangram/parallel/block_cyclic.hpp"
#include "tangram/parallel/process_grid.hpp"
#include "tangram/spectrum/eigenpairs.hpp"
#include "tangram/spectrum/spectral_density.hpp"
#include "tangram/spectrum/whole_solver.hpp"
#include "tangram/study/initial_network.hpp"
#include "tangram/training/loss_gradient.hpp"
#include "tangram/training/optimizer.hpp"

namespace tangram {

namespace {

constexpr double reading_and_writing = 0.1;  // seconds that a stage of any size takes

double local_elements(Index rows, Index columns, int grid_rows, int grid_columns,
                      Index block = arithmetic::tile_rows) {
    const BlockCyclic r{rows, block, grid_rows}, c{columns, block, grid_columns};
    return static_cast<double>(r.local_size(0)) * static_cast<double>(c.local_size(0));
}

/// Measured (Debian 12's ScaLAPACK and ELPA, n from 1500 to 16 384): resident memory of a stage over that of
/// the local matrices of n x n (scalapack-dc's with eigenvalues alone are as many as with vectors, which it
/// cannot leave out), and seconds over n^3 float64 flops at the speed of dgemm on all ranks.
/// Reduction to tridiagonal form runs at the memory's speed.
struct SolverCost {
    double matrices, flops_per_cube;
};
/// @param share  of the vectors; LAPACK and ELPA compute up to half of them alone
SolverCost solver_cost(Solver solver, bool vectors, double share) {
    const bool alone = vectors && share <= 0.5;
    const auto between = [&](double values, double all) {
        return alone ? values + share * (all - values) : vectors ? all : values;
    };
    switch (solver) {
        case Solver::lapack:
            return {alone ? 2.0 + share : vectors ? 4.0 : 2.0, between(5.0, 9.0)};
        case Solver::cusolver:  // its memory is counted by working_bytes()
            return {0.0, vectors ? 9.0 : 5.0};
        case Solver::elpa1:
        case Solver::elpa2:
            return {vectors ? 5.0 : 4.0, between(8.0, 12.0)};
        case Solver::scalapack_dc:
            return {6.0, 14.0};
        default:
            return {vectors ? 6.0 : 4.0, vectors ? 14.0 : 10.0};
    }
}

std::uint64_t sketch_seed(const Study& study) { return static_cast<std::uint64_t>(study.data.seed); }

/// The examples whose exact kernel a sketched one is compared with, as far as costs follow from them; none
/// where nothing is sketched.
DataSet compared_examples(const PlannedStudy& planned) {
    const GramJob& job = planned.job;
    const DataSet& train = job.data.train;
    DataSet compared;
    if (std::ranges::find(job.formulas.front().choices, Contraction::sketched, &ContractionChoice::chosen) ==
        job.formulas.front().choices.end())
        return compared;
    for (const Index e : examples_to_compare(train, job.outputs, sketch_seed(planned.study)))
        compared.append_from(train, e);
    return compared;
}

/// The kernels that a study assembles, whose costs follow from these on any number of ranks.
template <class Real>
class PlannedKernels {
  public:
    explicit PlannedKernels(const PlannedStudy& planned)
        : planned_(planned),
          compared_(compared_examples(planned)),
          kernel(shape(problem(planned.study.spectrum.free()))) {
        const GramJob& job = planned.job;
        if (compared_.examples() > 0)
            comparison.emplace(
                shape({compared_,
                       nullptr,
                       job.outputs,
                       job.parameters,
                       {{Formula::sgd, choose_contractions(planned.model.program, job.parameters,
                                                           mean_rows(job.data.train, job.outputs))}}}));
        if (planned.study.finetune.asked && planned.study.tasks.empty() && !planned.study.spectrum.free())
            trained.emplace(shape(of_trained()));
    }
    PlannedKernels(const PlannedKernels&) = delete;
    PlannedKernels& operator=(const PlannedKernels&) = delete;

  private:
    AssemblyShape shape(const KernelProblem& problem) const {
        return AssemblyShape::of<Real>(planned_.model.program, planned_.job.data.label_ids, problem);
    }
    KernelProblem problem(bool free) const {
        const GramJob& job = planned_.job;
        KernelProblem of{job.data.train, nullptr, job.outputs, job.parameters, job.formulas};
        if (free) return of;
        of.test = job.data.test ? &*job.data.test : nullptr;
        of.sketch_dimension = planned_.study.kernel.sketch;
        of.sketch_seed = sketch_seed(planned_.study);
        of.group_of = job.groups.group_of;
        return of;
    }
    KernelProblem of_trained() const {
        KernelProblem of = problem(false);
        of.test = nullptr;
        of.formulas.resize(1);
        of.group_of.clear();
        return of;
    }

    const PlannedStudy& planned_;
    const DataSet compared_;

  public:
    const AssemblyShape kernel;
    /// The exact one of some rows that a sketched kernel is compared with; the one after training.
    std::optional<AssemblyShape> comparison, trained;
};

/// Of the passes on the rank that needs most of this machine's memory.
double pass_bytes(const PlannedStudy& planned, const Forecast& on, double on_cpu) {
    if (!on.device_passes) return on_cpu;
    const StudyData& data = planned.job.data;
    const Index all = data.train.passed().tokens + (data.test ? data.test->passed().tokens : 0);
    return on.device_passes->copies * static_cast<double>(std::min(all, on.device_passes->tokens));
}

/// A rank's own: weights, buffers of passes, matrices, slices and factors of the assembly, and of the one of
/// some rows that a sketched kernel is then compared with. The factors of all parameters together where they
/// fit.
template <class Real>
double gram_bytes(const PlannedStudy& planned, const PlannedKernels<Real>& kernels, Forecast& result) {
    result.factor_limit = std::numeric_limits<double>::infinity();
    double held = 0, held_then = 0;
    const auto bytes = [&] {
        const auto cost = [&](const AssemblyShape& of) {
            AssemblyCost counted = of.cost(result.grid_rows, result.grid_columns, result.factor_limit);
            counted.pass_bytes = pass_bytes(planned, result, counted.pass_bytes);
            return counted;
        };
        AssemblyCost& assembly = result.assembly;
        assembly = cost(kernels.kernel);
        const AssemblyCost then = kernels.comparison ? cost(*kernels.comparison) : AssemblyCost{};
        const double passes = std::max(assembly.pass_bytes, then.pass_bytes),  // their buffers stay
            both = planned.own_before() + assembly.matrix_bytes;
        held = both + assembly.pass_bytes + assembly.slice_bytes +
               (planned.device_memory ? assembly.staged_bytes() : 0);
        held_then = both + passes + then.matrix_bytes + then.slice_bytes;
        return std::max(held + assembly.factor_bytes, held_then + then.factor_bytes);
    };
    double needed = bytes();
    const double allowed = planned.limit - planned.weights.shared / result.ranks_of_host;
    if (needed > allowed) {
        constexpr double used = 0.97;  // the rest is the allocator's
        result.factor_limit = std::max(0.0, used * allowed - std::max(held, held_then));
        needed = bytes();
    }
    return needed;
}

template <class Real>
StageForecast gram_forecast(const PlannedStudy& planned, const PlannedKernels<Real>& kernels,
                            Forecast& result) {
    const GramJob& job = planned.job;
    if (planned.pass_memory) {
        const Index longest = longest_sequence(job);
        const PassNeeds needs = pass_needs<Real>(
            planned.model.program, longest, job.outputs.labels(), job.parameters, *planned.pass_memory,
            weights_in_passes<Real>(planned.model.program, planned.model.initial(planned.study)));
        if (needs.least(longest) <= *planned.pass_memory) result.device_passes = needs;
    }
    const double bytes = gram_bytes(planned, kernels, result);
    const AssemblyCost& assembly = result.assembly;
    if (planned.device_memory) {
        result.device_least = assembly.back_end_least();
        result.device_whole = assembly.back_end_whole(*planned.device_memory);
    }
    const double n = static_cast<double>(job.train_rows), m = static_cast<double>(job.test_rows),
                 p = result.ranks();
    const auto formulas = static_cast<double>(job.formulas.size()),
               groups = static_cast<double>(job.groups.names.size());
    StageForecast gram{
        "gram",
        bytes,
        planned.weights.shared,
        assembly.pass_flops + assembly.vocabulary_flops + assembly.product_flops,
        assembly.received_bytes,
        8 * n * (formulas * m + (planned.study.output.save_gram ? (formulas + groups) * n : 0)),
        0};
    const Calibration& speed = planned.calibration;
    gram.seconds = ((assembly.pass_flops + assembly.vocabulary_flops) * speed.per_pass_flop +
                    assembly.packed_entries * speed.per_packed_entry) *
                       assembly.pass_imbalance / p +
                   assembly.product_flops * speed.per_product_flop * assembly.imbalance / p;
    return gram;
}

/// Bytes of a rank's parts of the N x N matrix and of the M x N one.
struct LocalMatrices {
    double gram, cross;
};
LocalMatrices local_matrices(const GramJob& job, const Forecast& on) {
    return {8 * local_elements(job.train_rows, job.train_rows, on.grid_rows, on.grid_columns),
            8 * local_elements(job.test_rows, job.train_rows, on.grid_rows, on.grid_columns)};
}

/// A symmetric matrix of n rows whose eigenpairs are wanted, on so many ranks.
struct Eigenproblem {
    Index n;
    int ranks, grid_rows, ranks_of_host;
    bool vectors;
    SolverLayout asked = {};

    int grid_columns() const { return ranks / grid_rows; }
    /// What "auto" takes where no GPU does it.
    Solver solver_without_gpu() const {
        return choose_solver(n, ranks, ranks_of_host * omp_get_max_threads(), vectors).first;
    }
    SolverLayout layout(Solver solver) const {
        return solver_layout(solver, n, ranks, vectors, asked, grid_rows);
    }
    /// Bytes of a rank's part, in tiles.
    double local() const { return 8 * local_elements(n, n, grid_rows, grid_columns()); }
};

/// The study's own.
Eigenproblem whole_problem(const PlannedStudy& planned, const Forecast& on) {
    return {planned.job.train_rows,
            on.ranks(),
            on.grid_rows,
            on.ranks_of_host,
            planned.study.spectrum.vectors,
            {planned.study.spectrum.block}};
}

/// Where a device is planned for. Passes have ended by then, and have given their share back.
double device_memory_of_spectrum(const PlannedStudy& planned) {
    return *planned.device_memory + planned.pass_memory.value_or(0);
}

/// A plan for other machines knows their GPUs by their memory alone.
Solver planned_solver(const PlannedStudy& planned, const Forecast& on) {
    const std::string& named = planned.study.spectrum.solver;
    const bool vectors = planned.study.spectrum.vectors, by_name = named == name(Solver::cusolver);
    const Index n = planned.job.train_rows;
    const Solver solver = by_name && planned.device_memory ? Solver::cusolver : solver_by_name(named);
    if (solver != Solver::automatic && solver != Solver::cusolver) return solver;
    if (planned.device_memory && (by_name || n > always_in_one_piece) &&
        planned_whole_solver_bytes(n, vectors) <= device_memory_of_spectrum(planned))
        return Solver::cusolver;
    return whole_problem(planned, on).solver_without_gpu();
}

/// Bytes of a rank's part of the N x N matrix as the solver has it.
double solver_matrix_bytes(const Eigenproblem& of, Solver solver) {
    const SolverLayout layout = of.layout(solver);
    return 8 * local_elements(of.n, of.n, layout.grid_rows, of.ranks / layout.grid_rows, layout.block);
}

/// Bytes of the largest rank while a solver works: its part of the matrix that is kept, and what the solver
/// has. LAPACK works on one rank, with the cores of its host, and its three matrices are whole; so is the one
/// that goes to a GPU, beside which the vectors stand later.
/// @param share  of the vectors
double working_bytes(const Eigenproblem& of, Solver solver, double share) {
    const auto n = static_cast<double>(of.n);
    const double local = of.local();
    if (solver == Solver::cusolver) {
        // Beside a panel of products while the vectors are checked. On one rank it is the memory of all
        // vectors.
        const double panel = of.vectors ? std::min(n, static_cast<double>(columns_multiplied_together)) : 0;
        if (of.ranks == 1) return 2 * local + (of.vectors && share < 1 ? share * local : 8 * n * panel);
        return 2 * local + 8 * n * (n + panel);
    }
    const double matrices = solver_cost(solver, of.vectors, share).matrices,
                 theirs =
                     solver == Solver::lapack ? 8 * n * n : std::max(local, solver_matrix_bytes(of, solver));
    return local + (matrices - 1) * theirs;
}

/// Why the solver cannot count so many entries on so many ranks; empty: it can.
std::string solver_refusal(const PlannedStudy& planned, const Forecast& on) {
    const Solver solver = planned_solver(planned, on);
    if (solver == Solver::cusolver) return {};
    const Eigenproblem of = whole_problem(planned, on);
    const SolverLayout layout = of.layout(solver);
    const int columns = of.ranks / layout.grid_rows;
    try {
        check_solver_size(solver_on_grid(solver, of.n, layout.grid_rows, columns), of.n, layout.grid_rows,
                          columns, layout.block, of.vectors,
                          2 * planned.study.spectrum.count <= of.n && planned.study.spectrum.count > 0);
    } catch (const Error& e) {
        return e.what();
    }
    return {};
}

StageForecast spectrum_forecast(const PlannedStudy& planned, const Forecast& on) {
    const GramJob& job = planned.job;
    const bool vectors = planned.study.spectrum.vectors;
    const Solver solver = planned_solver(planned, on);
    const double local = local_matrices(job, on).gram, n = static_cast<double>(job.train_rows),
                 p = on.ranks();
    const auto asked = static_cast<double>(planned.study.spectrum.count);
    const double count = asked > 0 ? std::min(asked, n) : n;
    const SolverCost cost = solver_cost(solver, vectors, count / n);
    const auto spectra = static_cast<double>(std::ranges::count_if(
        job.formulas, [](const KernelFormula& f) { return f.formula != Formula::asymmetric_signgd; }));
    // The first formula's matrix and vectors wait for the rates while the others' spectra are made.
    const double waiting = spectra > 1 ? 2 * local : 0;
    const bool whole = solver == Solver::lapack || solver == Solver::cusolver;
    const Eigenproblem problem = whole_problem(planned, on);
    double working = working_bytes(problem, solver, count / n);
    // Its workspace is known there alone: where the fit is close, the CPU may have to do it after all.
    constexpr double close = 0.8;
    if (solver == Solver::cusolver &&
        planned_whole_solver_bytes(job.train_rows, vectors) > close * device_memory_of_spectrum(planned))
        working = std::max(working, working_bytes(problem, problem.solver_without_gpu(), count / n));
    // The pairs that are known are taken out of the density's probes on every rank.
    if (planned.study.spectrum.density && count < n) working = std::max(working, 3 * local + 8 * n * count);
    StageForecast spectrum{"spectrum",
                           job.idle_bytes + working + waiting,
                           0,
                           spectra * cost.flops_per_cube * n * n * n,
                           spectra * (on.ranks() > 1 ? 8 * n * n / p : 0),
                           spectra * (vectors ? 8 * n * count : 8 * count),
                           0};
    spectrum.seconds = reading_and_writing +
                       spectrum.flops * planned.calibration.per_float64_flop / (whole ? on.ranks_of_host : p);
    return spectrum;
}

/// Of the largest rank while it learns a subset: what its group holds of the subset's kernel, of the rows
/// that judge it and of the solver's.
double subset_bytes(const PlannedStudy& planned, const Forecast& on, Index size) {
    const GramJob& job = planned.job;
    const Index n = job.train_rows, examples = job.data.train.examples(), rows = size * n / examples,
                judging = job.test_rows > 0 ? job.test_rows : n / 2;
    const int ranks = ranks_of_subset(static_cast<double>(rows), static_cast<double>(n),
                                      static_cast<double>(judging), on.ranks());
    const Eigenproblem of{rows, ranks, ProcessGrid::rows_of_most_square(ranks),
                          std::min(ranks, on.ranks_of_host), true};
    double working = working_bytes(of, of.solver_without_gpu(), 1);
    if (planned.device_memory && rows > always_in_one_piece)
        working = std::max(working, working_bytes(of, Solver::cusolver, 1));
    const auto judged_by = [&](Index of_rows) {
        return 8 * local_elements(of_rows, rows, of.grid_rows, of.grid_columns());
    };
    const bool by_half = job.test_rows == 0 ? size <= examples / 2 : size == examples / 2;
    return working + (job.test_rows > 0 ? judged_by(job.test_rows) : 0) + (by_half ? judged_by(n / 2) : 0);
}

/// Of several tasks, each of which has a spectrum of its own on all ranks; none: there is one.
std::vector<Index> rows_of_tasks(const GramJob& job) {
    std::vector<Index> rows(job.data.task_labels.size() > 1 ? job.data.task_labels.size() : 0);
    if (rows.empty()) return rows;
    const std::vector<Index> offsets = kernel_rows(job.data.train, job.outputs);
    for (Index e = 0; e < job.data.train.examples(); ++e) {
        const auto at = static_cast<std::size_t>(e);
        rows[static_cast<std::size_t>(job.data.train.task(e))] += offsets[at + 1] - offsets[at];
    }
    return rows;
}

/// The Gram matrix with its vectors, the cross matrix with its product with these, a subset, and what
/// gradient descent predicts at some steps at once.
StageForecast rates_forecast(const PlannedStudy& planned, const Forecast& on) {
    const GramJob& job = planned.job;
    const LocalMatrices local = local_matrices(job, on);
    const auto n = static_cast<double>(job.train_rows), m = static_cast<double>(job.test_rows);
    const Index examples = job.data.train.examples();
    double subset = 0;
    std::vector<Index> sizes = curve_sizes(planned.study.rates.sizes, examples);
    sizes.push_back(examples / 2);
    for (const Index size : sizes)
        if (size > 0 && size < examples) subset = std::max(subset, subset_bytes(planned, on, size));
    for (const Index rows : rows_of_tasks(job)) {
        const Eigenproblem of{rows, on.ranks(), on.grid_rows, on.ranks_of_host, true};
        subset = std::max(subset, working_bytes(of, of.solver_without_gpu(), 1));
    }
    const auto lists = static_cast<double>(scored_at_once),
               outputs = static_cast<double>(job.outputs.components());
    const double predictions = 8 * lists * ((1 + outputs) * n + 2 * outputs * m);
    StageForecast rates{"rates", job.idle_bytes + 2 * local.gram + 2 * local.cross + subset + predictions,
                        0,       (6.0 + 2.0 * static_cast<double>(planned.study.rates.repeats)) * n * n * n,
                        0,       8 * n * 10,
                        0};
    // Copies of the Gram and the cross matrix, and vectors of their own.
    if (planned.study.rates.center == "kernel") {
        rates.own_bytes += 3 * local.gram + local.cross;
        rates.flops += 9 * n * n * n;
    }
    rates.seconds = 2 * reading_and_writing + rates.flops * planned.calibration.per_float64_flop / on.ranks();
    return rates;
}

/// Forward passes and, on the first rank, least squares.
StageForecast head_forecast(const PlannedStudy& planned, const Forecast& on) {
    const Program& program = planned.model.program;
    const GramJob& job = planned.job;
    const FittedHeadCost cost = fitted_head_cost(program, job);
    const double passes =
        forward_flops(program, job.data.train.passed().tokens, job.data.train.passed().reads);
    return {"head",
            planned.own_before() + on.assembly.pass_bytes + cost.bytes,
            planned.weights.shared,
            passes + cost.flops,
            cost.received_bytes,
            0,
            passes * planned.calibration.per_pass_flop / on.ranks() +
                cost.flops * planned.calibration.per_float64_flop};
}

/// The rates of the largest eigenvalues alone.
StageForecast largest_rates_forecast(const GramJob& job) {
    const double n = static_cast<double>(job.train_rows);
    return {"rates", job.idle_bytes + 8 * n * 10, 0, 0, 0, 8 * n, 2 * reading_and_writing};
}

/// Of a Gram matrix that is not formed: a look at all of J, then products with blocks of vectors.
template <class Real>
void add_free_stages(const PlannedStudy& planned, const PlannedKernels<Real>& kernels, Forecast& on) {
    const GramJob& job = planned.job;
    const auto& asked = planned.study.spectrum;
    const Index count = std::clamp<Index>(asked.count, 1, job.train_rows), block = LanczosSettings().block;
    KernelProblem problem{job.data.train, nullptr, job.outputs, job.parameters, job.formulas};
    OperatorCost cost = operator_cost<Real>(planned.model.program, problem, on.ranks());
    const double n = static_cast<double>(job.train_rows),
                 vectors = 8 * n *
                           static_cast<double>(2 * count + lanczos_basis(job.train_rows, count) + 8 * block),
                 // Examples are dealt out in tiles there and in runs here: blocks of passes are alike.
        passes_bytes = kernels.kernel.cost(on.grid_rows, on.grid_columns, problem.factor_bytes).pass_bytes,
                 held = planned.own_before() + passes_bytes + cost.piece_bytes + vectors,
                 allowed = planned.limit - planned.weights.shared / on.ranks_of_host;
    constexpr double used = 0.97;  // the rest is the allocator's
    on.factor_limit = problem.factor_bytes;
    if (held + cost.factor_bytes > allowed) {
        on.factor_limit = problem.factor_bytes = std::max(0.0, used * allowed - held);
        cost = operator_cost<Real>(planned.model.program, problem, on.ranks());
    }
    on.free = true;
    on.assembly.matrix_bytes = vectors;
    on.assembly.slice_bytes = cost.piece_bytes;
    on.assembly.factor_bytes = cost.factor_bytes;
    on.assembly.pass_bytes = passes_bytes;
    on.assembly.passes = cost.groups;
    // As measured (24 blocks for 50 pairs of SST-2): a dozen until the first are found, three for each block
    // of pairs, their certificate among them.
    const Index of_pairs = 12 + 3 * ((count + block - 1) / block),
                of_density = asked.density ? density_steps : 0;
    const auto blocks = static_cast<double>(of_pairs + of_density),
               multiplied_vectors = static_cast<double>(of_pairs * block + of_density * density_probes),
               repeated = cost.groups > 1 ? blocks : 0;
    const Calibration& speed = planned.calibration;
    const auto seconds = [&](double passes, double multiplied, double products) {
        return (passes * speed.per_pass_flop + multiplied * speed.per_product_flop +
                products * speed.per_float64_flop) /
               on.ranks();
    };
    const double vector_flops = cost.vector_flops * multiplied_vectors,
                 multiplied = cost.multiply_out_flops * blocks, passes = cost.pass_flops * repeated;
    on.stages.push_back({"gram", held - vectors + cost.factor_bytes, planned.weights.shared,
                         cost.pass_flops + cost.multiply_out_flops, 0, 8 * n,
                         seconds(cost.pass_flops, cost.multiply_out_flops, 0)});
    on.stages.push_back(
        {"spectrum", held + cost.factor_bytes, planned.weights.shared, vector_flops + multiplied + passes,
         on.ranks() > 1 ? 8 * multiplied_vectors * (n + cost.vector_flops / (4 * n)) : 0,
         asked.vectors ? 8 * n * static_cast<double>(count) : 0, seconds(passes, multiplied, vector_flops)});
    // The path and bounds from the values that are known, on the first rank.
    on.stages.push_back(largest_rates_forecast(job));
}

/// Vectors of the trained weights' size, of float64, and the network's own copy of the weights.
template <class Real>
struct TrainingBytes {
    double always;      ///< the rule's, the gradient's sums, of several tasks the vectors
    double checkpoint;  ///< more while one is written or read

    TrainingBytes(const PlannedStudy& planned, int ranks) {
        const auto& asked = planned.study.finetune;
        const OptimizerSettings settings{rule_by_name(asked.optimizer), 0, asked.momentum};
        const Index batch = asked.batch > 0 ? asked.batch : planned.job.data.train.examples(),
                    tasks = std::ssize(planned.study.tasks);
        const auto weights = static_cast<double>(planned.job.parameter_count),
                   kept = static_cast<double>(1 + settings.moments());
        const int threads = omp_get_max_threads();
        const auto vectors = static_cast<double>(1 + tasks + gradient_vectors(batch, ranks, threads)) + kept;
        always = weights * (sizeof(Real) + 8 * vectors) +
                 8 * static_cast<double>(second_part_entries(planned.model.program, planned.job.parameters,
                                                             batch, ranks, threads));
        checkpoint = 8 * weights * kept * (1 + 1.0 / ranks);  // copies, and a rank's parts of them
    }
};

/// Flops of the gradients of the selected linear weights over all examples of a data set.
double gradient_flops(const Program& program, const std::vector<ParameterId>& selected, const DataSet& data) {
    double flops = 0;
    for (const Operation& operation : program.operations()) {
        const auto* const linear = std::get_if<operation::Linear>(&operation);
        if (linear == nullptr || std::ranges::find(selected, linear->weight) == selected.end()) continue;
        const auto passed = data.passed();
        const Index rows = program.shape(linear->out).rows == RowSet::tokens ? passed.tokens : passed.reads;
        flops +=
            2 * static_cast<double>(rows) * static_cast<double>(program.parameters()[linear->weight].size());
    }
    return flops;
}

/// Seconds of one step on a batch of so many of the training examples, and its flops.
struct StepForecast {
    double seconds, flops;

    StepForecast(const PlannedStudy& planned, int ranks, Index batch) {
        const GramJob& job = planned.job;
        const Program& program = planned.model.program;
        const DataSet& train = job.data.train;
        const double share = static_cast<double>(batch) / static_cast<double>(train.examples()),
                     passes = share * pass_flops(program, job.parameters, train.passed(), 1),
                     gradients = share * gradient_flops(program, job.parameters, train);
        const Index parts = gradient_parts(batch), threads = omp_get_max_threads(),
                    in_turn = (parts + ranks * threads - 1) / (ranks * threads);  // of one thread
        // Passes over every weight: of each part's sums by those who work side by side, of the tree, the rule
        // and the new weights by all. Products of few tokens reach two thirds of the longer ones' speed.
        // Plans made so took 0.6 to 1.1 of what was measured (two models, one and two ranks).
        const auto entries = static_cast<double>(job.parameter_count * (4 + in_turn));
        const Calibration& speed = planned.calibration;
        flops = passes + gradients;
        seconds = (passes * speed.per_pass_flop + 1.5 * gradients * speed.per_product_flop) *
                      static_cast<double>(in_turn * threads) / static_cast<double>(parts) +
                  entries * speed.per_packed_entry;
    }
};

/// Training, and then the kernel of the trained weights with its eigenvalues; of several tasks training
/// alone.
template <class Real>
StageForecast finetune_forecast(const PlannedStudy& planned, const PlannedKernels<Real>& kernels,
                                Forecast& result) {
    const GramJob& job = planned.job;
    const auto& asked = planned.study.finetune;
    const DataSet& train = job.data.train;
    const TrainingBytes<Real> training(planned, result.ranks());
    const auto n = static_cast<double>(job.train_rows), m = static_cast<double>(job.test_rows),
               p = static_cast<double>(result.ranks()), weights = static_cast<double>(job.parameter_count);
    const bool several = !planned.study.tasks.empty();
    const double rows = StoredKernels::bytes(planned.study, job.train_rows, job.test_rows, result.ranks()),
                 tiles = local_matrices(job, result).gram;
    const double held = planned.own_before() + result.assembly.large_pass_bytes + training.always + rows,
                 allowed = planned.limit - planned.weights.shared / result.ranks_of_host;
    AssemblyCost after;
    double kernel = 0;
    if (!several) {
        const auto cost = [&](double factor_bytes) {
            return kernels.trained->cost(result.grid_rows, result.grid_columns, factor_bytes);
        };
        after = cost(std::numeric_limits<double>::infinity());
        const double without = held + tiles + after.slice_bytes;
        if (without + after.factor_bytes > allowed) {
            constexpr double used = 0.97;  // the rest is the allocator's
            result.trained_factor_limit = std::max(0.0, used * allowed - without);
            after = cost(result.trained_factor_limit);
        } else {
            result.trained_factor_limit = after.factor_bytes;
        }
        kernel = tiles + std::max({after.slice_bytes + after.factor_bytes, 8 * n * n / p,
                                   (solver_cost(Solver::automatic, false, 1).matrices - 1) * tiles});
    }
    result.training_steps = asked.steps.value_or(training_steps_assumed);
    const auto steps = static_cast<double>(result.training_steps);
    const Index batch = asked.batch > 0 ? asked.batch : train.examples();
    const auto forward = [&](const DataSet& data) {
        return forward_flops(planned.model.program, data.passed().tokens, data.passed().reads);
    };
    // Outputs at two steps for every power of two.
    const StepForecast step(planned, result.ranks(), batch);
    const double recorded = 2 * std::log2(1 + steps) + 2,
                 outputs = recorded * (forward(train) + (job.data.test ? forward(*job.data.test) : 0));
    StageForecast stage{
        "finetune",
        held + std::max(training.checkpoint, kernel),
        planned.weights.shared,
        steps * step.flops + outputs + after.pass_flops + after.product_flops,
        (p > 1 ? 16 * weights * steps : 0) + after.received_bytes,
        sizeof(Real) * weights * static_cast<double>(std::max<std::size_t>(1, planned.study.tasks.size())) +
            16 * recorded * (n + m),
        0};
    const Calibration& speed = planned.calibration;
    stage.seconds =
        steps * step.seconds +
        (outputs * speed.per_pass_flop +
         (after.pass_flops * speed.per_pass_flop + after.packed_entries * speed.per_packed_entry) *
             after.pass_imbalance +
         after.product_flops * speed.per_product_flop * after.imbalance) /
            p;
    return stage;
}

}  // namespace

std::string memory_text(const Forecast& on, const StageForecast& stage) {
    const std::string own = bytes_text(stage.own_bytes);
    if (stage.shared_bytes == 0) return own;
    return fmt::format("{} on the largest rank and {} that the {} of a host share{}", own,
                       bytes_text(stage.shared_bytes),
                       on.ranks_of_host == 1 ? "rank" : fmt::format("{} ranks", on.ranks_of_host),
                       on.ranks_of_host == 1 ? "s" : "");
}

void check_device_memory(const PlannedStudy& planned, const Forecast& on) {
    if (!planned.device_memory || on.device_least <= *planned.device_memory) return;
    throw Error(
        ExitStatus::study, ErrorKind::no_memory,
        fmt::format("the GPU of each of {} rank{} would hold {} of slices and sums at least, {} allowed "
                    "(--device-memory); use more ranks with a GPU each, or --device cpu",
                    on.ranks(), on.ranks() == 1 ? "" : "s", bytes_text(on.device_least),
                    bytes_text(*planned.device_memory)));
}

Index longest_sequence(const GramJob& job) {
    Index longest = 1;
    for (const DataSet* const data : {&job.data.train, job.data.test ? &*job.data.test : nullptr})
        for (Index e = 0; data != nullptr && e < data->examples(); ++e)
            for (Index s = 0; s < data->sequences(e); ++s)
                longest = std::max(longest, data->passed(e, s).tokens);
    return longest;
}

bool is_later(const StageForecast& stage) {
    return stage.stage == "spectrum" || stage.stage == "rates" || stage.stage == "finetune";
}

const StageForecast& Forecast::largest() const {
    return *std::ranges::max_element(stages, {}, [this](const StageForecast& of) { return bytes(of); });
}

const StageForecast& Forecast::largest_until_written() const {
    return *std::ranges::max_element(
        stages, {}, [this](const StageForecast& of) { return is_later(of) ? -1.0 : bytes(of); });
}

const StageForecast* Forecast::of(const std::string& stage) const {
    const auto found = std::ranges::find(stages, stage, &StageForecast::stage);
    return found == stages.end() ? nullptr : &*found;
}

bool Forecast::fits(const PlannedStudy& planned, bool gram_alone) const {
    return (gram_alone ? bytes_until_written() <= planned.limit
                       : bytes() <= planned.limit && solver_refusal.empty()) &&
           device_least <= planned.device_memory.value_or(device_least);
}

double Forecast::disk_bytes() const {
    double finished = 0, most = 0;
    for (const StageForecast& stage : stages) {
        most = std::max(most, 2 * finished + stage.written_bytes);
        finished += stage.written_bytes;
    }
    return most;
}

namespace {

template <class Real>
Forecast forecast(const PlannedStudy& planned, const PlannedKernels<Real>& kernels, int ranks) {
    Forecast result;
    result.grid_rows = ProcessGrid::rows_of_most_square(ranks);
    result.grid_columns = ranks / result.grid_rows;
    result.ranks_of_host = std::min(ranks, planned.ranks_of_host);
    if (planned.study.spectrum.free()) {
        if (planned.study.model.head_init == "least-squares")
            result.stages.push_back(head_forecast(planned, result));
        add_free_stages(planned, kernels, result);
        return result;
    }
    result.stages.push_back(gram_forecast(planned, kernels, result));
    if (planned.study.model.head_init == "least-squares")
        result.stages.insert(result.stages.begin(), head_forecast(planned, result));
    result.stages.push_back(spectrum_forecast(planned, result));
    result.solver_refusal = solver_refusal(planned, result);
    if (planned.study.spectrum.count > 0)
        result.stages.push_back(largest_rates_forecast(planned.job));
    else if (planned.study.spectrum.vectors)
        result.stages.push_back(rates_forecast(planned, result));
    if (planned.study.finetune.asked) result.stages.push_back(finetune_forecast(planned, kernels, result));
    return result;
}

}  // namespace

template <class Real>
Forecast forecast(const PlannedStudy& planned, int ranks) {
    return forecast(planned, PlannedKernels<Real>(planned), ranks);
}

template <class Real>
std::optional<int> fewest_ranks(const PlannedStudy& planned, bool gram_alone) {
    if (planned.before(planned.ranks_of_host) > planned.limit) return std::nullopt;
    const PlannedKernels<Real> kernels(planned);
    const auto fits = [&](int ranks) { return forecast(planned, kernels, ranks).fits(planned, gram_alone); };
    int most = 1;
    while (!fits(most)) {
        if (most >= most_ranks_tried) return std::nullopt;
        most *= 2;
    }
    // Neither grids nor tiles divide evenly: less than half as many may do where half as many do not.
    const int step = std::max(1, most / 64);
    int least = most / 4 + step;
    while (least < most && !fits(least)) least += step;
    return std::min(least, most);
}

template Forecast forecast<float>(const PlannedStudy&, int);
template Forecast forecast<double>(const PlannedStudy&, int);
template std::optional<int> fewest_ranks<float>(const PlannedStudy&, bool);
template std::optional<int> fewest_ranks<double>(const PlannedStudy&, bool);

}  // namespace tangram
