#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "commands.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/io/hdf5_file.hpp"
#include "tangram/io/matrix_io.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/spectrum/quality.hpp"

namespace tangram {

namespace {

/// What a file holds that can be verified; all but the problems is the same on every rank.
struct Contents {
    /// One after the other, as ranks hand it to each other.
    enum { gram, spectrum, vectors, kernel, mixed_precision, checksummed, checksum, count };
    std::vector<Index> has = std::vector<Index>(count, 0);
    std::vector<double> eigenvalues;
    std::vector<std::string> problems;  ///< on the first rank
};

/// What was checked and what is wrong; the first rank's count.
struct Findings {
    std::vector<std::string> checks, problems;

    void compare(const char* what, double value, double tolerance) {
        checks.push_back(fmt::format("{} {:.1e}", what, value));
        if (!(value <= tolerance))
            problems.push_back(fmt::format("{} is {:.3g}, above {:.3g}", what, value, tolerance));
    }
};

/// A matrix that has not the shape that it must have is a problem, and not checked further.
/// @param some  the eigenvalues are the largest ones of so many or more rows
void check_shape(const Hdf5File& h5, const char* path, bool some, Index& has, Contents& found) {
    if (has == 0) return;
    const std::vector<Index> shape = h5.shape(path);
    const bool vectors = &has == &found.has[Contents::vectors];
    const Index own = shape.size() == 2 ? shape.back() : 0,
                values = found.has[Contents::spectrum] != 0 ? std::ssize(found.eigenvalues) : own;
    const Index columns = some ? std::max(own, values) : values, rows = vectors ? values : columns;
    if (rows > 0 && shape == std::vector<Index>{rows, columns}) return;
    found.problems.push_back(fmt::format("{} has the shape ({}), ({}, {}) is needed", path,
                                         fmt::join(shape, ", "), rows, columns));
    has = 0;
}

/// Local; the first rank.
Contents read_contents(const std::filesystem::path& file) {
    Contents found;
    const Hdf5File h5 = Hdf5File::open(file, false, ExitStatus::output);
    for (const char* key : {"study", "git_revision", "versions", "ranks", "grid", "block", "hosts", "started",
                            "ended", "model_sha256"})
        if (!h5.has_attribute("/provenance", key))
            found.problems.push_back(fmt::format("/provenance has no {}", key));
    if (!h5.has_attribute("/", "schema_version")) found.problems.emplace_back("no schema_version");
    const auto set = [&](auto what, bool there) { found.has[what] = there ? 1 : 0; };
    set(Contents::gram, h5.exists("/kernel/gram"));
    set(Contents::spectrum, h5.exists("/spectrum/eigenvalues"));
    set(Contents::vectors, h5.exists("/spectrum/eigenvectors"));
    set(Contents::kernel, h5.exists("/kernel"));
    set(Contents::mixed_precision,
        h5.has_attribute("/kernel", "precision") && h5.text_attribute("/kernel", "precision") == "mixed");
    if (h5.exists("/kernel/gram") && h5.has_attribute("/kernel/gram", checksum_name)) {
        set(Contents::checksummed, true);
        found.has[Contents::checksum] = h5.integer_attribute("/kernel/gram", checksum_name);
    }
    if (h5.exists("/spectrum/eigenvalues")) found.eigenvalues = h5.read_doubles("/spectrum/eigenvalues");
    const bool some = h5.exists("/spectrum") && h5.has_attribute("/spectrum", "count") &&
                      h5.integer_attribute("/spectrum", "count") == std::ssize(found.eigenvalues);
    check_shape(h5, "/kernel/gram", some, found.has[Contents::gram], found);
    check_shape(h5, "/spectrum/eigenvectors", some, found.has[Contents::vectors], found);
    if (found.has[Contents::gram] != 0 && found.has[Contents::vectors] != 0 &&
        h5.shape("/kernel/gram").back() != h5.shape("/spectrum/eigenvectors").back()) {
        found.problems.emplace_back("/kernel/gram and /spectrum/eigenvectors have different numbers of rows");
        found.has[Contents::vectors] = 0;
    }
    return found;
}

void verify_eigenvalues(const std::vector<double>& values, Findings& findings) {
    const auto infinite = std::ranges::count_if(values, [](double w) { return !std::isfinite(w); });
    if (infinite > 0) findings.problems.push_back(fmt::format("{} eigenvalues are not finite", infinite));
    if (!std::ranges::is_sorted(values, std::greater<>()))
        findings.problems.emplace_back("the eigenvalues are not descending");
    findings.checks.push_back(fmt::format("{} eigenvalues finite and descending", values.size()));
}

/// Findings on G as it stands in the file. Collective. @return whether all of it is finite
bool verify_matrix(const DistributedMatrix& G, const Contents& contents, Findings& findings) {
    const MPI_Comm comm = G.grid().comm().get();
    const DistributedMatrix mirrored = transpose(G);
    Index asymmetric = 0, infinite = 0;
    for (std::size_t i = 0; i < G.local().size(); ++i) {
        infinite += std::isfinite(G.local()[i]) ? 0 : 1;
        asymmetric += G.local()[i] == mirrored.local()[i] ? 0 : 1;
    }
    infinite = sum_over_ranks(comm, infinite);
    asymmetric = sum_over_ranks(comm, asymmetric);
    findings.checks.push_back(fmt::format("{} rows symmetric", G.rows()));
    if (contents.has[Contents::checksummed] != 0 &&
        contents.has[Contents::checksum] != checksum(G, G.rows(), G.columns()))
        findings.problems.emplace_back("the Gram matrix has another checksum than when it was written");
    if (infinite > 0)
        findings.problems.push_back(fmt::format("{} entries of the Gram matrix are not finite", infinite));
    if (asymmetric > 0)
        findings.problems.push_back(
            fmt::format("{} entries of the Gram matrix are not symmetric", asymmetric));
    return infinite == 0;
}

DistributedMatrix read_vectors(const std::filesystem::path& file, const ProcessGrid& grid) {
    return read_matrix({file, ExitStatus::output}, "/spectrum/eigenvectors", grid, arithmetic::tile_rows,
                       Orientation::transposed);
}

/// A backward stable solver errs by a small multiple of n 2^-52 relative to the largest eigenvalue.
double tolerance(Index rows) { return 10 * static_cast<double>(rows) * 0x1p-52; }

/// Of our own Gram matrix: what its rounding explains of negative eigenvalues.
void verify_semidefinite(const std::vector<double>& values, double rounding, Findings& findings) {
    const std::string problem = beyond_rounding(values, rounding);
    findings.checks.emplace_back(problem.empty() ? "positive semidefinite to rounding" : "indefinite");
    if (!problem.empty()) findings.problems.push_back("the Gram matrix is no J J^T of one model: " + problem);
}

/// Collective; `eigenpairs` are of the finite G.
void verify_quality(const DistributedMatrix& G, const Eigenpairs& eigenpairs, bool mixed_precision,
                    Findings& findings) {
    const Quality q = quality(G, eigenpairs, mixed_precision);
    findings.compare("trace error", q.trace_error, tolerance(G.rows()));
    findings.compare("Frobenius error", q.frobenius_error, tolerance(G.rows()));
    if (q.residual_max) findings.compare("residual", *q.residual_max, tolerance(G.rows()));
    if (q.orthogonality_max) findings.compare("orthogonality", *q.orthogonality_max, tolerance(G.rows()));
    verify_semidefinite(eigenpairs.values, q.rounding, findings);
}

/// The Gram matrix, and the spectrum as the decomposition of it. Collective.
void verify_gram(const std::filesystem::path& file, const Contents& contents, const ProcessGrid& grid,
                 Findings& findings) {
    const DistributedMatrix G = read_matrix({file, ExitStatus::output}, "/kernel/gram", grid,
                                            arithmetic::tile_rows, Orientation::as_is);
    const bool finite = verify_matrix(G, contents, findings);
    if (!finite || contents.has[Contents::spectrum] == 0) return;
    Eigenpairs pairs{contents.eigenvalues, std::nullopt, Solver::automatic, ""};
    if (contents.has[Contents::vectors] != 0) pairs.vectors.emplace(read_vectors(file, grid));
    verify_quality(G, pairs, contents.has[Contents::mixed_precision] != 0, findings);
}

}  // namespace

void verify(const std::filesystem::path& file, const Session& session) {
    const MPI_Comm comm = session.world.get();
    const bool first_rank = session.world.rank() == 0;
    Contents contents = collectively(comm, [&] { return first_rank ? read_contents(file) : Contents(); });
    broadcast(comm, contents.has, 0);
    broadcast(comm, contents.eigenvalues, 0);
    Findings findings{{}, contents.problems};
    const bool gram = contents.has[Contents::gram] != 0, spectrum = contents.has[Contents::spectrum] != 0,
               vectors = contents.has[Contents::vectors] != 0;
    if (!gram && !spectrum && findings.problems.empty())
        findings.problems.emplace_back("neither a Gram matrix nor a spectrum to verify");
    if (spectrum) verify_eigenvalues(contents.eigenvalues, findings);
    // Without the matrix no diagonal entry is known to be less than w_1 and the trace is the eigenvalues'
    // sum.
    if (spectrum && !gram && contents.has[Contents::kernel] != 0 && !contents.eigenvalues.empty()) {
        const std::vector<double>& w = contents.eigenvalues;
        verify_semidefinite(w,
                            gram_rounding(w, w.front(), std::accumulate(w.begin(), w.end(), 0.0),
                                          contents.has[Contents::mixed_precision] != 0),
                            findings);
    }
    const ProcessGrid grid = ProcessGrid::most_square(comm);
    if (gram) {
        verify_gram(file, contents, grid, findings);
    } else if (vectors) {
        const DistributedMatrix V = read_vectors(file, grid);
        findings.compare("orthogonality", largest_overlap(V), tolerance(V.rows()));
        findings.checks.emplace_back("no Gram matrix in the file: residual and trace not checked");
    }
    collectively(comm, [&] {
        if (first_rank && !findings.problems.empty())
            throw Error(ExitStatus::numerical, ErrorKind::failed_check,
                        fmt::format("{}: {}", file.string(), fmt::join(findings.problems, "; ")));
    });
    session.log.result(fmt::format("{}: verified: {}", file.string(), fmt::join(findings.checks, ", ")));
}

}  // namespace tangram
