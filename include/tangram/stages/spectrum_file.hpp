#pragma once
#include <string>

#include "tangram/io/hdf5_file.hpp"
#include "tangram/session/log.hpp"
#include "tangram/spectrum/quality.hpp"
#include "tangram/spectrum/spectral_density.hpp"

namespace tangram {

/// A spectrum and its attributes into `group` ("/spectrum"), which is made anew; the eigenvectors' space is
/// made, they follow. Local; the first rank.
/// @param inputs  fingerprint of what it is made from
void write_spectrum(Hdf5File& file, const std::string& group, const Eigenpairs& pairs, const Quality& quality,
                    const std::string& inputs, double seconds);
/// /spectrum/density. Local; the first rank.
void write_density(Hdf5File& file, const SpectralDensity& density);
std::string spectrum_summary(const Eigenpairs& pairs, const Quality& quality, double seconds);
/// The same as numbers, "NAME largest" and so on, for --log-json.
void tell_spectrum(const std::string& name, const Eigenpairs& pairs, const Quality& quality, double seconds,
                   Log& log);

}  // namespace tangram
