#include "program.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <regex>

#include "chosen_device.hpp"
#include "command_line.hpp"
#include "library_memory.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/session/resources.hpp"
#include "tangram/stages/study_run.hpp"
#include "tangram/study/files_of_ranks.hpp"
#include "tangram/study/help.hpp"

namespace tangram {

namespace {

/// "1h50m", "90s", "45m", "2h": seconds.
std::chrono::seconds parse_duration(const std::string& text) {
    static const std::regex form(R"((?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?)");
    std::smatch match;
    if (text.empty() || !std::regex_match(text, match, form))
        throw Error(ExitStatus::study, ErrorKind::malformed,
                    fmt::format("--time-limit {}: write for example 1h50m, 45m or 90s", text));
    const auto part = [&](std::size_t i) { return match[i].matched ? std::stol(match[i]) : 0L; };
    return std::chrono::seconds(3600 * part(1) + 60 * part(2) + part(3));
}

[[noreturn]] void refuse(ErrorKind kind, const std::string& message) {
    throw Error(ExitStatus::study, kind, message);
}

Study study_of(const Arguments& arguments, const Session& session, LabelWords words = LabelWords::needed) {
    FilesRead files;
    Study study = read_on_all(session.world.get(),
                              [&] { return read_study(arguments.study, arguments.settings, files, words); });
    agree_on_files(files, session.world.get());
    return study;
}

/// What settings say where no study is given. @param read  how the keys begin that the command reads
Study study_of_settings(const Arguments& arguments, const Session& session,
                        const std::vector<std::string>& read) {
    return collectively(session.world.get(), [&] {
        for (const std::string& setting : arguments.settings)
            if (std::ranges::none_of(read, [&](const std::string& key) { return setting.starts_with(key); }))
                refuse(ErrorKind::contradiction,
                       fmt::format("--set {}: is not read; without a study `tangram {}` reads {} alone",
                                   setting, arguments.command, fmt::join(read, ", ")));
        Study study = default_study(arguments.settings);
        if (study.spectrum.free() || study.spectrum.density)
            refuse(ErrorKind::contradiction,
                   fmt::format("spectrum.{} is of a study's own kernel; `tangram {}` takes a matrix that is "
                               "there",
                               study.spectrum.free() ? "matrix = \"free\"" : "density", arguments.command));
        return study;
    });
}

std::optional<double> device_memory(const Arguments& arguments) {
    if (arguments.device_memory.empty()) return std::nullopt;
    return parse_bytes(arguments.device_memory, "--device-memory");
}

/// What draws a file: the script that an installation has beside the program, or that of the sources.
std::string plot_script() {
    std::error_code code;
    const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", code);
    return !code && std::filesystem::exists(program.parent_path() / "tangram-plot", code) ? "tangram-plot"
                                                                                          : "tools/plot";
}

/// Where the result of a run stands and what to do with it. Local; the first rank speaks.
/// @param before  when the file was written last, before the run
void tell_output(const std::filesystem::path& file, std::filesystem::file_time_type before, Log& log) {
    std::error_code code;
    const auto bytes = std::filesystem::file_size(file, code);
    if (code) return;
    const bool written = std::filesystem::last_write_time(file, code) != before;
    log.say(fmt::format("{} {} ({}); next: tangram inspect {} · {} {}",
                        written ? "wrote" : "nothing to do:", file.string(),
                        bytes_text(static_cast<double>(bytes)), file.string(), plot_script(), file.string()));
}

// One function per command: collective, and what it returns is the exit status.

int run_command(const Arguments& arguments, const Session& session) {
    const Study read = study_of(arguments, session);
    if (!read.spectrum.vectors && read.spectrum.count == 0)
        refuse(ErrorKind::contradiction,
               "`tangram run` ends with the rates, which need eigenvectors; set spectrum.vectors = true or "
               "run `tangram gram` and `tangram spectrum`");
    const ChosenDevice device = chosen_device(arguments.device, device_memory(arguments), session);
    say_header(session, device.words, read.output.path);
    std::error_code code;
    const auto before = std::filesystem::last_write_time(read.output.path, code);
    StudyRun study(read, session);
    study.gram(true, device.products.get(), device.passes.get());
    study.spectrum();
    study.rates();
    if (read.finetune.asked) study.finetune();
    tell_output(read.output.path, before, session.log);
    return 0;
}

int gram_command(const Arguments& arguments, const Session& session) {
    const Study study = study_of(arguments, session);
    const ChosenDevice device = chosen_device(arguments.device, device_memory(arguments), session);
    say_header(session, device.words, study.output.path);
    StudyRun(study, session).gram(false, device.products.get(), device.passes.get());
    return 0;
}

int plan_command(const Arguments& arguments, const Session& session) {
    const std::optional<double> memory =
        planned_device_memory(arguments.device, device_memory(arguments), session);
    StudyRun(study_of(arguments, session), session, false).plan({arguments.ranks, arguments.tensors, memory});
    return 0;
}

int spectrum_command(const Arguments& arguments, const Session& session) {
    const std::string& matrix = arguments.kernel.matrix;
    const ChosenDevice device = chosen_device(arguments.device, device_memory(arguments), session);
    if (!matrix.empty()) {
        if (arguments.output.empty() || !arguments.study.empty() || !arguments.groups.empty())
            refuse(ErrorKind::contradiction,
                   "spectrum --matrix needs --output OUT.h5, no study and no --groups");
        say_header(session, device.words, arguments.output);
        spectrum_of_matrix(matrix, arguments.output, study_of_settings(arguments, session, {"spectrum."}),
                           session);
        return 0;
    }
    if (!arguments.output.empty())
        refuse(ErrorKind::contradiction, "--output goes with --matrix; a study has output.path");
    if (arguments.study.empty())
        refuse(ErrorKind::missing,
               "spectrum needs a study file, or --matrix FILE.h5:/path with --output OUT.h5");
    const Study read = study_of(arguments, session);
    say_header(session, device.words, read.output.path);
    StudyRun study(read, session);
    if (arguments.groups.empty())
        study.spectrum();
    else
        study.spectrum_of_groups(arguments.groups);
    return 0;
}

int rates_command(const Arguments& arguments, const Session& session) {
    const ForeignKernel& kernel = arguments.kernel;
    const ChosenDevice device = chosen_device(arguments.device, device_memory(arguments), session);
    if (!kernel.matrix.empty() || !kernel.eigenvalues.empty()) {
        if (arguments.output.empty() || !arguments.study.empty())
            refuse(ErrorKind::contradiction,
                   "rates --matrix and rates --eigenvalues need --output OUT.h5 and no study");
        say_header(session, device.words, arguments.output);
        rates_of_kernel(kernel, arguments.output,
                        study_of_settings(arguments, session, {"data.seed", "rates.", "spectrum."}), session);
        return 0;
    }
    for (const auto& [option, value] :
         {std::pair{"--labels", &kernel.labels}, std::pair{"--outputs", &kernel.outputs},
          std::pair{"--cross", &kernel.cross}, std::pair{"--test-labels", &kernel.test_labels},
          std::pair{"--test-outputs", &kernel.test_outputs}, std::pair{"--output", &arguments.output}})
        if (!value->empty())
            refuse(ErrorKind::contradiction, fmt::format("{} goes with --matrix, not with a study", option));
    if (kernel.samples > 0)
        refuse(ErrorKind::contradiction, "--samples goes with --eigenvalues, not with a study");
    if (arguments.study.empty())
        refuse(ErrorKind::missing,
               "rates needs a study file, --matrix with --labels, or --eigenvalues with --samples");
    const Study study = study_of(arguments, session);
    say_header(session, device.words, study.output.path);
    StudyRun(study, session).rates();
    return 0;
}

int words_command(const Arguments& arguments, const Session& session) {
    words(study_of(arguments, session, LabelWords::not_yet), session);
    return 0;
}

int finetune_command(const Arguments& arguments, const Session& session) {
    const ChosenDevice device = chosen_device(arguments.device, device_memory(arguments), session);
    const Study study = study_of(arguments, session);
    say_header(session, device.words, study.output.path);
    StudyRun(study, session).finetune();
    return 0;
}

int inspect_command(const Arguments& arguments, const Session& session) {
    const Inspection how = arguments.json   ? Inspection::json
                           : arguments.full ? Inspection::full
                                            : Inspection::summary;
    collectively(session.world.get(), [&] {
        if (session.world.rank() == 0) inspect(arguments.file, how, session.log);
    });
    return 0;
}

int verify_command(const Arguments& arguments, const Session& session) {
    verify(arguments.file, session);
    return 0;
}

int merge_command(const Arguments& arguments, const Session& session) {
    merge(arguments.output, arguments.runs, session);
    return 0;
}

int compare_command(const Arguments& arguments, const Session& session) {
    return compare(arguments.file, arguments.other_file, arguments.rtol, session) ? 0 : 1;
}

struct Command {
    const char* name;
    int (*run)(const Arguments&, const Session&);
    bool writes;  ///< an output file; what writes none ends at a stop request, wherever it is
};

constexpr Command commands[] = {
    {"run", run_command, true},          {"gram", gram_command, true},
    {"plan", plan_command, false},       {"spectrum", spectrum_command, true},
    {"rates", rates_command, true},      {"finetune", finetune_command, true},
    {"inspect", inspect_command, false}, {"verify", verify_command, false},
    {"merge", merge_command, true},      {"compare", compare_command, false},
    {"words", words_command, false},
};

}  // namespace

Failure failure_of(const std::exception_ptr& exception) {
    try {
        std::rethrow_exception(exception);
    } catch (const Error& e) {
        return {static_cast<int>(e.status()), e.what()};
    } catch (const std::bad_alloc&) {
        return {2, "out of memory; use more ranks or fewer samples"};
    } catch (const std::system_error& e) {
        if (e.code() != std::errc::resource_unavailable_try_again) return {4, e.what()};
        return {2, "no memory for another thread; use more ranks or fewer samples"};
    } catch (const std::exception& e) {
        return {4, e.what()};
    } catch (...) {
        return {4, "unknown exception"};
    }
}

namespace {

std::string help_text(const std::string& topic) {
    if (topic == "man") return manual_page();
    return topic == "completion" ? bash_completion() : help(topic);
}

/// The file of --log-json on a command line that may be wrong elsewhere; empty without one.
std::string log_json_of(int argc, char** argv) {
    const std::string option = "--log-json";
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == option && i + 1 < argc) return argv[i + 1];
        if (word.starts_with(option + "=")) return word.substr(option.size() + 1);
    }
    return "";
}

