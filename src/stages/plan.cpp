#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "forecast.hpp"
#include "sketch_report.hpp"
#include "study_state.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/session/resources.hpp"
#include "tangram/study/open_study.hpp"

namespace tangram {

namespace {

/// What stands on the GPU of a rank.
std::string device_text(const Forecast& on, double memory) {
    if (on.device_whole == 0) return "The GPUs have no products to do: no slice finds room there\n";
    const double slices = 2 * on.assembly.back_end_slice(memory), sums = on.assembly.back_end_sum_bytes;
    return fmt::format(
        "GPU of each rank: two slices {}, sums {}, of {} allowed: {}; times are this machine's without a "
        "GPU\n",
        bytes_text(slices), bytes_text(sums), bytes_text(memory),
        on.device_whole <= memory   ? "they stay there"
        : on.device_least <= memory ? "sums take turns, which costs time; with more ranks they stay there"
                                    : "does not fit");
}

/// Where passes run, and what they take there.
std::string passes_text(const PlannedStudy& planned, const Forecast& on) {
    const std::string allowed = bytes_text(*planned.pass_memory);
    if (!on.device_passes)
        return fmt::format(
            "Passes: on the CPU, their weights find no room in the {} of the GPU that are theirs\n", allowed);
    const PassNeeds& needs = *on.device_passes;
    return fmt::format("Passes on the GPU of each rank: weights {}, blocks of {} tokens {}, of {} allowed\n",
                       bytes_text(needs.weights), needs.tokens,
                       bytes_text(needs.bytes(longest_sequence(planned.job)) - needs.weights), allowed);
}

/// What other numbers of ranks, or of threads, would use better.
std::string ranks_text(const GramJob& job, const Forecast& on) {
    std::string text;
    const Index tile = arithmetic::tile_rows_of(job.train_rows),
                tiles = (job.train_rows + tile - 1) / tile + (job.test_rows + tile - 1) / tile;
    if (on.ranks() > tiles)
        text += fmt::format(
            "{} tiles of {} rows: {} of {} ranks make no passes; fewer ranks of more threads each "
            "(OMP_NUM_THREADS) would\n",
            tiles, tile, on.ranks() - tiles, on.ranks());
    // Four times as wide as high, or wider; an eighth of the ranks is more than the messages cost.
    int fewer = on.ranks(), rows = on.grid_rows;
    while (fewer > 4 * rows * rows) rows = ProcessGrid::rows_of_most_square(--fewer);
    if (fewer < on.ranks() && 8 * fewer >= 7 * on.ranks())
        text += fmt::format("a grid of {} x {} has many messages; {} ranks make one of {} x {}\n",
                            on.grid_rows, on.grid_columns, fewer, rows, fewer / rows);
    return text;
}

std::string stages_text(const PlannedStudy& planned, const Forecast& on) {
    const GramJob& job = planned.job;
    std::string text = fmt::format(
        "{} rows, {} test rows, {} parameters in {} tensors; {} rank{} as {} x {}, {} allowed on each\n\n"
        "{:<9} {:>12} {:>12} {:>10} {:>12} {:>12} {:>14}\n",
        job.train_rows, job.test_rows, job.parameter_count, job.parameters.size(), on.ranks(),
        on.ranks() == 1 ? "" : "s", on.grid_rows, on.grid_columns, bytes_text(planned.limit), "stage",
        "own/rank", "shared/host", "flops", "received/rank", "written", "time");
    for (const StageForecast& stage : on.stages)
        text += fmt::format("{:<9} {:>12} {:>12} {:>10.2e} {:>12} {:>12} {:>14}\n", stage.stage,
                            bytes_text(stage.own_bytes), bytes_text(stage.shared_bytes), stage.flops,
                            bytes_text(stage.received_bytes), bytes_text(stage.written_bytes),
                            planned.calibration.per_pass_flop > 0 ? duration_text(stage.seconds) : "-");
    const AssemblyCost& assembly = on.assembly;
    text += fmt::format("\nDisk: {} at most, as a stage adds to a copy of the finished file\n",
                        bytes_text(on.disk_bytes()));
    if (on.free)
        return text + fmt::format(
                          "No matrix is formed; the largest rank's own: program and data {}, weights {}, "
                          "passes {}, "
                          "vectors {}, a piece of J {}, factors {} in {} group{} of tensors{}; the number of "
                          "products is "
                          "estimated\n",
                          bytes_text(job.idle_bytes), bytes_text(planned.weights.own),
                          bytes_text(assembly.pass_bytes), bytes_text(assembly.matrix_bytes),
                          bytes_text(assembly.slice_bytes), bytes_text(assembly.factor_bytes),
                          assembly.passes, assembly.passes == 1 ? "" : "s",
                          assembly.passes == 1 ? "" : ", with passes of their own for every product");
    text += ranks_text(job, on);
    text += fmt::format(
        "Gram stage, the largest rank's own: program and data {}, weights {}, passes {}, matrices {}, two "
        "slices {}, factors {} in {} group{} of tensors ({} forward and backward pass{} per example)\n",
        bytes_text(job.idle_bytes), bytes_text(planned.weights.own), bytes_text(assembly.pass_bytes),
        bytes_text(assembly.matrix_bytes), bytes_text(assembly.slice_bytes),
        bytes_text(assembly.factor_bytes), assembly.passes, assembly.passes == 1 ? "" : "s", assembly.passes,
        assembly.passes == 1 ? "" : "es");
    if (planned.device_memory) text += device_text(on, *planned.device_memory);
    if (planned.pass_memory) text += passes_text(planned, on);
    if (on.of("finetune") != nullptr && !planned.study.finetune.steps)
        text +=
            fmt::format("Fine-tuning is counted for {} steps: steps = \"auto\" is known once the rates are\n",
                        on.training_steps);
    return text;
}

/// A line of every tensor: how it is contracted, and what the other ways would cost.
std::string tensors_text(const Program& program, const GramJob& job) {
    std::string text =
        fmt::format("\n{:<52} {:>10} {:>11}  {:<14} {}\n", "tensor", "size", "slice", "contraction",
                    "flops per pair of rows: multiplied out | in factors | matching rows");
    const auto slice_of = [&](const ContractionChoice& choice, const Parameter& parameter) {
        if (choice.chosen == Contraction::factors) return std::string("all factors");
        if (choice.chosen == Contraction::matching_rows)
            return fmt::format("{} columns", arithmetic::matching_columns);
        return std::to_string(std::min(
            parameter.size(), slice_depth_of(parameter.shape.back(), job.train_rows + job.test_rows)));
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
                            slice_of(choice, parameter), chosen, number(choice.multiplied_out),
                            number(choice.in_factors), number(choice.matching));
    }
    return text;
}

/// What the texts say, as numbers for --log-json.
void tell_plan(const PlannedStudy& planned, const Forecast& on, std::optional<int> fewest, Log& log) {
    log.number("ranks", on.ranks());
    log.number("fits", on.fits(planned, false) ? 1 : 0);
    log.number("bytes_per_rank", on.bytes());
    if (fewest) log.number("fewest_ranks", *fewest);
    log.number("disk_bytes", on.disk_bytes());
    for (const StageForecast& stage : on.stages) {
        log.number(stage.stage + " own_bytes", stage.own_bytes);
        log.number(stage.stage + " shared_bytes", stage.shared_bytes);
        log.number(stage.stage + " flops", stage.flops);
        if (planned.calibration.per_pass_flop > 0) log.number(stage.stage + " seconds", stage.seconds);
    }
}

std::string verdict_text(const PlannedStudy& planned, const Forecast& on, std::optional<int> fewest) {
    const std::string limit = bytes_text(planned.limit);
    std::string text =
        fmt::format("{}: {}, of {} per rank\n", on.fits(planned, false) ? "fits" : "does not fit",
                    memory_text(on, on.largest()), limit);
    return text + (fewest ? fmt::format("fewest ranks that fit with {} on each: {}\n", limit, *fewest)
                          : fmt::format("no number of ranks up to {} fits with {} on each\n",
                                        most_ranks_tried, limit));
}

}  // namespace

