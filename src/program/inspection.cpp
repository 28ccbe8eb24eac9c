#include "commands.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tangram/arithmetic.hpp"
#include "tangram/io/hdf5_file.hpp"
#include "tangram/io/matrix_io.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/spectrum/quality.hpp"

namespace tangram {

void inspect(const std::filesystem::path& file, Log& log) {
    const Hdf5File h5 = Hdf5File::open(file, false, ExitStatus::output);
    if (!h5.has_attribute("/", "schema_version"))
        throw Error(ExitStatus::output,
                    fmt::format("{}: not an output file of tangram: no schema_version", file.string()));
    std::string text = fmt::format(
        "{}: schema {:.0f}, started {}, ended {}, commit {}\n", file.string(),
        h5.number_attribute("/", "schema_version"), h5.text_attribute("/provenance", "started"),
        h5.text_attribute("/provenance", "ended"), h5.text_attribute("/provenance", "git_revision"));
    const auto line = [&](const std::string& words) { text += words + "\n"; };
    const auto seconds = [&](const std::string& key) {
        return h5.has_attribute("/provenance", key)
                   ? ", " + duration_text(h5.number_attribute("/provenance", key))
                   : std::string();
    };
    if (h5.exists("/data/train/offsets")) {
        const Index n = h5.length("/data/train/offsets", 1) - 1;
        const Index m = h5.exists("/data/test/offsets") ? h5.length("/data/test/offsets", 1) - 1 : 0;
        line(fmt::format("data       {} training and {} test examples, {} labels", n, m,
                         h5.length("/data/label_token_ids")));
    }
    if (h5.exists("/kernel"))
        line(fmt::format(
            "kernel     {} rows, output {}, {} precision, {} tensors{}",
            h5.exists("/kernel/gram") ? std::to_string(h5.shape("/kernel/gram", 2)[0]) : "not stored",
            h5.text_attribute("/kernel", "output"), h5.text_attribute("/kernel", "precision"),
            h5.length("/kernel/tensors"), seconds("seconds_gram")));
    if (h5.has_attribute("/kernel", "sketch_dimension") &&
        h5.number_attribute("/kernel", "sketch_dimension") > 0) {
        line(fmt::format(
            "sketched   {:.0f} tensors to {:.0f} numbers in all (kernel.sketch = {:.0f}); against "
            "{:.0f} exact rows the error is {:.2g} of the norm, of one entry at most {:.2g} of "
            "its rows' norms",
            h5.number_attribute("/kernel", "sketch_tensors"),
            h5.number_attribute("/kernel", "sketch_dimension"), h5.number_attribute("/kernel", "sketch"),
            h5.number_attribute("/kernel", "sketch_rows"), h5.number_attribute("/kernel", "sketch_error"),
            h5.number_attribute("/kernel", "sketch_error_max")));
        if (h5.has_attribute("/rates", "sketch_needed"))
            line(fmt::format(
                "           T needs {:.0f} dimensions: {}", h5.number_attribute("/rates", "sketch_needed"),
                h5.number_attribute("/rates", "sketch_trusted") > 0 ? "enough" : "NOT to be trusted"));
    }
    if (h5.exists("/spectrum")) {
        const auto w = h5.read_doubles("/spectrum/eigenvalues", h5.length("/spectrum/eigenvalues", 1));
        const std::string at = "/spectrum/quality";
        line(
            fmt::format("spectrum   {} eigenvalues by {}: largest {:.6g}, smallest {:.3g}, noise floor "
                        "{:.3g}; residual {:.1e}, "
                        "orthogonality {:.1e}{}",
                        w.size(), h5.text_attribute(at, "solver"), w.front(), w.back(),
                        h5.number_attribute(at, "noise_floor"), h5.number_attribute(at, "residual_max"),
                        h5.number_attribute(at, "orthogonality_max"), seconds("seconds_spectrum")));
    }
    if (h5.exists("/rates")) {
        const std::string at = "/rates/stopping";
        const std::string reason = h5.text_attribute("/rates/decay", "reason");
        const std::string family = h5.text_attribute("/rates/decay", "selected");
        const auto interval = [&](const std::string& of, const std::string& key) {
            const std::string group = "/rates/decay/" + of;
            return fmt::format("{} {:.3f} [{:.3f}, {:.3f}]", key, h5.number_attribute(group, key),
                               h5.number_attribute(group, key + "_low"),
                               h5.number_attribute(group, key + "_high"));
        };
        const std::string what = family == "exponential"
                                     ? interval(family, "rate") + ", " + interval(family, "power")
                                 : family == "finite_rank" ? interval(family, "rank")
                                                           : interval("polynomial", "exponent");
        line(reason.empty() ? fmt::format("decay      {}: {}, ranks {:.0f} to {:.0f}", family, what,
                                          h5.number_attribute("/rates/decay", "first"),
                                          h5.number_attribute("/rates/decay", "last"))
                            : "decay      none: " + reason);
        if (std::isnan(h5.number_attribute(at, "noise")))
            line("stopping   sigma is " + h5.text_attribute(at, "noise_source"));
        else
            line(fmt::format(
                "stopping   T = {:.0f} steps of size {:.4g}, critical radius {:.4g}, sigma {:.4g} "
                "({}), R {:.4g} ({})",
                h5.number_attribute(at, "stopping_step"), h5.number_attribute(at, "step_size"),
                h5.number_attribute(at, "critical_radius"), h5.number_attribute(at, "noise"),
                h5.text_attribute(at, "noise_source"), h5.number_attribute(at, "radius"),
                h5.text_attribute(at, "radius_source")));
        line("rates      " + h5.text_attribute("/rates", "sentence"));
    }
    text.pop_back();
    log.result(text);
}

void verify(const std::filesystem::path& file, const Session& session) {
    const MPI_Comm comm = session.world.get();
    struct Contents {
        std::vector<double> values;
        // gram, spectrum, vectors, mixed precision, a checksum of the Gram matrix and which
        std::vector<Index> has{0, 0, 0, 0, 0, 0};
        std::vector<std::string> problems;
    };
    Contents c = collectively(comm, [&] {
        Contents found;
        if (session.world.rank() != 0) return found;
        const Hdf5File h5 = Hdf5File::open(file, false, ExitStatus::output);
        for (const char* key : {"study", "git_revision", "versions", "ranks", "grid", "block", "hosts",
                                "started", "ended", "model_sha256"})
            if (!h5.has_attribute("/provenance", key))
                found.problems.push_back(fmt::format("/provenance has no {}", key));
        if (!h5.has_attribute("/", "schema_version")) found.problems.emplace_back("no schema_version");
        found.has[0] = h5.exists("/kernel/gram") ? 1 : 0;
        found.has[1] = h5.exists("/spectrum/eigenvalues") ? 1 : 0;
        found.has[2] = h5.exists("/spectrum/eigenvectors") ? 1 : 0;
        found.has[3] =
            h5.has_attribute("/kernel", "precision") && h5.text_attribute("/kernel", "precision") == "mixed"
                ? 1
                : 0;
        if (found.has[0] != 0 && h5.has_attribute("/kernel/gram", checksum_name)) {
            found.has[4] = 1;
            found.has[5] = h5.integer_attribute("/kernel/gram", checksum_name);
        }
        if (found.has[1] != 0) found.values = h5.read_doubles("/spectrum/eigenvalues");
        // What has not the shape that it must have is not checked further.
        for (const auto& [at, path] :
             {std::pair{0, "/kernel/gram"}, std::pair{2, "/spectrum/eigenvectors"}}) {
            Index& has = found.has[static_cast<std::size_t>(at)];
            if (has == 0) continue;
            const std::vector<Index> shape = h5.shape(path);
            const Index rows = found.has[1] != 0 ? std::ssize(found.values)
                               : shape.empty()   ? 0
                                                 : shape.front();
            if (rows > 0 && shape == std::vector<Index>{rows, rows}) continue;
            found.problems.push_back(fmt::format("{} has the shape ({}), ({}, {}) is needed", path,
                                                 fmt::join(shape, ", "), rows, rows));
            has = 0;
        }
        return found;
    });
    broadcast(comm, c.has, 0);
    broadcast(comm, c.values, 0);
    std::vector<std::string> checks, problems = c.problems;
    const auto check = [&](const char* what, double value, double tolerance) {
        checks.push_back(fmt::format("{} {:.1e}", what, value));
        if (!(value <= tolerance))
            problems.push_back(fmt::format("{} is {:.3g}, above {:.3g}", what, value, tolerance));
    };
    if (c.has[0] == 0 && c.has[1] == 0 && problems.empty())
        problems.emplace_back("neither a Gram matrix nor a spectrum to verify");
    if (c.has[1] != 0) {
        const auto infinite =
            std::count_if(c.values.begin(), c.values.end(), [](double w) { return !std::isfinite(w); });
        if (infinite > 0) problems.push_back(fmt::format("{} eigenvalues are not finite", infinite));
        if (!std::is_sorted(c.values.begin(), c.values.end(), std::greater<>()))
            problems.emplace_back("the eigenvalues are not descending");
        checks.push_back(fmt::format("{} eigenvalues finite and descending", c.values.size()));
    }
    if (c.has[0] == 0 && c.has[2] != 0) {
        const ProcessGrid grid = ProcessGrid::most_square(comm);
        const DistributedMatrix V = read_matrix(file, "/spectrum/eigenvectors", grid, arithmetic::tile_rows,
                                                Orientation::transposed, ExitStatus::output);
        check("orthogonality", largest_overlap(V), 10 * static_cast<double>(V.rows()) * 0x1p-52);
        checks.emplace_back("no Gram matrix in the file: residual and trace not checked");
    }
    if (c.has[0] != 0) {
        const ProcessGrid grid = ProcessGrid::most_square(comm);
        const DistributedMatrix G = read_matrix(file, "/kernel/gram", grid, arithmetic::tile_rows,
                                                Orientation::as_is, ExitStatus::output);
        const DistributedMatrix mirrored = transpose(G);
        Index asymmetric = 0, infinite = 0;
        for (std::size_t i = 0; i < G.local().size(); ++i) {
            infinite += std::isfinite(G.local()[i]) ? 0 : 1;
            asymmetric += G.local()[i] == mirrored.local()[i] ? 0 : 1;
        }
        infinite = sum_over_ranks(comm, infinite);
        asymmetric = sum_over_ranks(comm, asymmetric);
        checks.push_back(fmt::format("{} rows symmetric", G.rows()));
        if (c.has[4] != 0 && c.has[5] != checksum(G, G.rows(), G.columns()))
            problems.emplace_back("the Gram matrix has another checksum than when it was written");
        if (infinite > 0)
            problems.push_back(fmt::format("{} entries of the Gram matrix are not finite", infinite));
        if (asymmetric > 0)
            problems.push_back(fmt::format("{} entries of the Gram matrix are not symmetric", asymmetric));
        if (c.has[1] != 0 && infinite == 0) {
            Eigenpairs pairs{c.values, std::nullopt, Solver::automatic, ""};
            if (c.has[2] != 0)
                pairs.vectors.emplace(read_matrix(file, "/spectrum/eigenvectors", grid, G.block(),
                                                  Orientation::transposed, ExitStatus::output));
            const Quality q = quality(G, pairs, c.has[3] != 0);
            // A backward stable solver errs by a small multiple of n 2^-52 relative to the largest
            // eigenvalue.
            const double tolerance = 10 * static_cast<double>(G.rows()) * 0x1p-52;
            check("trace error", q.trace_error, tolerance);
            check("Frobenius error", q.frobenius_error, tolerance);
            if (q.residual_max) check("residual", *q.residual_max, tolerance);
            if (q.orthogonality_max) check("orthogonality", *q.orthogonality_max, tolerance);
        }
    }
    collectively(comm, [&] {
        if (session.world.rank() != 0 || problems.empty()) return;
        std::string list;
        for (const std::string& problem : problems) list += (list.empty() ? "" : "; ") + problem;
        throw Error(ExitStatus::numerical, fmt::format("{}: {}", file.string(), list));
    });
    std::string list;
    for (const std::string& text : checks) list += (list.empty() ? "" : ", ") + text;
    session.log.result(fmt::format("{}: verified: {}", file.string(), list));
}

}  // namespace tangram
