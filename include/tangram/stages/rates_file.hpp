#pragma once
#include <string>

#include "tangram/io/hdf5_file.hpp"
#include "tangram/learning/kernel_rates.hpp"

namespace tangram {

/// /rates, /neighbours and /tasks. Local; the first rank.
void write_rates(Hdf5File& file, const RatesResult& result);
/// The rates table and everything else that a user came for, as text for the console.
std::string rates_summary(const RatesResult& result);

}  // namespace tangram
