#include <fmt/core.h>

#include <optional>

#include "commands.hpp"
#include "replaced_output.hpp"
#include "symmetric_input.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/io/matrix_io.hpp"
#include "tangram/io/output.hpp"
#include "tangram/session/clock.hpp"
#include "tangram/session/provenance.hpp"
#include "tangram/stages/spectrum_file.hpp"
#include "tangram/stages/spectrum_request.hpp"
#include "tangram/study/file_contents.hpp"
#include "tangram/study/inputs.hpp"

namespace tangram {

void spectrum_of_matrix(const std::string& matrix, const std::filesystem::path& output, const Study& study,
                        const Session& session) {
    const MPI_Comm comm = session.world.get();
    solver_by_name(study.spectrum.solver);  // refused before the matrix is read
    const std::filesystem::path source = file_and_path(matrix).first;
    const OutputLock lock(comm, output);
    std::error_code code;
    if (any_rank(comm, std::filesystem::equivalent(source, output, code)))
        throw Error(
            ExitStatus::study, ErrorKind::contradiction,
            fmt::format("--output {} is the file that --matrix reads; name another", output.string()));
    check_replaced(output, made_by::spectrum, session);
    const ProcessGrid grid = ProcessGrid::most_square(comm);
    const SymmetricInput input = read_symmetric(matrix, grid, session);
    const DistributedMatrix& G = input.matrix;
    prepare_solver(G, solver_by_name(study.spectrum.solver));
    const auto start = Clock::now();
    std::optional<LeaveOnStop> leaving(leave_during(session, lock, "spectrum"));
    const Eigenpairs pairs = requested_eigenpairs(G, input.name, study, session);
    const double seconds = max_over_ranks(comm, seconds_since(start));
    const Quality checks = quality(G, pairs, input.rounded);
    leaving.reset();
    if (!checks.left_to_ranks.empty())
        session.log.say("spectrum: checked by the ranks: " + checks.left_to_ranks);
    warn_indefinite(input, pairs, checks, session);
    const Provenance provenance = Provenance::gather(grid);
    StagedFile file(comm, output, false, 8.0 * static_cast<double>(G.rows()) * static_cast<double>(G.rows()));
    file.write_small([&](Hdf5File& h5) {
        write_spectrum(h5, "/spectrum", pairs, checks, Inputs().add("matrix", matrix).hash(), seconds);
        provenance.write(h5, fmt::format("{}{}\n{}", made_by::spectrum, matrix, to_toml(study)), "",
                         G.block(), session);
        h5.set_attribute("/provenance", "seconds_spectrum", seconds);
        complete_file(h5, session.log, "spectrum");
    });
    if (pairs.vectors)
        write_matrix(file.partial(), "/spectrum/eigenvectors", *pairs.vectors, Orientation::transposed);
    file.commit();
    session.log.result(spectrum_summary(pairs, checks, seconds));
    tell_spectrum("spectrum", pairs, checks, seconds, session.log);
}

}  // namespace tangram
