#pragma once
#include "tangram/session/session.hpp"
#include "tangram/study/job.hpp"

namespace tangram {

/// Seconds that this machine takes for units of work of one rank, all ranks busy.
struct Calibration {
    double per_pass_flop = 0, per_packed_entry = 0, per_product_flop = 0, per_float64_flop = 0;
};

/// Times forward and backward passes of the program's first layer, with placeholders for its weights, over
/// the first tokens of the longest examples, and small pieces of the rest of the work, about a second in all,
/// on all ranks at once; the slowest counts. Kept in the user's cache folder for the same program, machine,
/// layer and precision. Nothing is measured, and all are zero, where that one layer exceeds the memory that a
/// rank may take. Collective. @throws Error on every rank
template <class Real>
Calibration calibrated(const Program& program, const GramJob& job, const Session& session);

}  // namespace tangram
