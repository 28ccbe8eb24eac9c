#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <set>
#include <sstream>
#include <tuple>

#include "commands.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/io/matrix_io.hpp"
#include "tangram/spectrum/quality.hpp"
#include "tangram/study/fingerprints.hpp"
#include "tangram/study/stored_study.hpp"

namespace tangram {

namespace {

/// A spectrum, by what stands behind "/spectrum" in its name, and the Gram matrices whose sum it is of.
struct Decomposition {
    explicit Decomposition(const std::string& behind) : spectrum("/spectrum" + behind) {
        constexpr std::string_view groups = "/groups/";
        if (!behind.starts_with(groups)) {
            grams.push_back("/kernel" + behind + "/gram");
            return;
        }
        std::istringstream names(behind.substr(groups.size()));
        for (std::string name; std::getline(names, name, '+');)
            grams.push_back("/kernel/groups/" + name + "/gram");
    }

    std::string spectrum;
    std::vector<std::string> grams;
    Solver solver = Solver::automatic;  ///< lanczos, or any other
    /// Of those that the file has, in order. Equal on every rank.
    bool has_gram = false, has_vectors = false;
    std::optional<std::vector<double>> eigenvalues;
};

/// What was checked and what is wrong; the first rank's count.
struct Findings {
    std::vector<std::string> checks, problems;

    void compare(const std::string& what, double value, double tolerance) {
        checks.push_back(fmt::format("{} {:.1e}", what, value));
        if (!(value <= tolerance))
            problems.push_back(fmt::format("{} is {:.3g}, above {:.3g}", what, value, tolerance));
    }
};

/// What stands behind "/spectrum" in the names of the file's spectra, the whole one (which need not be there)
/// first. Local.
std::vector<std::string> spectra(const Hdf5File& h5) {
    std::vector<std::string> found{""};
    for (const char* const behind : {"", "/groups"}) {
        const std::string group = std::string("/spectrum") + behind;
        if (!h5.is_group(group)) continue;
        for (const std::string& name : h5.children(group))
            if (h5.exists(group + "/" + name) && h5.is_group(group + "/" + name) &&
                h5.exists(group + "/" + name + "/eigenvalues"))
                found.push_back(behind + ("/" + name));
    }
    return found;
}

/// The matrices that were stored with a checksum. Local.
std::vector<std::string> matrices_with_checksum(const Hdf5File& h5) {
    std::vector<std::string> found = h5.paths();
    std::erase_if(found, [&](const std::string& path) {
        return h5.is_group(path) || !h5.has_attribute(path, checksum_name);
    });
    return found;
}

/// What of a file libhdf5 itself finds damaged: it holds attributes, numbers and tables against checksums of
/// its own when they are read, but for texts of any length.
struct Damage {
    Index sets = 0;  ///< that carry a checksum and are no matrices with one of ours
    std::vector<std::string> problems;

