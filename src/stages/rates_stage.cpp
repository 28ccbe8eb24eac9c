#include <fmt/format.h>

#include "rates_input.hpp"
#include "study_state.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/session/clock.hpp"
#include "tangram/stages/rates_file.hpp"
#include "tangram/stages/rates_request.hpp"
#include "tangram/study/inputs.hpp"

namespace tangram {

namespace {

/// What of the options the rates depend on.
std::string text_of(const RatesOptions& options) {
    const auto number = [](const std::optional<double>& value) {
        return value ? fmt::format("{:.17g}", *value) : "auto";
    };
    std::string text = fmt::format("{} {} {} {} {} {}", number(options.noise), number(options.radius),
                                   options.center, options.repeats, options.neighbours, options.seed);
    for (const double alpha : options.step_sizes) text += fmt::format(" {:.17g}", alpha);
    for (const Index size : options.sizes) text += fmt::format(" n{}", size);
    return text;
}

}  // namespace

void StudyRun::rates() {
    State& s = *state_;
    const std::string spectrum_inputs = s.attribute("/spectrum", "inputs", "spectrum");
    s.check_study("rates");
    const RatesOptions options = rates_options(s.study);
    const std::string inputs =
        Inputs().add("spectrum", spectrum_inputs).add("rates", text_of(options)).hash();
    if (s.is_done("/rates", inputs)) {
        s.session.log.say("rates: made from the same inputs already; skipped");
        return;
    }
    if (!s.study.spectrum.vectors)
        throw Error(ExitStatus::study, "rates need eigenvectors; set spectrum.vectors = true");
    const auto start = Clock::now();
    check_stop(s.session, "before the rates; the same command begins them");
    RatesMatrices matrices;
    matrices.gram.swap(s.gram_matrix);
    if (s.eigen) matrices.vectors.swap(s.eigen->vectors);
    const RatesInput input =
        read_rates_input(InputFile(s.comm, s.output, ExitStatus::output), s.grid, matrices);
    const RatesResult result = compute_rates(input, options, rates_listener(s.session));
    const double seconds = max_over_ranks(s.comm, seconds_since(start));
    const Provenance provenance = Provenance::gather(s.grid);
    const Log::Waiting waiting(s.session.log, "rates: writing " + s.output.string());
    StagedFile file(s.comm, s.output, true, 0.0);
    file.write_small([&](Hdf5File& h5) {
        h5.remove("/rates");
        h5.remove("/neighbours");
        h5.remove("/tasks");
        write_rates(h5, result);
        h5.set_attribute("/rates", "inputs", inputs);
        h5.set_attribute("/provenance", "seconds_rates", seconds);
        h5.set_attribute("/provenance", "study", to_toml(s.study));
        h5.set_attribute("/provenance", "peak_bytes_per_rank", provenance.peaks);
        h5.set_attribute("/provenance", "ended", now_text());
    });
    file.commit();
    if (s.forecast_of_run) s.warn_beyond_plan("rates", *s.forecast_of_run, provenance);
    s.session.log.result(rates_summary(result));
}

}  // namespace tangram
