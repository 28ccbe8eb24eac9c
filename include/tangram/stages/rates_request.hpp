#pragma once
#include "tangram/learning/kernel_rates.hpp"
#include "tangram/session/session.hpp"
#include "tangram/study/configuration.hpp"

namespace tangram {

/// What a study asks of the rates. Local.
RatesOptions rates_options(const Study& study);

/// Says what the rates say in the session's log; a stop request ends them between two units, on every rank,
/// with Error(stopped).
Listener rates_listener(const Session& session);

}  // namespace tangram
