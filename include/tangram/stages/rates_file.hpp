#pragma once
#include <string>
#include <vector>

#include "tangram/io/hdf5_file.hpp"
#include "tangram/learning/kernel_rates.hpp"
#include "tangram/session/log.hpp"

namespace tangram {

/// /rates, /neighbours and /tasks. Local; the first rank.
void write_rates(Hdf5File& file, const RatesResult& result);
/// Norms, cosines and inner products of task vectors, as data sets whose names begin with `prefix`
/// ("/tasks/"). Local; the first rank.
void write_task_vectors(Hdf5File& file, const std::string& prefix, const TaskVectors& vectors);
/// The rates table and everything else that a user came for, as text for the console.
std::string rates_summary(const RatesResult& result);
/// The lines of a text, as /rates/summary holds what was printed.
std::vector<std::string> lines_of(const std::string& text);
/// Says the summary, and its numbers by name. Local; the first rank speaks.
void tell_rates(const RatesResult& result, Log& log);
/// Exponents as numbers, "exponent SOURCE", " low" and " high" behind the bounds; NaN: not known.
/// @param of  behind each name: of which model, where there are several
void tell_exponents(const std::vector<RateExponent>& exponents, const std::string& of, Log& log);

}  // namespace tangram