/// The command line; what is wrong with it stands in --log-json, too. Local, the same on every rank.
Arguments arguments_of(int argc, char** argv, bool speaks) {
    try {
        Arguments arguments = parse_command_line(argc, argv);
        if (arguments.command == "help") help(arguments.topic);  // refuses the topic, or MPI were not needed
        return arguments;
    } catch (const Error& wrong) {
        try {
            Log(speaks, true, log_json_of(argc, argv))
                .record_failure(static_cast<int>(wrong.status()), wrong.what());
        } catch (const Error&) {  // that file cannot be written, either: the first error counts
        }
        throw;
    }
}

}  // namespace

std::optional<int> answer_without_mpi(int argc, char** argv, bool speaks) {
    std::string text;
    try {
        const Arguments arguments = parse_command_line(argc, argv);
        if (!arguments.command.empty() && arguments.command != "help") return std::nullopt;
        text = arguments.command.empty() ? arguments.answer : help_text(arguments.topic);
    } catch (const Error&) {
        return std::nullopt;  // said by run_program, where all ranks share it
    }
    const int refused = speaks ? write_out(text) : 0;
    if (refused == 0) return 0;
    std::fprintf(stderr, "tangram: error: standard output: cannot be written (%s)\n", std::strerror(refused));
    return static_cast<int>(ExitStatus::output);
}

