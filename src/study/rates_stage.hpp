#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tangram/io/hdf5_file.hpp"
#include "tangram/rates/decay.hpp"
#include "tangram/rates/noise.hpp"
#include "tangram/rates/stopping.hpp"
#include "tangram/spectrum/eigenpairs.hpp"
#include "tangram/study/configuration.hpp"
#include "tangram/study/session.hpp"

namespace tangram {

/// Everything under /rates; equal on every rank. N rows, o outputs per row (theory.md; errors are means over both).
struct RatesResult {
    Index rows, outputs;
    // decay
    double noise_floor;  ///< scale of G/n
    DecayWindow window;
    std::optional<PolynomialDecay> decay;  ///< none: see decay_reason
    std::string decay_reason;              ///< why there is none; empty where there is one
    PolynomialIntervals intervals;
    // stopping
    double noise, radius, step_size, critical, stop;
    std::string noise_source, radius_source;
    StoppingSensitivity sensitivity;
    double residual_square;           ///< mean r^2 after centring
    std::vector<double> residual_mean;
    double mean_share;  ///< of the raw residual's mean square
    StoppingPath path;
    std::vector<double> test_mse;  ///< by step; empty without a test set
    // alignment, N x outputs, row-major
    std::vector<double> labels, residual, cumulative;
};

/// Collective over the grid. gram and eigen are read from the file where the caller does not have them.
RatesResult compute_rates(const std::filesystem::path& file, const ProcessGrid& grid,
                          std::optional<DistributedMatrix>& gram, std::optional<Eigenpairs>& eigen, const Study& study,
                          const Session& session);
/// Local; the first rank.
void write_rates(Hdf5File& file, const RatesResult& result);
std::string rates_summary(const RatesResult& result);

}  // namespace tangram
