#pragma once
#include <atomic>

namespace tangram::testing {

/// Allocations of this process (operator new, any thread) until one fails; negative: none does.
extern std::atomic<long> allocations_left;
/// Whether one has failed since this was set to false.
extern std::atomic<bool> allocation_failed;

}  // namespace tangram::testing
