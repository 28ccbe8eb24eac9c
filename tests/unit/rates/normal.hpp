#pragma once
#include <cmath>
#include <cstdint>
#include <numbers>
#include <random>

namespace tangram::testing {

/// Standard normal draws that are the same with every library: Box-Muller on std::mt19937_64.
class Normal {
  public:
    explicit Normal(std::uint64_t seed) : generator_(seed) {}
    double operator()() {
        const double u = uniform(), v = uniform();
        return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
    }
    std::uint64_t below(std::uint64_t bound) { return generator_() % bound; }

  private:
    double uniform() { return (static_cast<double>(generator_() >> 11) + 0.5) * 0x1p-53; }
    std::mt19937_64 generator_;
};

}  // namespace tangram::testing
