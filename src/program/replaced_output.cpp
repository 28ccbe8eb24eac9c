#include "replaced_output.hpp"

#include <fmt/core.h>

#include "tangram/io/input_file.hpp"
#include "tangram/session/provenance.hpp"
#include "tangram/study/stored_study.hpp"

namespace tangram {

void check_replaced(const std::filesystem::path& output, std::string_view words, const Session& session) {
    const MPI_Comm comm = session.world.get();
    std::error_code code;
    if (!any_rank(comm, std::filesystem::exists(output, code))) return;
    const std::string made_of = InputFile(comm, output, ExitStatus::output).read([&](const Hdf5File& file) {
        if (file.has_attribute("/", "schema_version")) refuse_newer(file, output);
        return study_or_remark(file);
    });
    if (made_of.starts_with(words)) return;
    throw Error(ExitStatus::output, ErrorKind::contradiction,
                fmt::format("{}: is there, and {}; it is not replaced: name another output, or remove it",
                            output.string(),
                            made_of.empty() ? "tangram did not write it" : "another command wrote it"));
}

}  // namespace tangram
