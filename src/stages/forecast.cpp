#include "forecast.hpp"

#include <fmt/format.h>
#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "tangram/arithmetic.hpp"
#include "tangram/blas.hpp"
#include "tangram/error.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/parallel/communicator.hpp"
#include "tangram/session/clock.hpp"
#include "tangram/session/resources.hpp"
#include "tangram/spectrum/eigenpairs.hpp"

namespace tangram {

namespace {

constexpr int most_ranks_tried = 1024;

/// The examples that make the largest blocks, one for every thread.
std::vector<Index> longest_examples(const DataSet& data) {
    std::vector<Index> examples(static_cast<std::size_t>(data.examples()));
    std::iota(examples.begin(), examples.end(), Index{0});
    std::stable_sort(examples.begin(), examples.end(),
                     [&](Index a, Index b) { return data.tokens(a).size() > data.tokens(b).size(); });
    examples.resize(std::min(
        examples.size(), static_cast<std::size_t>(arithmetic::examples_per_block * omp_get_max_threads())));
    return examples;
}

std::string host_name() {
    char name[256] = "";
    gethostname(name, sizeof name - 1);
    return name;
}

/// $XDG_CACHE_HOME/tangram/calibration.json, or ~/.cache/...; empty where neither is set.
std::filesystem::path cache_file() {
    if (const char* const cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0')
        return std::filesystem::path(cache) / "tangram" / "calibration.json";
    if (const char* const home = std::getenv("HOME"); home != nullptr && *home != '\0')
        return std::filesystem::path(home) / ".cache" / "tangram" / "calibration.json";
    return {};
}

/// A cache is never worth an error: what cannot be read or written is measured again.
nlohmann::json all_calibrations(const std::filesystem::path& file) {
    std::ifstream in(file);
    const nlohmann::json all = nlohmann::json::parse(in, nullptr, false);
    return all.is_object() ? all : nlohmann::json::object();
}

std::string read_calibration(const std::filesystem::path& file, const std::string& key) {
    const nlohmann::json all = all_calibrations(file);
    const auto found = all.find(key);
    if (found == all.end() || !found->is_array() || found->size() != 4) return "";
    for (const auto& number : *found)
        if (!number.is_number() || !(number.get<double>() >= 0)) return "";
    return found->dump();
}

void write_calibration(const std::filesystem::path& file, const std::string& key,
                       const std::vector<double>& numbers) {
    if (file.empty()) return;
    nlohmann::json all = all_calibrations(file);
    all[key] = numbers;
    std::error_code code;
    std::filesystem::create_directories(file.parent_path(), code);
    const std::filesystem::path partial = file.string() + fmt::format(".{}", getpid());
    std::ofstream(partial) << all.dump(1) << "\n";
    std::filesystem::rename(partial, file, code);
}

double local_elements(Index rows, Index columns, int grid_rows, int grid_columns) {
    const BlockCyclic r{rows, arithmetic::tile_rows, grid_rows},
        c{columns, arithmetic::tile_rows, grid_columns};
    return static_cast<double>(r.local_size(0)) * static_cast<double>(c.local_size(0));
}

/// Measured (Debian 12's ScaLAPACK and ELPA, n from 1500 to 16 384): resident memory of a stage over that of
/// the local matrices of n x n, and seconds over n^3 float64 flops at the speed of dgemm on all ranks.
/// Reduction to tridiagonal form runs at the memory's speed.
struct SolverCost {
    double matrices, flops_per_cube;
};
SolverCost solver_cost(Solver solver, bool vectors) {
    switch (solver) {
        case Solver::lapack:
            return {vectors ? 4.0 : 3.0, vectors ? 9.0 : 5.0};
        case Solver::elpa1:
        case Solver::elpa2:
            return {vectors ? 5.0 : 4.0, vectors ? 12.0 : 8.0};
        default:
            return {vectors ? 6.0 : 4.0, vectors ? 14.0 : 10.0};
    }
}

}  // namespace

double Forecast::bytes() const {
    double most = 0;
    for (const StageForecast& stage : stages) most = std::max(most, stage.bytes);
    return most;
}

template <class Real>
double trial_memory(Network<Real>& network, const GramJob& job, MPI_Comm comm) {
    collectively(comm, [&] {
        const JacobianFactors<Real> factors(network, job.data.train, longest_examples(job.data.train),
                                            job.outputs, job.parameters);
    });
    return static_cast<double>(resident_bytes());
}

template <class Real>
Calibration calibrated(Network<Real>& network, const GramJob& job, const std::string& model_sha256,
                       const Session& session) {
    const MPI_Comm comm = session.world.get();
    const std::filesystem::path file = cache_file();
    const std::string key =
        fmt::format("{} {} {} {} {} x {} {} {}", host_name(), git_revision(), model_sha256, sizeof(Real),
                    session.world.size(), omp_get_max_threads(), job.parameter_count, job.outputs.passes());
    std::string stored;
    if (session.world.rank() == 0) stored = read_calibration(file, key);
    broadcast(comm, stored, 0);
    if (!stored.empty()) {
        const auto numbers = nlohmann::json::parse(stored).get<std::vector<double>>();
        return {numbers.at(0), numbers.at(1), numbers.at(2), numbers.at(3)};
    }

    Calibration result;
    const std::vector<Index> examples = longest_examples(job.data.train);
    Index tokens = 0;
    for (const Index example : examples) tokens += std::ssize(job.data.train.tokens(example));
    const Program& program = network.program();
    auto start = Clock::now();
    const JacobianFactors<Real> factors(network, job.data.train, examples, job.outputs, job.parameters);
    result.per_pass_flop = seconds_since(start) / (forward_flops(program, tokens, std::ssize(examples)) *
                                                   static_cast<double>(1 + job.outputs.passes()));

    start = Clock::now();
    std::vector<Real> gradient;
    double entries = 0;
    for (std::size_t s = 0; s < job.parameters.size() && seconds_since(start) < 0.2; ++s) {
        if (job.formulas.front().choices[s].chosen != Contraction::multiply_out) continue;
        const Index size = program.parameters()[job.parameters[s]].size();
        gradient.resize(static_cast<std::size_t>(size));
        for (Index e = 0; e < std::ssize(examples); ++e) {
            factors.multiply_out(job.parameters[s], 0, size, e, 0, gradient.data());
            entries += static_cast<double>(size);
        }
    }
    // These examples are the longest; laying rows side by side takes what multiplying out mean ones saves.
    if (entries > 0) result.per_packed_entry = seconds_since(start) / entries / omp_get_max_threads();

    result.per_product_flop = product_seconds_per_flop<Real>() / omp_get_max_threads();
    constexpr int n = 512;
    const std::vector<double> a(n * n, 0.5);
    std::vector<double> c(a.size());
    start = Clock::now();
    int repeats = 0;
    for (; repeats < 3 || seconds_since(start) < 0.05; ++repeats)
        gemm('N', 'N', n, n, n, a.data(), n, a.data(), n, c.data(), n);
    result.per_float64_flop = seconds_since(start) / (2.0 * n * n * n * repeats);
    for (double* const value : {&result.per_pass_flop, &result.per_packed_entry, &result.per_product_flop,
                                &result.per_float64_flop})
        *value = max_over_ranks(comm, *value);
    if (session.world.rank() == 0)
        write_calibration(file, key,
                          {result.per_pass_flop, result.per_packed_entry, result.per_product_flop,
                           result.per_float64_flop});
    return result;
}

template <class Real>
Forecast forecast(const Program& program, const GramJob& job, const Study& study,
                  const Calibration& calibration, double resident, double limit, int ranks) {
    Forecast result;
    result.grid_rows = ProcessGrid::rows_of_most_square(ranks);
    result.grid_columns = ranks / result.grid_rows;
    const auto cost = [&](double factor_limit) {
        const KernelProblem problem{job.data.train,
                                    job.data.test ? &*job.data.test : nullptr,
                                    job.outputs,
                                    job.parameters,
                                    job.formulas,
                                    factor_limit,
                                    study.kernel.sketch,
                                    static_cast<std::uint64_t>(study.data.seed),
                                    job.groups.group_of};
        return assembly_cost<Real>(program, job.data.label_ids, problem, result.grid_rows,
                                   result.grid_columns);
    };
    result.factor_limit = std::numeric_limits<double>::infinity();
    AssemblyCost assembly = cost(result.factor_limit);
    const double held = resident + assembly.matrix_bytes + assembly.slice_bytes;
    if (held + assembly.factor_bytes > limit) {
        constexpr double used = 0.97;  // the rest is the allocator's
        result.factor_limit = std::max(0.0, used * limit - held);
        assembly = cost(result.factor_limit);
    }
    result.assembly = assembly;
    const double n = static_cast<double>(job.train_rows), m = static_cast<double>(job.test_rows);
    const double p = ranks;
    const auto kernels = static_cast<double>(job.formulas.size()),
               groups = static_cast<double>(job.groups.names.size());
    StageForecast gram{"gram",
                       held + assembly.factor_bytes,
                       assembly.pass_flops + assembly.product_flops,
                       assembly.received_bytes,
                       8 * n * (kernels * m + (study.output.save_gram ? (kernels + groups) * n : 0.0)),
                       0};
    gram.seconds = (assembly.pass_flops * calibration.per_pass_flop +
                    assembly.packed_entries * calibration.per_packed_entry) /
                       p +
                   assembly.product_flops * calibration.per_product_flop * assembly.imbalance / p;

    const Solver named = solver_by_name(study.spectrum.solver);
    const Solver solver = named == Solver::automatic
                              ? choose_solver(job.train_rows, ranks, study.spectrum.vectors).first
                              : named;
    const SolverCost cost_of_solver = solver_cost(solver, study.spectrum.vectors);
    const double local =
        8 * local_elements(job.train_rows, job.train_rows, result.grid_rows, result.grid_columns);
    const double local_cross =
        8 * local_elements(job.test_rows, job.train_rows, result.grid_rows, result.grid_columns);
    const auto spectra = static_cast<double>(std::ranges::count_if(
        job.formulas, [](const KernelFormula& f) { return f.formula != Formula::asymmetric_signgd; }));
    // The first formula's matrix and vectors wait for the rates while the others' spectra are made.
    const double waiting = spectra > 1 ? 2 * local : 0;
    // LAPACK works on one rank: its three matrices are whole.
    const double working = solver == Solver::lapack ? local + (cost_of_solver.matrices - 1) * 8 * n * n
                                                    : cost_of_solver.matrices * local;
    const double solver_ranks = solver == Solver::lapack ? 1 : p;
    StageForecast spectrum{"spectrum",
                           job.idle_bytes + working + waiting,
                           spectra * cost_of_solver.flops_per_cube * n * n * n,
                           spectra * (ranks > 1 ? 8 * n * n / p : 0),
                           spectra * (study.spectrum.vectors ? 8 * n * n : 8 * n),
                           0};
    constexpr double reading_and_writing = 0.1;  // seconds that a stage of any size takes
    spectrum.seconds = reading_and_writing + spectrum.flops * calibration.per_float64_flop / solver_ranks;
    result.stages = {gram, spectrum};
    if (study.spectrum.vectors) {
        // The Gram matrix, its vectors, a subset's Gram matrix with its vectors, and the cross matrices.
        StageForecast rates{"rates",
                            job.idle_bytes + 5 * local + 3 * local_cross,
                            (6.0 + 2.0 * static_cast<double>(study.rates.repeats)) * n * n * n,
                            0,
                            8 * n * 10,
                            0};
        rates.seconds = 2 * reading_and_writing + rates.flops * calibration.per_float64_flop / p;
        result.stages.push_back(rates);
    }
    return result;
}

template <class Real>
std::optional<int> fewest_ranks(const Program& program, const GramJob& job, const Study& study,
                                double resident, double limit, bool gram_alone) {
    const auto fits = [&](int ranks) {
        const Forecast on = forecast<Real>(program, job, study, Calibration{}, resident, limit, ranks);
        return (gram_alone ? on.stages.front().bytes : on.bytes()) <= limit;
    };
    if (resident > limit) return std::nullopt;
    int most = 1;
    while (!fits(most)) {
        if (most >= most_ranks_tried) return std::nullopt;
        most *= 2;
    }
    int least = most / 2;  // does not fit
    while (most - least > 1) {
        const int middle = least + (most - least) / 2;
        (fits(middle) ? most : least) = middle;
    }
    return most;
}

std::string plan_text(const Program& program, const GramJob& job, const Forecast& forecast, double limit,
                      std::optional<int> fewest) {
    const int ranks = forecast.grid_rows * forecast.grid_columns;
    std::string text = fmt::format(
        "{} rows, {} test rows, {} parameters in {} tensors; {} rank{} as {} x {}, {} allowed on each\n\n"
        "{:<9} {:>12} {:>10} {:>12} {:>12} {:>14}\n",
        job.train_rows, job.test_rows, job.parameter_count, job.parameters.size(), ranks,
        ranks == 1 ? "" : "s", forecast.grid_rows, forecast.grid_columns, bytes_text(limit), "stage",
        "memory/rank", "flops", "received/rank", "written", "time");
    for (const StageForecast& stage : forecast.stages)
        text += fmt::format("{:<9} {:>12} {:>10.2e} {:>12} {:>12} {:>14}\n", stage.stage,
                            bytes_text(stage.bytes), stage.flops, bytes_text(stage.received_bytes),
                            bytes_text(stage.written_bytes), duration_text(stage.seconds));
    const AssemblyCost& assembly = forecast.assembly;
    text += fmt::format(
        "\nGram stage on the largest rank: matrices {}, two slices {}, factors {} in {} group{} of tensors "
        "({} forward "
        "and backward pass{} per example)\n",
        bytes_text(assembly.matrix_bytes), bytes_text(assembly.slice_bytes),
        bytes_text(assembly.factor_bytes), assembly.passes, assembly.passes == 1 ? "" : "s", assembly.passes,
        assembly.passes == 1 ? "" : "es");
    text += fmt::format("\n{:<52} {:>10} {:>11}  {:<14} {}\n", "tensor", "size", "slice", "contraction",
                        "flops per pair of rows: multiplied out | in factors | matching rows");
    const auto slice_of = [](const ContractionChoice& choice, Index size) {
        if (choice.chosen == Contraction::factors) return std::string("all factors");
        if (choice.chosen == Contraction::matching_rows)
            return fmt::format("{} columns", arithmetic::matching_columns);
        return std::to_string(std::min(size, arithmetic::slice_depth));
    };
    const auto number = [](double flops) {
        return std::isfinite(flops) ? fmt::format("{:.3g}", flops) : "-";
    };
    for (std::size_t s = 0; s < job.parameters.size(); ++s) {
        const Parameter& parameter = program.parameters()[job.parameters[s]];
        const ContractionChoice& choice = job.formulas.front().choices[s];
        std::string chosen = name(choice.chosen);
        for (const KernelFormula& formula : job.formulas)
            if (formula.choices[s].chosen != choice.chosen)
                chosen += fmt::format(", {}: {}", name(formula.formula), name(formula.choices[s].chosen));
        text += fmt::format("{:<52} {:>10} {:>11}  {:<14} {} | {} | {}\n", parameter.name, parameter.size(),
                            slice_of(choice, parameter.size()), chosen, number(choice.multiplied_out),
                            number(choice.in_factors), number(choice.matching));
    }
    text += forecast.bytes() <= limit
                ? fmt::format("\nfits: {} of {} per rank\n", bytes_text(forecast.bytes()), bytes_text(limit))
                : fmt::format("\ndoes not fit: {} of {} per rank\n", bytes_text(forecast.bytes()),
                              bytes_text(limit));
    if (fewest)
        text += fmt::format("fewest ranks that fit with {} on each: {}\n", bytes_text(limit), *fewest);
    else
        text += fmt::format("no number of ranks up to {} fits with {} on each\n", most_ranks_tried,
                            bytes_text(limit));
    return text;
}

template double trial_memory(Network<float>&, const GramJob&, MPI_Comm);
template double trial_memory(Network<double>&, const GramJob&, MPI_Comm);
template Calibration calibrated(Network<float>&, const GramJob&, const std::string&, const Session&);
template Calibration calibrated(Network<double>&, const GramJob&, const std::string&, const Session&);
template Forecast forecast<float>(const Program&, const GramJob&, const Study&, const Calibration&, double,
                                  double, int);
template Forecast forecast<double>(const Program&, const GramJob&, const Study&, const Calibration&, double,
                                   double, int);
template std::optional<int> fewest_ranks<float>(const Program&, const GramJob&, const Study&, double, double,
                                                bool);
template std::optional<int> fewest_ranks<double>(const Program&, const GramJob&, const Study&, double, double,
                                                 bool);

}  // namespace tangram