    /// Local. @throws Error where memory or the file's bytes are not to be had
    explicit Damage(const Hdf5File& h5) {
        std::vector<std::string> paths = h5.paths();
        paths.emplace_back("/");
        for (const std::string& path : paths) try {
                h5.attributes(path);
                if (h5.is_group(path) || h5.has_attribute(path, checksum_name) || !h5.has_fletcher32(path))
                    continue;
                ++sets;
                const Content content = h5.content(path);
                if (content == Content::table) h5.read_table(path);
                if (content == Content::texts) h5.read_texts(path);
                if (content == Content::numbers) h5.read_doubles(path);
            } catch (const Error& e) {
                if (e.kind() == ErrorKind::no_memory || e.kind() == ErrorKind::no_access) throw;
                if (e.kind() == ErrorKind::malformed) problems.emplace_back(e.what());
            }
    }
};

/// The commit that wrote the file, where fingerprints of this program may be made of something else.
std::string other_revision(const Hdf5File& h5) {
    if (!h5.has_attribute("/provenance", "git_revision")) return "";
    const std::string revision = h5.text_attribute("/provenance", "git_revision");
    return revision != git_revision() || revision == "unknown" ? revision : "";
}

/// What is missing from /provenance, or contradicts it: the study is held against the number of examples and
/// what spectrum and rates were made from. Local. @throws Error for what cannot be read
std::vector<std::string> provenance_problems(const Hdf5File& h5) {
    std::vector<std::string> problems;
    for (const char* key : {"study", "git_revision", "versions", "ranks", "grid", "block", "hosts", "started",
                            "ended", "model_sha256"})
        if (!h5.has_attribute("/provenance", key))
            problems.push_back(fmt::format("/provenance has no {}", key));
    if (!problems.empty()) return problems;
    // What a fingerprint is made of may be another in another revision; other commands keep no study.
    const std::string text = h5.text_attribute("/provenance", "study");
    if (!other_revision(h5).empty() || is_remark(text)) return problems;
    const Study study = study_of_toml(text, "/provenance@study");
    const std::string offsets = "/data/train/offsets";
    if (const Index samples = study.data.samples; samples > 0 && h5.exists(offsets))
        if (const Index examples = h5.length(offsets, 1) - 1; examples != samples)
            problems.push_back(
                fmt::format("{} is of {} examples, the study in /provenance has data.samples = {}", offsets,
                            examples, samples));
    const auto inputs = [&](const char* group) {
        return h5.has_attribute(group, "inputs") ? h5.text_attribute(group, "inputs") : std::string();
    };
    const std::string kernel = inputs("/kernel"), spectrum = inputs("/spectrum"), rates = inputs("/rates");
    for (const auto& [group, stored, recomputed] :
         {std::tuple{"/spectrum", spectrum, spectrum_inputs(study, kernel).hash()},
          std::tuple{"/rates", rates, rates_inputs(study, spectrum).hash()}})
        if (!stored.empty() && stored != recomputed)
            problems.push_back(
                fmt::format("{} was not made from the study in /provenance and what stands before "
                            "it in the file",
                            group));
    return problems;
}

/// Which parts of a decomposition the file has, and its eigenvalues. Parts that have not the shape that they
/// must have are problems, and not checked further. Collective.
void look_at(const InputFile& file, Decomposition& of, Findings& findings) {
    const auto problem = [&](const std::string& text) { findings.problems.push_back(text); };
    const auto exists = [&](const std::string& path) {
        return file.read([&](const Hdf5File& h5) { return h5.exists(path) ? 1 : 0; }) != 0;
    };
    const auto shape = [&](const std::string& path) {
        return file.read([&](const Hdf5File& h5) { return h5.shape(path); });
    };
    if (exists(of.spectrum + "/eigenvalues"))
        of.eigenvalues =
            file.read([&](const Hdf5File& h5) { return h5.read_doubles(of.spectrum + "/eigenvalues"); });
    const Index count = file.read([&](const Hdf5File& h5) {
        return h5.has_attribute(of.spectrum, "count") ? h5.integer_attribute(of.spectrum, "count") : Index{0};
    });
    // The largest ones of so many or more rows.
    const bool some = of.eigenvalues && count > 0 && count == std::ssize(*of.eigenvalues);
    Index n = of.eigenvalues ? std::ssize(*of.eigenvalues) : 0;
    const auto fits = [&](const std::string& path, bool square) {
        const std::vector<Index> found = shape(path);
        const Index own = found.size() == 2 ? found.back() : 0;
        if (some || !of.eigenvalues) n = std::max(n, own);
        const Index rows = square || !of.eigenvalues ? n : std::ssize(*of.eigenvalues);
        if (rows > 0 && found == std::vector<Index>{rows, n}) return true;
        problem(
            fmt::format("{} has the shape ({}), ({}, {}) is needed", path, fmt::join(found, ", "), rows, n));
        return false;
    };
    const std::string solver = file.read([&](const Hdf5File& h5) {
        const std::string at = of.spectrum + "/quality";
        return h5.has_attribute(at, "solver") ? h5.text_attribute(at, "solver") : std::string();
    });
    if (solver == name(Solver::lanczos)) of.solver = Solver::lanczos;
    of.has_gram = std::ranges::all_of(of.grams, exists);
    if (of.has_gram)
        for (const std::string& gram : of.grams) of.has_gram = fits(gram, true) && of.has_gram;
    of.has_vectors = exists(of.spectrum + "/eigenvectors") && fits(of.spectrum + "/eigenvectors", false);
}

/// Matrices of the file, each held against the checksum that it was stored with, if any, when it is first
/// read.
class CheckedMatrices {
  public:
    /// Collective.
    CheckedMatrices(const InputFile& file, const ProcessGrid& grid)
        : file_(file), grid_(grid), stored_(file.read(matrices_with_checksum)) {}

