#include "command_line.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <sstream>

#include "tangram/session/session.hpp"

namespace tangram {

namespace {

/// Keys of [rates] that have an option of their own, for a study as for somebody else's kernel.
struct ShortForms {
    std::optional<double> noise, radius;
    std::string step_size;
};

ErrorKind kind_of(const CLI::ParseError& e) {
    switch (static_cast<CLI::ExitCodes>(e.get_exit_code())) {
        case CLI::ExitCodes::ExtrasError:
            return ErrorKind::unknown_name;
        case CLI::ExitCodes::RequiredError:
            return ErrorKind::missing;
        case CLI::ExitCodes::RequiresError:
        case CLI::ExitCodes::ExcludesError:
            return ErrorKind::contradiction;
        default:
            return ErrorKind::malformed;
    }
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

void add_spectrum_options(CLI::App& spectrum, Arguments& arguments) {
    spectrum.add_option("--matrix", arguments.kernel.matrix,
                        "FILE.h5:/path of any symmetric matrix, instead of a study");
    spectrum.add_option("--output", arguments.output, "output file, with --matrix");
    spectrum
        .add_option("--groups", arguments.groups,
                    "a,b: of the sum of these groups' Gram matrices (kernel.groups)")
        ->delimiter(',');
}

void add_rates_options(CLI::App& rates, Arguments& arguments, ShortForms& given) {
    ForeignKernel& kernel = arguments.kernel;
    rates.add_option("--eigenvalues", kernel.eigenvalues,
                     "FILE.h5:/path of the eigenvalues of any Gram matrix, instead of a study");
    rates.add_option("--samples", kernel.samples, "rows of that Gram matrix")->check(CLI::PositiveNumber);
    rates.add_option("--matrix", kernel.matrix, "FILE.h5:/path of any Gram matrix, with --labels");
    rates.add_option("--labels", kernel.labels, "FILE.h5:/path: integers are classes, other numbers targets");
    rates.add_option("--outputs", kernel.outputs, "FILE.h5:/path of the initial outputs (default: zero)");
    rates.add_option("--cross", kernel.cross, "FILE.h5:/path of the test x train Gram matrix");
    rates.add_option("--test-labels", kernel.test_labels, "FILE.h5:/path, with --cross");
    rates.add_option("--test-outputs", kernel.test_outputs,
                     "FILE.h5:/path of the initial outputs, with --cross");
    rates.add_option("--noise", given.noise, "sigma (default with --matrix: estimated)");
    rates.add_option("--radius", given.radius,
                     "RKHS norm bound (default: 1 with --eigenvalues, else estimated)");
    rates.add_option("--step-size", given.step_size, "learning rate, or auto: 1/l_1");
    rates.add_option("--output", arguments.output, "output file, with --eigenvalues or --matrix");
}

/// The commands that take a study: the stages and their plan.
void add_stages(CLI::App& app, Arguments& arguments, ShortForms& given) {
    const auto add = [&](const char* command, const char* what) {
        CLI::App* const sub = app.add_subcommand(command, what);
        return std::pair{sub, sub->add_option("STUDY", arguments.study, "study file (TOML)")};
    };
    add("run", "gram, spectrum and rates in order; finished stages are skipped").second->required();
    add("gram", "data -> Jacobian blocks -> Gram matrix").second->required();
    const auto [plan, planned] =
        add("plan", "memory, work and time of every stage, and how many ranks fit; computes nothing");
    planned->required();
    plan->add_option("--ranks", arguments.ranks, "ranks to plan for (default: those of this run)")
        ->check(CLI::Range(1, 65536));
    // These two go without a study where a matrix is given.
    add_spectrum_options(*add("spectrum", "eigenvalues, eigenvectors and their quality").first, arguments);
    add_rates_options(*add("rates", "decay, stopping step and error path").first, arguments, given);
}

/// The commands that take output files, and help.
void add_others(CLI::App& app, Arguments& arguments) {
    for (const auto& [command, what] : {std::pair{"inspect", "one-screen summary of an output file"},
                                        std::pair{"verify", "recompute the checks of an output file"}})
        app.add_subcommand(command, what)
            ->add_option("FILE", arguments.file, "output file (HDF5)")
            ->required();
    CLI::App* const merge = app.add_subcommand("merge", "joins the runs of a scale study: rates across runs");
    merge->add_option("OUT", arguments.output, "the file to write (HDF5)")->required();
    merge->add_option("RUN", arguments.runs, "output files of `tangram run`")->required();
    CLI::App* const compare = app.add_subcommand(
        "compare", "what differs between two output files; status 0 same study and results, 1 different");
    compare->add_option("A", arguments.file, "output file (HDF5)")->required();
    compare->add_option("B", arguments.other_file, "output file (HDF5)")->required();
    compare
        ->add_option("--rtol", arguments.rtol,
                     "numbers count as the same within this share of their data set's largest (default: 0)")
        ->check(CLI::Range(0.0, 1.0));
    app.add_subcommand("help", "study keys, file layout, keys of models, exit statuses, log lines")
        ->add_option("TOPIC", arguments.topic, "study, output, models, status or log");
}

}  // namespace

Arguments parse_command_line(int argc, char** argv) {
    Arguments arguments;
    ShortForms given;
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
    add_stages(app, arguments, given);
    add_others(app, arguments);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        if (e.get_exit_code() == 0) {
            std::ostringstream answer;
            app.exit(e, answer, answer);
            arguments.answer = answer.str();
            return arguments;
        }
        throw Error(ExitStatus::study, kind_of(e),
                    fmt::format("{}; `tangram --help` lists commands and options", e.what()));
    }
    if (app.get_subcommands().empty())
        throw Error(ExitStatus::study, ErrorKind::missing,
                    "no command; `tangram --help` lists commands and options");
    arguments.command = app.get_subcommands().front()->get_name();
    if (given.noise) arguments.settings.push_back(fmt::format("rates.noise={:.17g}", *given.noise));
    if (given.radius) arguments.settings.push_back(fmt::format("rates.radius={:.17g}", *given.radius));
    if (!given.step_size.empty()) arguments.settings.push_back("rates.step_size=" + given.step_size);
    return arguments;
}

}  // namespace tangram
