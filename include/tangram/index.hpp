#pragma once
#include <cstdint>

namespace tangram {

/// Every size, count and position: matrices and transfers outgrow 32 bits (BLAS and MPI narrow at their own
/// doors).
using Index = std::int64_t;

}  // namespace tangram
