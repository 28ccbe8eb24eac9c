#include "tangram/session/provenance.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "tangram/session/resources.hpp"

namespace tangram {

void refuse_newer(const Hdf5File& file, const std::filesystem::path& name) {
    if (const double version = file.number_attribute("/", "schema_version");
        version > static_cast<double>(schema_version))
        throw Error(
            ExitStatus::output, ErrorKind::unsupported,
            fmt::format("{}: has schema_version {}, this tangram knows {}; use the version that wrote "
                        "it, or another output",
                        name.string(), version, schema_version));
}

Provenance Provenance::gather(const ProcessGrid& grid) {
    const MPI_Comm comm = grid.comm().get();
    Provenance result{gather_to_all(comm, host_name()),
                      gather_to_all(comm, peak_bytes()),
                      grid.comm().size(),
                      {grid.rows(), grid.columns()}};
    std::sort(result.hosts.begin(), result.hosts.end());
    result.hosts.erase(std::unique(result.hosts.begin(), result.hosts.end()), result.hosts.end());
    return result;
}

void Provenance::write(Hdf5File& file, const std::string& study_toml, const std::string& model_sha256,
                       Index block, const Session& session) const {
    const std::string at = "/provenance";
    file.set_attribute("/", "schema_version", schema_version);
    file.set_attribute(at, "study", study_toml);
    file.set_attribute(at, "git_revision", git_revision());
    file.set_attribute(at, "versions", library_versions());
    file.set_attribute(at, "ranks", ranks);
    file.set_attribute(at, "grid", grid);
    file.set_attribute(at, "block", block);
    file.set_attribute(at, "hosts", hosts);
    file.set_attribute(at, "started", session.started);
    file.set_attribute(at, "ended", now_text());
    file.set_attribute(at, "peak_bytes_per_rank", peaks);
    file.set_attribute(at, "model_sha256", model_sha256);
}

}  // namespace tangram