template <class Real>
void StudyRun::State::plan(const LoadedModel& model, const GramJob& job, const PlanRequest& asked) {
    const int ranks = asked.ranks.value_or(session.world.size());
    const double limit = session.memory_per_rank;
    check_against_rows(job, study.finetune.asked);
    PlannedStudy planned{model,
                         job,
                         study,
                         limit,
                         weight_bytes<Real>(model, study),
                         ranks_of_host(session.world),
                         calibrated<Real>(model.program, job, session)};
    if (asked.device_memory) {
        planned.device_memory = (1 - pass_share) * *asked.device_memory;
        planned.pass_memory = pass_share * *asked.device_memory;
    }
    const Forecast on = forecast<Real>(planned, ranks);
    const std::optional<int> fewest = fewest_ranks<Real>(planned, false);
    std::string text = verdict_text(planned, on, fewest) + stages_text(planned, on);
    if (const std::string unused = unused_sketch(job.formulas, study.kernel.sketch); !unused.empty())
        text += unused + "\n";
    if (asked.tensors) text += tensors_text(model.program, job);
    text.pop_back();
    session.log.result(text);
    tell_plan(planned, on, fewest, session.log);
    if (on.bytes() > limit)
        throw Error(
            ExitStatus::study, ErrorKind::no_memory,
            fmt::format(
                "the study does not fit: it needs {}, {} allowed on each of {} rank{}; use {}fewer samples "
                "or --memory-per-rank",
                memory_text(on, on.largest()), bytes_text(limit), ranks, ranks == 1 ? "" : "s",
                fewest ? fmt::format("{} ranks or more, ", *fewest) : ""));
    if (!on.solver_refusal.empty())
        throw Error(ExitStatus::study, ErrorKind::out_of_range, on.solver_refusal);
    check_device_memory(planned, on);
}

void StudyRun::plan(const PlanRequest& asked) {
    State& s = *state_;
    const auto [model, job] = open_study(s.study, s.session);
    if (s.study.kernel.precision == "double")
        s.plan<double>(model, job, asked);
    else
        s.plan<float>(model, job, asked);
}

}  // namespace tangram
