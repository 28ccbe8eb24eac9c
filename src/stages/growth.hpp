#pragma once
#include <filesystem>
#include <string>

#include "forecast.hpp"
#include "tangram/gram/assembly.hpp"

namespace tangram {

/// Takes over what the finished file of a smaller sample holds, where its examples are the first of this
/// study's: the tiles of all Gram and cross matrices that lie wholly in its rows, but for those on the
/// diagonal (matrices.known_rows). Collective; bits stay what they would be without.
/// @param basis  fingerprint of all that the kernel is made from but the training examples
/// @return examples taken over; 0 where there is no such file. @throws Error(output) on every rank
Index take_known_rows(const std::filesystem::path& output, const std::string& basis, const GramJob& job,
                      const Study& study, KernelMatrices& matrices);

}  // namespace tangram
