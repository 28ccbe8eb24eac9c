#include <fmt/core.h>

#include "rates_input.hpp"
#include "study_state.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/session/clock.hpp"
#include "tangram/stages/rates_file.hpp"
#include "tangram/stages/rates_request.hpp"
#include "tangram/study/file_contents.hpp"
#include "tangram/study/fingerprints.hpp"

namespace tangram {

void StudyRun::rates() {
    State& s = *state_;
    s.session.log.enter("rates");
    const std::string spectrum_hash = s.attribute("/spectrum", "inputs", "spectrum");
    s.check_study("rates");
    const RatesOptions options = rates_options(s.study);
    const std::string inputs = rates_inputs(s.study, spectrum_hash).hash();
    if (s.is_done("/rates", inputs)) {
        s.session.log.say("rates: made from the same inputs already; skipped");
        return;
    }
    if (!s.study.spectrum.vectors && s.study.spectrum.count == 0)
        throw Error(ExitStatus::study, ErrorKind::contradiction,
                    "rates need eigenvectors; set spectrum.vectors = true");
    require_space(s.comm, s.output, true, 0);
    const auto start = Clock::now();
    check_stop(s.session, "before the rates; the same command begins them");
    RatesMatrices matrices;
    matrices.gram.swap(s.gram_matrix);
    if (s.eigen) matrices.vectors.swap(s.eigen->vectors);
    const RatesInput input =
        read_rates_input(InputFile(s.comm, s.output, ExitStatus::output), s.grid, matrices);
    std::optional<StoppingBounds> bounds;
    const RatesResult result = matrices.largest ? rates_of_largest(input, *matrices.largest, options,
                                                                   rates_listener(s.session), bounds)
                                                : compute_rates(input, options, rates_listener(s.session));
    const double seconds = max_over_ranks(s.comm, seconds_since(start));
    const Provenance provenance = Provenance::gather(s.grid);
    if (s.forecast_of_run) s.warn_beyond_plan("rates", *s.forecast_of_run, provenance);
    const Log::Waiting waiting(s.session.log, "rates: writing " + s.output.string());
    StagedFile file(s.comm, s.output, true, 0.0);
    file.write_small([&](Hdf5File& h5) {
        s.check_unchanged(h5, "/spectrum", spectrum_hash);
        h5.remove("/rates");
        h5.remove("/neighbours");
        h5.remove("/tasks");
        write_rates(h5, result);
        for (const auto& [key, interval] : bounds
                                               ? std::vector{std::pair{"critical_radius", bounds->critical},
                                                             {"stopping_step", bounds->stop}}
                                               : std::vector<std::pair<const char*, Interval>>{}) {
            h5.set_attribute("/rates/stopping", fmt::format("{}_low", key), interval.low);
            h5.set_attribute("/rates/stopping", fmt::format("{}_high", key), interval.high);
        }
        h5.set_attribute("/rates", "inputs", inputs);
        h5.set_attribute("/provenance", "seconds_rates", seconds);
        s.keep_study(h5, "rates");
        h5.set_attribute("/provenance", "peak_bytes_per_rank", provenance.peaks);
        h5.set_attribute("/provenance", "ended", now_text());
        complete_file(h5, s.session.log, "rates");
    });
    file.commit();
    tell_rates(result, s.session.log);
}

}  // namespace tangram