    /// Eigenvectors are columns in memory and rows of the file. Collective.
    DistributedMatrix read(const std::string& path) {
        const Orientation orientation =
            path.ends_with("/eigenvectors") ? Orientation::transposed : Orientation::as_is;
        DistributedMatrix matrix =
            read_matrix({file_.name(), ExitStatus::output}, path, grid_, arithmetic::tile_rows, orientation);
        if (std::ranges::find(stored_, path) != stored_.end() && checked_.insert(path).second &&
            checksum(matrix, matrix.rows(), matrix.columns()) !=
                file_.read([&](const Hdf5File& h5) { return h5.integer_attribute(path, checksum_name); }))
            problems_.push_back(path + " has another checksum than when it was written");
        return matrix;
    }

    /// Reads those that nothing else has read. Collective.
    void check_others(Findings& findings) {
        for (const std::string& path : stored_)
            if (!checked_.contains(path)) read(path);
        findings.problems.insert(findings.problems.end(), problems_.begin(), problems_.end());
        findings.checks.push_back(fmt::format("checksums of {} matrices", stored_.size()));
    }

  private:
    const InputFile& file_;
    const ProcessGrid& grid_;
    std::vector<std::string> stored_;  ///< those that have a checksum
    std::set<std::string> checked_;
    std::vector<std::string> problems_;
};

void verify_eigenvalues(const std::vector<double>& values, Findings& findings) {
    const auto infinite = std::ranges::count_if(values, [](double w) { return !std::isfinite(w); });
    if (infinite > 0) findings.problems.push_back(fmt::format("{} eigenvalues are not finite", infinite));
    if (!std::ranges::is_sorted(values, std::greater<>()))
        findings.problems.emplace_back("the eigenvalues are not descending");
    findings.checks.push_back(fmt::format("{} eigenvalues finite and descending", values.size()));
}

/// Findings on G as it stands in the file. Collective. @return whether all of it is finite
bool verify_matrix(const DistributedMatrix& G, Findings& findings) {
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
    if (infinite > 0)
        findings.problems.push_back(fmt::format("{} entries of the Gram matrix are not finite", infinite));
    if (asymmetric > 0)
        findings.problems.push_back(
            fmt::format("{} entries of the Gram matrix are not symmetric", asymmetric));
    return infinite == 0;
}

/// Of our own Gram matrix: what its rounding explains of negative eigenvalues.
void verify_semidefinite(const std::vector<double>& values, double rounding, Findings& findings) {
    const std::string problem = beyond_rounding(values, rounding);
    findings.checks.emplace_back(problem.empty() ? "positive semidefinite to rounding" : "indefinite");
    if (!problem.empty()) findings.problems.push_back("the Gram matrix is no J J^T of one model: " + problem);
}

/// Collective; `eigenpairs` are of the finite G, or of the kernel whose entries were rounded to it.
void verify_quality(const DistributedMatrix& G, const Eigenpairs& eigenpairs, bool mixed_precision,
                    Findings& findings) {
    const Quality q = quality(G, eigenpairs, mixed_precision);
    const double largest = std::abs(eigenpairs.values.empty() ? 0.0 : eigenpairs.values.front());
    const double allowed = eigenpairs.solver == Solver::lanczos && largest > 0
                               ? std::max(solver_tolerance(G.rows()), q.rounding / largest)
                               : solver_tolerance(G.rows());
    findings.compare("trace error", q.trace_error, allowed);
    findings.compare("Frobenius error", q.frobenius_error, allowed);
    if (q.residual_max) findings.compare("residual", *q.residual_max, allowed);
    if (q.orthogonality_max)
        findings.compare("orthogonality", *q.orthogonality_max, solver_tolerance(G.rows()));
    verify_semidefinite(eigenpairs.values, q.rounding, findings);
}

/// The Gram matrix, and the spectrum as the decomposition of it. Collective.
void verify_gram(CheckedMatrices& matrices, const Decomposition& of, bool mixed_precision,
                 Findings& findings) {
    DistributedMatrix G = matrices.read(of.grams.front());
    for (std::size_t g = 1; g < of.grams.size(); ++g) {
        const DistributedMatrix more = matrices.read(of.grams[g]);
        for (std::size_t i = 0; i < G.local().size(); ++i) G.local()[i] += more.local()[i];
    }
    if (!verify_matrix(G, findings) || !of.eigenvalues) return;
    Eigenpairs pairs{*of.eigenvalues, std::nullopt, of.solver, ""};
    if (of.has_vectors) pairs.vectors.emplace(matrices.read(of.spectrum + "/eigenvectors"));
    verify_quality(G, pairs, mixed_precision, findings);
}

/// Everything that can be said of one spectrum. Collective.
void verify_decomposition(const InputFile& file, CheckedMatrices& matrices, Decomposition of,
                          Findings& findings) {
    look_at(file, of, findings);
    if (of.eigenvalues) verify_eigenvalues(*of.eigenvalues, findings);
    const std::string precision = file.read([](const Hdf5File& h5) {
        return h5.has_attribute("/kernel", "precision") ? h5.text_attribute("/kernel", "precision")
                                                        : std::string();
    });
    if (of.has_gram) return verify_gram(matrices, of, precision == "mixed", findings);
    // Without the matrix no diagonal entry is known to be less than w_1 and the trace is the eigenvalues'
    // sum.
    if (!precision.empty() && of.eigenvalues && !of.eigenvalues->empty()) {
        const std::vector<double>& w = *of.eigenvalues;
        verify_semidefinite(
            w, gram_rounding(w, w.front(), std::accumulate(w.begin(), w.end(), 0.0), precision == "mixed"),
            findings);
    }
    if (!of.has_vectors) return;
    const DistributedMatrix V = matrices.read(of.spectrum + "/eigenvectors");
    findings.compare("orthogonality", largest_overlap(V), solver_tolerance(V.rows()));
    findings.checks.emplace_back("no Gram matrix in the file: residual and trace not checked");
}

}  // namespace

void verify(const std::filesystem::path& name, const Session& session) {
    const MPI_Comm comm = session.world.get();
    const ProcessGrid grid = ProcessGrid::most_square(comm);
    const InputFile file(comm, name, ExitStatus::output);
    file.read([&](const Hdf5File& h5) { return check_is_output(h5, name), 0; });
    const auto refuse_problems = [&](const std::vector<std::string>& problems) {
        collectively(comm, [&] {
            if (session.world.rank() == 0 && !problems.empty())
                throw Error(ExitStatus::numerical, ErrorKind::failed_check,
                            fmt::format("{}: {}", name.string(), fmt::join(problems, "; ")));
        });
    };
    CheckedMatrices matrices(file, grid);
    Index sets = 0;  // on the first rank
    Findings damaged{{}, file.read([&](const Hdf5File& h5) {
                         const Damage damage(h5);
                         sets = damage.sets;
                         return damage.problems;
                     })};
    if (!damaged.problems.empty()) {
        matrices.check_others(damaged);
        refuse_problems(damaged.problems);
    }
    std::string other;
    Findings all{{}, file.read([&](const Hdf5File& h5) {
                     try {
                         other = other_revision(h5);
                         return provenance_problems(h5);
                     } catch (const Error& e) {  // the matrices are looked at all the same
                         return std::vector<std::string>{e.what()};
                     }
                 })};
    for (const std::string& behind : file.read(spectra)) {
        Findings findings;
        verify_decomposition(file, matrices, Decomposition(behind), findings);
        const std::string label = behind.empty() ? "" : fmt::format("spectrum{}: ", behind);
        if (!findings.checks.empty())
            all.checks.push_back(label + fmt::format("{}", fmt::join(findings.checks, ", ")));
        for (const std::string& problem : findings.problems) all.problems.push_back(label + problem);
    }
    if (all.checks.empty() && all.problems.empty())
        throw Error(ExitStatus::output, ErrorKind::missing,
                    fmt::format("{}: holds neither a Gram matrix nor a spectrum to verify; `tangram inspect` "
                                "shows what it holds",
                                name.string()));
    if (!other.empty())
        all.checks.push_back("what it was made from is not compared, commit " + other + " wrote it");
    matrices.check_others(all);
    if (sets > 0) all.checks.back() += fmt::format(" and {} other data sets", sets);
    refuse_problems(all.problems);
    session.log.result(fmt::format("{}: verified: {}; not computed again: data, outputs, rates, fine-tuning",
                                   name.string(), fmt::join(all.checks, "; ")));
}

}  // namespace tangram