int run_program(int argc, char** argv, StopFlag& stop) {
    const Communicator world(MPI_COMM_WORLD);
    const bool speaks = world.rank() == 0;
    const Arguments arguments = arguments_of(argc, argv, speaks);
    const Command& command = *std::ranges::find(commands, arguments.command, &Command::name);

    Log log = collectively(world.get(), [&] { return Log(speaks, arguments.quiet, arguments.log_json); });
    try {
        collectively(world.get(), take_library_memory);
        log.enter(arguments.command);
        constexpr const char* with_device[] = {"run", "gram", "plan", "spectrum", "rates", "finetune"};
        const bool has_device = std::ranges::find(with_device, arguments.command) != std::end(with_device);
        if (!has_device && (arguments.device != "auto" || !arguments.device_memory.empty()))
            refuse(ErrorKind::contradiction,
                   "--device and --device-memory go with the commands that compute, and with plan");
        if (!arguments.time_limit.empty())
            stop.stop_at(std::chrono::steady_clock::now() + parse_duration(arguments.time_limit));
        std::optional<double> memory;
        if (!arguments.memory_per_rank.empty())
            memory = parse_bytes(arguments.memory_per_rank, "--memory-per-rank");
        const Session session{world, log, stop, now_text(), memory_limit_per_rank(world, memory)};
        std::optional<LeaveOnStop> leave;
        if (!command.writes) leave.emplace(leave_on_stop(session, "; nothing was written"));
        const int status = command.run(arguments, session);
        collectively(world.get(), [&] { log.check_results(); });
        return status;
    } catch (...) {
        const std::exception_ptr failed = std::current_exception();
        const Failure failure = failure_of(failed);
        log.record_failure(failure.status, failure.message);
        throw;
    }
}

}  // namespace tangram
