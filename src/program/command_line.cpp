#include "command_line.hpp"

#include <fmt/core.h>

#include <limits>
#include <sstream>

#include "command_line_app.hpp"
#include "tangram/files/nearest.hpp"
#include "tangram/session/session.hpp"

namespace tangram {

namespace {

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

/// As a variable of the shell that is not set leaves a value.
std::string not_empty(const std::string& value) { return value.empty() ? "the value is empty" : ""; }

void add_common_options(CLI::App& app, Arguments& arguments) {
    app.add_option("--set", arguments.settings, "key=value: change a key of the study (repeatable)")
        ->allow_extra_args(false);
    app.add_flag("--quiet", arguments.quiet, "say nothing but warnings and errors");
    app.add_option("--log-json", arguments.log_json, "also write every message as a JSON object per line");
    app.add_option("--time-limit", arguments.time_limit,
                   "stop after this long with a checkpoint, for example 1h50m")
        ->check(not_empty);
    app.add_option("--memory-per-rank", arguments.memory_per_rank,
                   "memory that a rank may take, for example 4GiB (default: what SLURM or the cgroup allows)")
        ->check(not_empty);
    app.add_option("--device", arguments.device,
                   "auto, cpu, cuda or cuda-direct: what multiplies the kernel's tiles and solves "
                   "eigenproblems (auto: GPUs where every rank has one; cuda-direct: MPI reads their memory)")
        ->check(CLI::IsMember({"auto", "cpu", "cuda", "cuda-direct"}));
    app.add_option("--device-memory", arguments.device_memory,
                   "memory of its GPU that a rank may take, for example 70GiB (default: nine tenths, divided "
                   "among the ranks that share it)")
        ->check(not_empty);
}

void add_spectrum_options(CLI::App& spectrum, Arguments& arguments) {
    spectrum.add_option("--matrix", arguments.kernel.matrix,
                        "FILE.h5:/path of any symmetric matrix, instead of a study");
    spectrum.add_option("--output", arguments.output, "output file, with --matrix");
    spectrum
        .add_option("--groups", arguments.groups,
                    "a,b: of the sum of these groups' Gram matrices (kernel.groups)")
        ->delimiter(',')
        ->allow_extra_args(false);
}

void add_rates_options(CLI::App& rates, Arguments& arguments, ShortForms& given) {
    ForeignKernel& kernel = arguments.kernel;
    rates.add_option("--eigenvalues", kernel.eigenvalues,
                     "FILE.h5:/path of the eigenvalues of any Gram matrix, instead of a study");
    rates.add_option("--samples", kernel.samples, "rows of that Gram matrix")
        ->check(CLI::Range(Index{1}, std::numeric_limits<Index>::max()));
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
    add("run", "gram, spectrum, rates and, with [finetune], finetune in order; finished stages are skipped")
        .second->required();
    add("gram", "data -> Jacobian blocks -> Gram matrix").second->required();
    const auto [plan, planned] =
        add("plan", "memory, work and time of every stage, and how many ranks fit; starts none of them");
    planned->required();
    plan->add_option("--ranks", arguments.ranks, "ranks to plan for (default: those of this run)")
        ->check(CLI::Range(1, 65536));
    add("finetune", "trains the network on the study's examples, beside its linearised model")
        .second->required();
    plan->add_flag("--tensors", arguments.tensors, "a line for every tensor: how it is contracted, and why");
    add("words", "the label words that would do for this model and template").second->required();
    // These two go without a study where a matrix is given.
    add_spectrum_options(*add("spectrum", "eigenvalues, eigenvectors and their quality").first, arguments);
    add_rates_options(*add("rates", "decay, stopping step and error path").first, arguments, given);
}

/// The commands that take output files, and help.
void add_others(CLI::App& app, Arguments& arguments) {
    const auto of_file = [&](const char* command, const char* what) {
        CLI::App* const sub = app.add_subcommand(command, what);
        sub->add_option("FILE", arguments.file, "output file (HDF5)")->required();
        return sub;
    };
    CLI::App* const inspect = of_file("inspect", "one-screen summary of an output file");
    inspect->add_flag("--full", arguments.full, "all that the runs printed (--json holds it anyway)");
    inspect->add_flag("--json", arguments.json, "attributes, tables and curves as JSON");
    of_file("verify", "recompute the checks of an output file");
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
        ->add_option("TOPIC", arguments.topic, "study, output, models, status, log, man or completion");
}

/// The common options as the help of every command shows them.
std::string common_options(const CLI::App& app) {
    std::vector<const CLI::Option*> options;
    for (const CLI::Option* const option : app.get_options())
        if (option->get_name() != "--help") options.push_back(option);
    return CLI::Formatter().make_group("Common options, before or behind the command", false, options);
}

/// What there is instead of the first word that nothing takes; empty where nothing is like it.
std::string suggestion(const CLI::App& app) {
    const std::vector<std::string> unknown = app.remaining(true);
    if (unknown.empty()) return "";
    const std::string word = unknown.front().substr(0, unknown.front().find('='));
    const auto chosen = app.get_subcommands();
    std::vector<std::string> candidates;
    if (word.starts_with("-")) {
        for (const CLI::App* const of : {&app, chosen.empty() ? &app : chosen.front()})
            for (const CLI::Option* const option : of->get_options())
                if (!option->get_positional()) candidates.push_back(option->get_name());
    } else if (chosen.empty()) {
        for (const CLI::App* const command : app.get_subcommands({}))
            candidates.push_back(command->get_name());
    }
    if (candidates.empty()) return "";
    return fmt::format("{}: did you mean {}?", word, nearest(word, candidates));
}

}  // namespace

CommandLine::CommandLine()
    : app("tangram: the empirical neural tangent kernel of a pretrained transformer, its spectrum, and what "
          "it "
          "says about fine-tuning",
          "tangram") {
    app.require_subcommand(0, 1);
    app.fallthrough();
    app.set_version_flag(
        "--version", [] { return library_versions().front() + " (" + git_revision() + ")"; },
        "the version and the commit");
    add_common_options(app, arguments);
    add_stages(app, arguments, given);
    add_others(app, arguments);
    for (CLI::App* const command : app.get_subcommands({})) command->footer(common_options(app));
}

Arguments parse_command_line(int argc, char** argv) {
    CommandLine line;
    try {
        line.app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        if (e.get_exit_code() == 0) {
            std::ostringstream answer;
            line.app.exit(e, answer, answer);
            line.arguments.answer = answer.str();
            return line.arguments;
        }
        const std::string instead = kind_of(e) == ErrorKind::unknown_name ? suggestion(line.app) : "";
        throw Error(ExitStatus::study, kind_of(e),
                    fmt::format("{}; `tangram --help` lists commands and options",
                                instead.empty() ? e.what() : instead));
    }
    Arguments& arguments = line.arguments;
    if (line.app.get_subcommands().empty())
        throw Error(ExitStatus::study, ErrorKind::missing,
                    "no command; `tangram --help` lists commands and options");
    arguments.command = line.app.get_subcommands().front()->get_name();
    const ShortForms& given = line.given;
    const auto set = [&](const char* option, const std::string& key, const std::string& value) {
        for (const std::string& setting : arguments.settings)
            if (setting.starts_with(key + "="))
                throw Error(ExitStatus::study, ErrorKind::contradiction,
                            fmt::format("{} {} and --set {}: give one of them", option, value, setting));
        arguments.settings.push_back(key + "=" + value);
    };
    if (given.noise) set("--noise", "rates.noise", fmt::format("{:.17g}", *given.noise));
    if (given.radius) set("--radius", "rates.radius", fmt::format("{:.17g}", *given.radius));
    if (!given.step_size.empty()) set("--step-size", "rates.step_size", given.step_size);
    return arguments;
}

}  // namespace tangram
