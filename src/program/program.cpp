#include "program.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <regex>

#include "commands.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/session/resources.hpp"
#include "tangram/stages/study_run.hpp"
#include "tangram/study/help.hpp"

namespace tangram {

namespace {

struct Arguments {
    std::string study, output, file, topic, other_file, log_json, time_limit, memory_per_rank;
    std::optional<int> ranks;
    ForeignKernel kernel;
    std::optional<double> noise, radius;
    std::string step_size;
    std::vector<std::string> settings, groups, runs;
    bool quiet = false;
};

/// "1h50m", "90s", "45m", "2h": seconds.
std::chrono::seconds parse_duration(const std::string& text) {
    static const std::regex form(R"((?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s?)?)");
    std::smatch match;
    if (text.empty() || !std::regex_match(text, match, form))
        throw Error(ExitStatus::study,
                    fmt::format("--time-limit {}: write for example 1h50m, 45m or 90s", text));
    const auto part = [&](std::size_t i) { return match[i].matched ? std::stol(match[i]) : 0L; };
    return std::chrono::seconds(3600 * part(1) + 60 * part(2) + part(3));
}

void add_common_options(CLI::App& app, Arguments& arguments) {
    app.add_option("--set", arguments.settings, "key=value: change a key of the study (repeatable)")
        ->allow_extra_args(false);
    app.add_flag("--quiet", arguments.quiet, "say nothing but warnings and errors");
    app.add_option("--log-json", arguments.log_json, "also write every message as a JSON object per line");
    app.add_option("--time-limit", arguments.time_limit,
                   "stop after this long with a checkpoint, for example 1h50m");
    app.add_option(
        "--memory-per-rank", arguments.memory_per_rank,
        "memory that a rank may take, for example 4GiB (default: what SLURM or the cgroup allows)");
}

}  // namespace

int run_program(int argc, char** argv, StopFlag& stop) {
    const Communicator world(MPI_COMM_WORLD);
    const bool speaks = world.rank() == 0;

    Arguments arguments;
    CLI::App app(
        "tangram: the empirical neural tangent kernel of a pretrained transformer, its spectrum, and what it "
        "says "
        "about fine-tuning",
        "tangram");
    app.require_subcommand(0, 1);
    app.fallthrough();
    app.set_version_flag("--version",
                         [] { return library_versions().front() + " (" + git_revision() + ")"; });
    add_common_options(app, arguments);
    const auto study_command = [&](const char* command, const char* what) {
        CLI::App* const sub = app.add_subcommand(command, what);
        sub->add_option("STUDY", arguments.study, "study file (TOML)");
        return sub;
    };
    CLI::App* const run =
        study_command("run", "gram, spectrum and rates in order; finished stages are skipped");
    CLI::App* const gram = study_command("gram", "data -> Jacobian blocks -> Gram matrix");
    CLI::App* const plan = study_command(
        "plan", "memory, work and time of every stage, and how many ranks fit; computes nothing");
    plan->add_option("--ranks", arguments.ranks, "ranks to plan for (default: those of this run)")
        ->check(CLI::Range(1, 65536));
    CLI::App* const spectrum = study_command("spectrum", "eigenvalues, eigenvectors and their quality");
    spectrum->add_option("--matrix", arguments.kernel.matrix,
                         "FILE.h5:/path of any symmetric matrix, instead of a study");
    spectrum->add_option("--output", arguments.output, "output file, with --matrix");
    spectrum
        ->add_option("--groups", arguments.groups,
                     "a,b: of the sum of these groups' Gram matrices (kernel.groups)")
        ->delimiter(',');
    CLI::App* const rates = study_command("rates", "decay, stopping step and error path");
    rates->add_option("--eigenvalues", arguments.kernel.eigenvalues,
                      "FILE.h5:/path of the eigenvalues of any Gram matrix, instead of a study");
    rates->add_option("--samples", arguments.kernel.samples, "rows of that Gram matrix")
        ->check(CLI::PositiveNumber);
    rates->add_option("--matrix", arguments.kernel.matrix, "FILE.h5:/path of any Gram matrix, with --labels");
    rates->add_option("--labels", arguments.kernel.labels,
                      "FILE.h5:/path: integers are classes, other numbers targets");
    rates->add_option("--outputs", arguments.kernel.outputs,
                      "FILE.h5:/path of the initial outputs (default: zero)");
    rates->add_option("--cross", arguments.kernel.cross, "FILE.h5:/path of the test x train Gram matrix");
    rates->add_option("--test-labels", arguments.kernel.test_labels, "FILE.h5:/path, with --cross");
    rates->add_option("--test-outputs", arguments.kernel.test_outputs,
                      "FILE.h5:/path of the initial outputs, with --cross");
    rates->add_option("--noise", arguments.noise, "sigma (default with --matrix: estimated)");
    rates->add_option("--radius", arguments.radius,
                      "RKHS norm bound (default: 1 with --eigenvalues, else estimated)");
    rates->add_option("--step-size", arguments.step_size, "learning rate, or auto: 1/l_1");
    rates->add_option("--output", arguments.output, "output file, with --eigenvalues or --matrix");
    for (CLI::App* const sub : {run, gram, plan}) sub->get_option("STUDY")->required();
    CLI::App* const inspect_command = app.add_subcommand("inspect", "one-screen summary of an output file");
    CLI::App* const verify_command = app.add_subcommand("verify", "recompute the checks of an output file");
    CLI::App* const merge_command =
        app.add_subcommand("merge", "joins the runs of a scale study: rates across runs");
    merge_command->add_option("OUT", arguments.output, "the file to write (HDF5)")->required();
    merge_command->add_option("RUN", arguments.runs, "output files of `tangram run`")->required();
    CLI::App* const compare_command = app.add_subcommand(
        "compare", "what differs between two output files; status 0 same study and results, 1 different");
    compare_command->add_option("A", arguments.file, "output file (HDF5)")->required();
    compare_command->add_option("B", arguments.other_file, "output file (HDF5)")->required();
    CLI::App* const help_command =
        app.add_subcommand("help", "study keys, file layout, exit statuses, log lines");
    help_command->add_option("TOPIC", arguments.topic, "study, output, status or log");
    for (CLI::App* const sub : {inspect_command, verify_command})
        sub->add_option("FILE", arguments.file, "output file (HDF5)")->required();
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        if (e.get_exit_code() == 0) return speaks ? app.exit(e) : 0;
        throw Error(ExitStatus::study,
                    fmt::format("{}; `tangram --help` lists commands and options", e.what()));
    }

