#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "tangram/io/hdf5_file.hpp"
#include "tangram/parallel/process_grid.hpp"
#include "tangram/session/session.hpp"

namespace tangram {

/// Of the output file's interface: goes up when a name or a meaning in it changes.
inline constexpr Index schema_version = 2;
/// Local. @throws Error(output) for a file of a later version, whose names may mean something else
void refuse_newer(const Hdf5File& file, const std::filesystem::path& name);

/// What /provenance says of a run; gathered on all ranks, written by the first.
struct Provenance {
    std::vector<std::string> hosts;
    std::vector<Index> peaks;  ///< bytes, one per rank
    Index ranks;
    std::vector<Index> grid;

    /// Collective over the grid.
    static Provenance gather(const ProcessGrid& grid);
    /// schema_version, /provenance. Local.
    void write(Hdf5File& file, const std::string& study_toml, const std::string& model_sha256, Index block,
               const Session& session) const;
};

}  // namespace tangram
