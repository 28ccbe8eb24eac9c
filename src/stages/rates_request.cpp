#include "tangram/stages/rates_request.hpp"

namespace tangram {

namespace {

Centring centring_of(const std::string& center) {
    return center == "kernel" ? Centring::kernel : center == "true" ? Centring::residual : Centring::none;
}

}  // namespace

RatesOptions rates_options(const Study& study) {
    std::optional<DecayWindow> window;
    if (!study.rates.window.empty()) window = {study.rates.window.front(), study.rates.window.back()};
    return {study.rates.noise,
            study.rates.radius,
            study.rates.step_size,
            centring_of(study.rates.center),
            study.rates.sizes,
            study.rates.repeats,
            study.rates.neighbours,
            static_cast<std::uint64_t>(study.data.seed),
            window};
}

Listener rates_listener(const Session& session) {
    Listener listener;
    listener.progress = [&session](const std::string& part, Index done, Index of) {
        if (done < of) check_stop(session, "during the rates; the same command begins them again");
        if (done == 0) session.log.start(part, of);
        session.log.progress(done);
        if (done == of) session.log.finish();
    };
    listener.say = [&session](const std::string& text) { session.log.say(text); };
    listener.warn = [&session](const std::string& text) { session.log.warn(text); };
    return listener;
}

}  // namespace tangram