    if (app.get_subcommands().empty())
        throw Error(ExitStatus::study, "no command; `tangram --help` lists commands and options");

    if (app.got_subcommand(help_command)) {
        const std::string text = help(arguments.topic);
        if (speaks) std::fputs(text.c_str(), stdout);
        return 0;
    }

    // Short forms of [rates], for a study as for somebody else's kernel.
    if (arguments.noise) arguments.settings.push_back(fmt::format("rates.noise={:.17g}", *arguments.noise));
    if (arguments.radius)
        arguments.settings.push_back(fmt::format("rates.radius={:.17g}", *arguments.radius));
    if (!arguments.step_size.empty()) arguments.settings.push_back("rates.step_size=" + arguments.step_size);

    Log log = collectively(world.get(), [&] { return Log(speaks, arguments.quiet, arguments.log_json); });
    if (!arguments.time_limit.empty())
        stop.stop_at(std::chrono::steady_clock::now() + parse_duration(arguments.time_limit));
    std::optional<double> memory;
    if (!arguments.memory_per_rank.empty())
        memory = parse_bytes(arguments.memory_per_rank, "--memory-per-rank");
    const Session session{world, log, stop, now_text(), memory_limit_per_rank(world, memory)};

    // These write nothing: a stop request ends them where they are.
    std::optional<LeaveOnStop> leave;
    for (CLI::App* const command : {plan, inspect_command, verify_command, compare_command})
        if (app.got_subcommand(command)) leave.emplace(leave_on_stop(session, "; nothing was written"));
    if (app.got_subcommand(inspect_command)) {
        collectively(world.get(), [&] {
            if (speaks) inspect(arguments.file, log);
        });
        return 0;
    }
    if (app.got_subcommand(verify_command)) {
        verify(arguments.file, session);
        return 0;
    }
    if (app.got_subcommand(merge_command)) {
        merge(arguments.output, arguments.runs, session);
        return 0;
    }
    if (app.got_subcommand(compare_command))
        return compare(arguments.file, arguments.other_file, session) ? 0 : 1;
    if (app.got_subcommand(spectrum) && !arguments.kernel.matrix.empty()) {
        if (arguments.output.empty() || !arguments.study.empty() || !arguments.groups.empty())
            throw Error(ExitStatus::study,
                        "spectrum --matrix needs --output OUT.h5, no study and no --groups");
        const Study study = collectively(world.get(), [&] { return default_study(arguments.settings); });
        spectrum_of_matrix(arguments.kernel.matrix, arguments.output, study, session);
        return 0;
    }
    if (app.got_subcommand(rates) &&
        !(arguments.kernel.matrix.empty() && arguments.kernel.eigenvalues.empty())) {
        if (arguments.output.empty() || !arguments.study.empty())
            throw Error(ExitStatus::study,
                        "rates --matrix and rates --eigenvalues need --output OUT.h5 and no study");
        const Study study = collectively(world.get(), [&] { return default_study(arguments.settings); });
        rates_of_kernel(arguments.kernel, arguments.output, study, session);
        return 0;
    }
    if (app.got_subcommand(rates))
        for (const auto& [option, value] : {std::pair{"--labels", &arguments.kernel.labels},
                                            std::pair{"--outputs", &arguments.kernel.outputs},
                                            std::pair{"--cross", &arguments.kernel.cross},
                                            std::pair{"--test-labels", &arguments.kernel.test_labels},
                                            std::pair{"--test-outputs", &arguments.kernel.test_outputs},
                                            std::pair{"--output", &arguments.output}})
            if (!value->empty())
                throw Error(ExitStatus::study,
                            fmt::format("{} goes with --matrix, not with a study", option));
    if (arguments.study.empty() && app.got_subcommand(rates))
        throw Error(ExitStatus::study,
                    "rates needs a study file, --matrix with --labels, or --eigenvalues with --samples");
    if (arguments.study.empty())
        throw Error(ExitStatus::study,
                    "spectrum needs a study file, or --matrix FILE.h5:/path with --output OUT.h5");
    StudyRun study(
        collectively(world.get(),
                     [&] {
                         Study read = read_study(arguments.study, arguments.settings);
                         if (app.got_subcommand(run) && !read.spectrum.vectors)
                             throw Error(
                                 ExitStatus::study,
                                 "`tangram run` ends with the rates, which need eigenvectors; set "
                                 "spectrum.vectors = true or run `tangram gram` and `tangram spectrum`");
                         return read;
                     }),
        session, !app.got_subcommand(plan));
    if (app.got_subcommand(plan)) study.plan(arguments.ranks);
    if (app.got_subcommand(run) || app.got_subcommand(gram)) study.gram(app.got_subcommand(run));
    if (!arguments.groups.empty())
        study.spectrum_of_groups(arguments.groups);
    else if (app.got_subcommand(run) || app.got_subcommand(spectrum))
        study.spectrum();
    if (app.got_subcommand(run) || app.got_subcommand(rates)) study.rates();
    return 0;
}

}  // namespace tangram
