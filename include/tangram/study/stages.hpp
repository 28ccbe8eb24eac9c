#pragma once
#include <filesystem>
#include <optional>
#include <string>

#include "tangram/io/output.hpp"
#include "tangram/spectrum/eigenpairs.hpp"
#include "tangram/study/configuration.hpp"
#include "tangram/study/session.hpp"

namespace tangram {

inline constexpr Index schema_version = 1;

/// The stages of a study, in order: each reads what the one before it left in memory or in the output file, skips what
/// is already there and made from the same inputs, and adds its groups to the file (written aside and renamed). All
/// members are collective over the session's ranks and throw Error on every rank or none.
class StudyRun {
  public:
    /// Takes the output's lock.
    StudyRun(Study study, const Session& session);
    ~StudyRun();

    /// Data -> Jacobian blocks -> /data, /kernel. @throws Error(stopped) after writing a checkpoint
    void gram();
    /// /kernel/gram -> /spectrum
    void spectrum();
    /// /spectrum, /data, /kernel -> /rates
    void rates();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Eigenvalues and eigenvectors of somebody else's matrix ("F.h5:/path") into a new output file. Collective.
void spectrum_of_matrix(const std::string& matrix, const std::filesystem::path& output, const Study& study,
                        const Session& session);

/// A one-screen summary of an output file on standard output. Local; the first rank.
void inspect(const std::filesystem::path& file, Log& log);

/// Recomputes the checks of an output file: symmetry, finiteness, trace, residual, orthogonality, order, provenance.
/// Collective. @throws Error(numerical) that names every check that failed
void verify(const std::filesystem::path& file, const Session& session);

}  // namespace tangram
