#include <fmt/format.h>
#include <optional>

#include <algorithm>

#include "study_state.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/io/matrix_io.hpp"
#include "tangram/learning/kernel_regression.hpp"
#include "tangram/session/clock.hpp"
#include "tangram/spectrum/quality.hpp"
#include "tangram/stages/spectrum_file.hpp"
#include "tangram/stages/spectrum_request.hpp"
#include "tangram/study/file_contents.hpp"
#include "tangram/study/fingerprints.hpp"

namespace tangram {

Eigenpairs StudyRun::State::write_spectrum_of(const DistributedMatrix& gram, const std::string& at,
                                              const std::string& inputs) {
    const Index n = gram.rows();
    session.log.enter(at.substr(1));
    const Index count = study.spectrum.count > 0 ? study.spectrum.count : n;
    require_space(comm, output, true, study.spectrum.vectors ? vector_bytes(at, n, count) : 0);
    session.log.say(fmt::format("{}: n = {}, {}", at.substr(1), n,
                                study.spectrum.vectors ? "with eigenvectors" : "eigenvalues only"));
    prepare_solver(gram, solver_by_name(study.spectrum.solver));
    const auto start = Clock::now();
    const std::string made_of = "/kernel" + at.substr(std::string_view("/spectrum").size()) + "/gram";
    const MatrixName name{fmt::format("{}: {}", output.string(), made_of), ExitStatus::output};
    // All but the first are read from the file.
    const bool gram_is_kept = kept_checkpoint || at != "/spectrum" || holds("/kernel/gram");
    std::optional<LeaveOnStop> leaving(
        leave_during(session, *lock, "spectrum",
                     gram_is_kept ? "the same command begins it again"
                                  : "the same command computes the Gram matrix again, as no file holds it"));
    Eigenpairs pairs = requested_eigenpairs(gram, name, study, session);
    const double seconds = max_over_ranks(comm, seconds_since(start));
    const Quality checks = [&] {
        const Log::Waiting waiting(session.log, at.substr(1) + ": checking every pair against the matrix");
        return quality(gram, pairs, attribute("/kernel", "precision", "gram") == "mixed");
    }();
    if (!checks.left_to_ranks.empty())
        session.log.say(fmt::format("{}: checked by the ranks: {}", at.substr(1), checks.left_to_ranks));
    if (const double allowed = solver_tolerance(n);
        checks.residual_max.value_or(0) > allowed || checks.orthogonality_max.value_or(0) > allowed)
        session.log.warn(fmt::format(
            "{}: residual {:.1e}, orthogonality {:.1e}: more than the {:.1e} that a solver should "
            "leave, and `tangram verify` refuses it; take another spectrum.solver",
            at.substr(1), checks.residual_max.value_or(0), checks.orthogonality_max.value_or(0), allowed));
    SpectrumResult result{std::move(pairs), checks, std::nullopt};
    if (study.spectrum.density && at == "/spectrum")
        result.density = density_of(gram, result.pairs, checks.noise_floor);
    leaving.reset();
    write_spectrum_stage(result, at, inputs, seconds);
    return std::move(result.pairs);
}

void StudyRun::State::write_spectrum_stage(const SpectrumResult& result, const std::string& at,
                                           const std::string& inputs, double seconds) {
    const Eigenpairs& pairs = result.pairs;
    const Quality& checks = result.checks;
    const std::string made_of = "/kernel" + at.substr(std::string_view("/spectrum").size()) + "/gram";
    if (const std::string problem = beyond_rounding(pairs.values, checks.rounding); !problem.empty())
        throw Error(
            ExitStatus::numerical, ErrorKind::failed_check,
            fmt::format("{} is no Gram matrix J J^T of one model: {}; delete the file and use `tangram "
                        "gram` to compute it again",
                        fmt::format("{}: {}", output.string(), made_of), problem));
    const Provenance provenance = Provenance::gather(grid);
    if (forecast_of_run) warn_beyond_plan("spectrum", *forecast_of_run, provenance);
    const Log::Waiting waiting(session.log, at.substr(1) + ": writing " + output.string());
    StagedFile file(comm, output, true,
                    pairs.vectors ? vector_bytes(at, checks.rows, std::ssize(pairs.values)) : 0.0);
    file.write_small([&](Hdf5File& h5) {
        check_unchanged(h5, "/kernel", kernel_inputs);
        if (at == "/spectrum")
            for (const char* made_of_it : {"/rates", "/neighbours", "/tasks"}) h5.remove(made_of_it);
        write_spectrum(h5, at, pairs, checks, inputs, seconds);
        if (result.density) write_density(h5, *result.density);
        if (at == "/spectrum") h5.set_attribute("/provenance", "seconds_spectrum", seconds);
        if (!at.starts_with("/spectrum/groups/")) keep_study(h5, "spectrum");
        h5.set_attribute("/provenance", "peak_bytes_per_rank", provenance.peaks);
        h5.set_attribute("/provenance", "ended", now_text());
        complete_file(h5, session.log, at.substr(1),
                      at == "/spectrum" ? std::vector<std::string>{"rates"} : std::vector<std::string>{});
    });
    if (pairs.vectors)
        write_matrix(file.partial(), at + "/eigenvectors", *pairs.vectors, Orientation::transposed);
    file.commit();
    session.log.say(spectrum_summary(pairs, checks, seconds));
    tell_spectrum(at.substr(1), pairs, checks, seconds, session.log);
}

double StudyRun::State::vector_bytes(const std::string& at, Index rows, Index count) const {
    const std::string path = at + "/eigenvectors";
    const std::vector<Index> there =
        InputFile(comm, output, ExitStatus::output).read([&](const Hdf5File& h5) {
            return h5.exists(path) ? h5.shape(path) : std::vector<Index>{};
        });
    const Index entries = rows * count;
    // Those that are replaced leave their room.
    if (there.size() == 2 && there[0] * there[1] >= entries) return 0;
    return 8 * static_cast<double>(entries);
}

SpectralDensity StudyRun::State::density_of(const DistributedMatrix& gram, const Eigenpairs& pairs,
                                            double floor) const {
    LeadingPairs known;
    known.values = pairs.values;
    if (std::ssize(pairs.values) < gram.rows()) {
        known.vectors = gather(*pairs.vectors, 0);
        broadcast(comm, known.vectors, 0);
    }
    const SymmetricOperator G{comm, gram.rows(), [&](const std::vector<double>& X, Index vectors) {
                                  return product(gram, X, vectors);
                              }};
    return spectral_density(G, known, floor, static_cast<std::uint64_t>(study.data.seed));
}

DistributedMatrix StudyRun::State::read_gram(const std::string& path) {
    const Log::Waiting waiting(session.log, "spectrum: reading " + output.string());
    return InputFile(comm, output, ExitStatus::output)
        .read_matrix(path, grid, arithmetic::tile_rows, Orientation::transposed);
}

void StudyRun::spectrum() {
    State& s = *state_;
    s.session.log.enter("spectrum");
    s.check_study("spectrum");
    if (s.kernel_inputs.empty()) s.kernel_inputs = s.attribute("/kernel", "inputs", "gram");
    const std::string inputs = spectrum_inputs(s.study, s.kernel_inputs).hash();
    if (s.study.spectrum.free()) {
        s.free_spectrum(inputs);
        return;
    }
    check_blas(s.session.log);
    for (std::size_t f = 0; f < s.study.kernel.formula.size(); ++f) {
        const std::string& formula = s.study.kernel.formula[f];
        if (formula_by_name(formula) == Formula::asymmetric_signgd) continue;  // not symmetric
        const std::string behind = f == 0 ? "" : "/" + formula;
        if (s.is_done("/spectrum" + behind, inputs)) {
            s.session.log.say(fmt::format("spectrum{}: made from the same inputs already; skipped", behind));
            continue;
        }
        if (f == 0 && !s.gram_matrix) {
            if (!s.holds("/kernel/gram"))
                throw Error(
                    ExitStatus::output, ErrorKind::missing,
                    fmt::format("{}: holds no Gram matrix, as output.save_gram = false or "
                                "spectrum.matrix = \"free\" leave it; `tangram run` makes one and its "
                                "spectrum",
                                s.output.string()));
            s.gram_matrix.emplace(s.read_gram("/kernel/gram"));
        }
        check_stop(s.session,
                   s.holds("/kernel/gram") ? "before the spectrum; the Gram matrix is in the output file"
                   : s.kept_checkpoint     ? "before the spectrum; the Gram matrix is in the checkpoint"
                                           : "before the spectrum; the Gram matrix will be computed again");
        if (f == 0)
            s.eigen.emplace(s.write_spectrum_of(*s.gram_matrix, "/spectrum", inputs));
        else
            s.write_spectrum_of(s.read_gram("/kernel" + behind + "/gram"), "/spectrum" + behind, inputs);
    }
    if (s.kept_checkpoint) s.kept_checkpoint->remove_own(s.comm);
}

void StudyRun::spectrum_of_groups(std::vector<std::string> groups) {
    State& s = *state_;
    s.check_study("spectrum");
    s.kernel_inputs = s.attribute("/kernel", "inputs", "gram");
    const std::vector<std::string> kept =
        InputFile(s.comm, s.output, ExitStatus::output).read([](const Hdf5File& h5) {
            return h5.exists("/kernel/groups") ? h5.children("/kernel/groups") : std::vector<std::string>{};
        });
    std::ranges::sort(groups);
    groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
    for (const std::string& group : groups)
        if (std::ranges::find(kept, group) == kept.end())
            throw Error(ExitStatus::study, kept.empty() ? ErrorKind::missing : ErrorKind::unknown_name,
                        fmt::format("--groups {}: {} holds {}", group, s.output.string(),
                                    kept.empty() ? "no groups; set kernel.groups and run `tangram gram`"
                                                 : fmt::format("{}", fmt::join(kept, ", "))));
    const std::string at = fmt::format("/spectrum/groups/{}", fmt::join(groups, "+"));
    const std::string inputs = spectrum_inputs(s.study, s.kernel_inputs).hash();
    if (s.is_done(at, inputs)) {
        s.session.log.say(fmt::format("{}: made from the same inputs already; skipped", at.substr(1)));
        return;
    }
    check_blas(s.session.log);
    DistributedMatrix sum = s.read_gram("/kernel/groups/" + groups.front() + "/gram");
    for (std::size_t g = 1; g < groups.size(); ++g) {
        const DistributedMatrix more = s.read_gram("/kernel/groups/" + groups[g] + "/gram");
        if (more.rows() != sum.rows() || more.columns() != sum.columns())
            throw Error(
                ExitStatus::output, ErrorKind::contradiction,
                fmt::format("{}: /kernel/groups: the Gram matrix of {} is {} x {}, that of {} {} x {}; "
                            "delete the file and use `tangram gram` to compute it again",
                            s.output.string(), groups[g], more.columns(), more.rows(), groups.front(),
                            sum.columns(), sum.rows()));
        for (Index j = 0; j < sum.local_columns(); ++j)
            for (Index i = 0; i < sum.local_rows(); ++i)
                sum.data()[i + j * sum.lld()] += more.data()[i + j * more.lld()];
    }
    s.write_spectrum_of(sum, at, inputs);
}

}  // namespace tangram
