#include "rates_stage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tangram/arithmetic.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/io/matrix_io.hpp"
#include "tangram/text/drawing.hpp"

namespace tangram {

namespace {

/// The small part of an output file that the rates need, on every rank.
struct Stored {
    std::vector<std::int32_t> train_labels, test_labels;
    std::vector<double> train_outputs, test_outputs, eigenvalues;  // outputs: examples x C
    double noise_floor = 0;                                        // scale of G
    std::string output;
    bool has_test = false;
};

Stored read_stored(const std::filesystem::path& name, MPI_Comm comm) {
    const InputFile file(comm, name, ExitStatus::output);
    const auto doubles = [&](const char* path) { return file.read([&](const Hdf5File& h5) { return h5.read_doubles(path); }); };
    const auto labels = [&](const char* path) { return file.read([&](const Hdf5File& h5) { return h5.read_int32(path); }); };
    Stored stored;
    stored.train_labels = labels("/data/train/labels");
    stored.train_outputs = doubles("/kernel/outputs_train");
    stored.eigenvalues = doubles("/spectrum/eigenvalues");
    stored.output = file.read([](const Hdf5File& h5) { return h5.text_attribute("/kernel", "output"); });
    stored.noise_floor = file.read([](const Hdf5File& h5) { return h5.number_attribute("/spectrum/quality", "noise_floor"); });
    stored.has_test = file.read([](const Hdf5File& h5) { return h5.exists("/kernel/cross"); });
    if (stored.has_test) {
        stored.test_labels = labels("/data/test/labels");
        stored.test_outputs = doubles("/kernel/outputs_test");
    }
    return stored;
}

/// Targets y and initial outputs f_0 of kernel rows x outputs, row-major (contract: Targets).
struct Targets {
    Index outputs;
    std::vector<double> labels, initial;
    Index groups;  ///< centring: row-major entries with the same index modulo groups share a mean
};

Targets targets(const std::string& output, const std::vector<std::int32_t>& labels, const std::vector<double>& logits) {
    const auto examples = labels.size(), classes = logits.size() / std::max<std::size_t>(1, examples);
    Targets result;
    if (output == "margin") {
        result.outputs = result.groups = 1;
        for (std::size_t e = 0; e < examples; ++e) {
            result.labels.push_back(labels[e] == 1 ? 1.0 : -1.0);
            result.initial.push_back(logits[2 * e + 1] - logits[2 * e]);
        }
        return result;
    }
    // One-hot; "logits" has a kernel row per entry, "trace" and "sum" a row per example with C outputs.
    result.outputs = output == "logits" ? 1 : static_cast<Index>(classes);
    result.groups = static_cast<Index>(classes);
    result.initial = logits;
    for (std::size_t e = 0; e < examples; ++e)
        for (std::size_t c = 0; c < classes; ++c)
            result.labels.push_back(static_cast<std::size_t>(labels[e]) == c ? 1.0 : 0.0);
    return result;
}

/// V^T B for B rows x outputs (row-major, on every rank); on every rank. Collective.
std::vector<double> coefficients(const DistributedMatrix& V, const std::vector<double>& B, Index outputs) {
    std::vector<double> z(static_cast<std::size_t>(V.columns() * outputs), 0.0);
    for (Index j = 0; j < V.local_columns(); ++j) {
        double* const to = z.data() + V.global_column(j) * outputs;
        for (Index i = 0; i < V.local_rows(); ++i) {
            const double v = V.data()[i + j * V.lld()];
            const double* const b = B.data() + V.global_row(i) * outputs;
            for (Index o = 0; o < outputs; ++o) to[o] += v * b[o];
        }
    }
    sum_over_ranks(V.grid().comm().get(), z);
    return z;
}

/// A x for A rows x columns, x columns x outputs (row-major, on every rank); on every rank. Collective.
std::vector<double> product(const DistributedMatrix& A, const std::vector<double>& x, Index outputs) {
    std::vector<double> y(static_cast<std::size_t>(A.rows() * outputs), 0.0);
    for (Index j = 0; j < A.local_columns(); ++j) {
        const double* const from = x.data() + A.global_column(j) * outputs;
        for (Index i = 0; i < A.local_rows(); ++i) {
            const double a = A.data()[i + j * A.lld()];
            double* const to = y.data() + A.global_row(i) * outputs;
            for (Index o = 0; o < outputs; ++o) to[o] += a * from[o];
        }
    }
    sum_over_ranks(A.grid().comm().get(), y);
    return y;
}

double mean_square(const std::vector<double>& values) {
    return std::inner_product(values.begin(), values.end(), values.begin(), 0.0) / static_cast<double>(values.size());
}

/// Fits of principal sub-matrices of half the examples, drawn anew for each replica. Collective.
std::vector<PolynomialDecay> replicas(const DistributedMatrix& G, Index examples, DecayWindow window, double floor,
                                      Index count, std::uint64_t seed, const Session& session) {
    const Index per_example = G.rows() / examples, half = examples / 2;
    std::vector<PolynomialDecay> fits;
    for (Index replica = 0; replica < count && half > 0; ++replica) {
        check_stop(session, "during the rates; the spectrum is in the output file");
        std::vector<Index> drawn = draw_rows(examples, half, seed + 1000 + static_cast<std::uint64_t>(replica), "the study");
        std::sort(drawn.begin(), drawn.end());
        std::vector<Index> rows;
        for (const Index e : drawn)
            for (Index r = 0; r < per_example; ++r) rows.push_back(e * per_example + r);
        Eigenpairs pairs = eigenpairs(principal_submatrix(G, rows), Solver::automatic, false);
        const auto n = static_cast<double>(rows.size());
        for (double& value : pairs.values) value /= n;
        const bool usable = window.last <= std::ssize(pairs.values) && window.size() >= smallest_window &&
                            pairs.values[static_cast<std::size_t>(window.last - 1)] > 10 * floor;
        if (usable) fits.push_back(fit_polynomial(pairs.values, static_cast<Index>(rows.size()), window));
    }
    return fits;
}

}  // namespace

RatesResult compute_rates(const std::filesystem::path& file, const ProcessGrid& grid,
                          std::optional<DistributedMatrix>& gram, std::optional<Eigenpairs>& eigen, const Study& study,
                          const Session& session) {
    check_stop(session, "before the rates; the spectrum is in the output file");
    const Stored stored = read_stored(file, grid.comm().get());
    if (!eigen || !eigen->vectors) {
        if (!study.spectrum.vectors)
            throw Error(ExitStatus::study, "rates need eigenvectors; set spectrum.vectors = true");
        eigen.emplace(Eigenpairs{stored.eigenvalues,
                                 read_matrix(file, "/spectrum/eigenvectors", grid, arithmetic::tile_rows,
                                             Orientation::transposed, ExitStatus::output),
                                 Solver::automatic, ""});
    }
    if (!gram && study.output.save_gram)
        gram.emplace(read_matrix(file, "/kernel/gram", grid, arithmetic::tile_rows, Orientation::transposed, ExitStatus::output));

    const DistributedMatrix& V = *eigen->vectors;
    const Targets train = targets(stored.output, stored.train_labels, stored.train_outputs);
    RatesResult result{};
    result.rows = V.rows();
    result.outputs = train.outputs;
    const auto n = static_cast<double>(result.rows);
    std::vector<double> l = stored.eigenvalues;
    for (double& value : l) value /= n;
    result.noise_floor = stored.noise_floor / n;

    // Residual, its mean per label taken out.
    std::vector<double> residual(train.labels.size());
    for (std::size_t i = 0; i < residual.size(); ++i) residual[i] = train.labels[i] - train.initial[i];
    const double raw = mean_square(residual);
    const auto groups = static_cast<std::size_t>(train.groups);
    result.residual_mean.assign(groups, 0.0);
    if (study.rates.center) {
        const double share = static_cast<double>(groups) / static_cast<double>(residual.size());
        for (std::size_t i = 0; i < residual.size(); ++i) result.residual_mean[i % groups] += residual[i] * share;
        for (std::size_t i = 0; i < residual.size(); ++i) residual[i] -= result.residual_mean[i % groups];
    }
    result.residual_square = mean_square(residual);
    result.mean_share = raw > 0 ? 1 - result.residual_square / raw : 0.0;

    result.residual = coefficients(V, residual, train.outputs);
    result.labels = coefficients(V, train.labels, train.outputs);
    const auto outputs = static_cast<std::size_t>(train.outputs);
    std::vector<double> squares(l.size(), 0.0), running(outputs, 0.0);
    for (std::size_t i = 0; i < l.size(); ++i)
        for (std::size_t o = 0; o < outputs; ++o) squares[i] += std::pow(result.residual[i * outputs + o], 2) / static_cast<double>(outputs);
    std::vector<double> totals(outputs, 0.0);
    for (std::size_t i = 0; i < result.residual.size(); ++i) totals[i % outputs] += std::pow(result.residual[i], 2);
    for (std::size_t i = 0; i < result.residual.size(); ++i) {
        const std::size_t o = i % outputs;
        running[o] += std::pow(result.residual[i], 2);
        result.cumulative.push_back(totals[o] > 0 ? running[o] / totals[o] : 1.0);
    }

    if (!(result.residual_square > 0))
        throw Error(ExitStatus::numerical, "the residual is zero after taking out its mean: there is nothing to learn; use more "
                                           "examples, or rates.center = false");

    // Noise, radius, stopping.
    if (!(l.front() > 0)) throw Error(ExitStatus::numerical, "the kernel is zero: there is nothing to learn with these parameters");
    const CrossValidatedRidge ridge = cross_validated_ridge(l, squares, result.noise_floor);
    if (ridge.limited && !(study.rates.noise && study.rates.radius))
        session.log.warn("cross-validation finds no ridge that tells signal from noise: sigma and R are what the end of its search "
                         "makes them; give rates.noise and rates.radius where you know them");
    result.noise = study.rates.noise.value_or(ridge.noise);
    result.noise_source = study.rates.noise ? "given" : noise_from_ridge;
    result.radius = study.rates.radius.value_or(target_radius(l, squares, ridge.ridge, result.noise_floor));
    result.radius_source = study.rates.radius ? "given" : radius_from_ridge;
    result.step_size = study.rates.step_size.value_or(1 / l.front());
    if (result.step_size * l.front() > 2)
        throw Error(ExitStatus::study, fmt::format("rates.step_size = {} diverges: gradient descent needs at most 2/l_1 = {:.6g}; "
                                                   "\"auto\" takes 1/l_1",
                                                   result.step_size, 2 / l.front()));
    result.critical = critical_radius(l, result.noise / result.radius);
    result.stop = stopping_step(l, result.noise / result.radius, result.step_size);
    result.sensitivity = stopping_sensitivity(l, result.noise, result.radius, result.step_size);
    result.path = stopping_path(l, squares, result.noise, result.radius, result.step_size, result.stop, result.noise_floor);

    if (stored.has_test) {
        // f_t(x) = f_0(x) + mean + sum_i (k(x, X) u_i) q_i/(n l_i) z_i, with the limit alpha t/n as l_i -> 0.
        const Targets test = targets(stored.output, stored.test_labels, stored.test_outputs);
        const DistributedMatrix projected = multiply(
            read_matrix(file, "/kernel/cross", grid, V.block(), Orientation::as_is, ExitStatus::output), V);
        std::vector<double> weights(result.residual.size());
        for (const double t : result.path.step) {
            for (std::size_t i = 0; i < weights.size(); ++i) {
                const double value = l[i / outputs];
                const double per_square = value > 1e-300 ? gradient_descent_filter(value, result.step_size, t) / (n * value)
                                                         : result.step_size * t / n;
                weights[i] = per_square * result.residual[i];
            }
            const std::vector<double> change = product(projected, weights, train.outputs);
            double error = 0;
            for (std::size_t i = 0; i < change.size(); ++i)
                error += std::pow(test.labels[i] - test.initial[i] - result.residual_mean[i % groups] - change[i], 2);
            result.test_mse.push_back(error / static_cast<double>(change.size()));
        }
    }

    result.window = decay_window(l, result.noise_floor);
    result.decay_reason = no_decay_reason(l, result.noise_floor, result.window);
    result.intervals = unknown_polynomial;
    if (result.decay_reason.empty()) {
        result.decay = fit_polynomial(l, result.rows, result.window);
        std::vector<PolynomialDecay> fits;
        if (gram)
            fits = replicas(*gram, std::ssize(stored.train_labels), result.window, result.noise_floor, study.rates.repeats,
                            static_cast<std::uint64_t>(study.data.seed), session);
        if (fits.size() < 2)
            session.log.warn("the interval of the decay exponent holds the window's drift alone: no resampled fits");
        result.intervals = polynomial_intervals(l, result.rows, result.window, *result.decay, fits);
    }
    return result;
}

void write_rates(Hdf5File& file, const RatesResult& r) {
    const std::string decay = "/rates/decay", polynomial = "/rates/decay/polynomial", stopping = "/rates/stopping";
    file.set_attribute(decay, "selected", std::string(r.decay ? "polynomial" : "none"));
    file.set_attribute(decay, "noise_floor", r.noise_floor);
    file.set_attribute(decay, "first", r.window.first);
    file.set_attribute(decay, "last", r.window.last);
    file.set_attribute(decay, "reason", r.decay_reason);
    const auto write_interval = [&](const std::string& key, const Interval& interval) {
        file.set_attribute(polynomial, key, interval.value);
        file.set_attribute(polynomial, key + "_low", interval.low);
        file.set_attribute(polynomial, key + "_high", interval.high);
    };
    write_interval("exponent", r.intervals.exponent);
    write_interval("constant", r.intervals.constant);
    write_interval("density_exponent", r.intervals.density_exponent);
    file.set_attribute(polynomial, "criterion", r.decay ? r.decay->criterion : std::numeric_limits<double>::infinity());
    file.set_attribute(polynomial, "corrected", Index{r.decay && r.decay->corrected ? 1 : 0});

    file.set_attribute(stopping, "critical_radius", r.critical);
    file.set_attribute(stopping, "stopping_step", r.stop);
    file.set_attribute(stopping, "step_size", r.step_size);
    file.set_attribute(stopping, "noise", r.noise);
    file.set_attribute(stopping, "noise_source", r.noise_source);
    file.set_attribute(stopping, "radius", r.radius);
    file.set_attribute(stopping, "radius_source", r.radius_source);
    file.set_attribute(stopping, "stopping_step_half_radius", r.sensitivity.half_radius);
    file.set_attribute(stopping, "stopping_step_double_radius", r.sensitivity.double_radius);
    file.set_attribute(stopping, "stopping_step_half_noise", r.sensitivity.half_noise);
    file.set_attribute(stopping, "stopping_step_double_noise", r.sensitivity.double_noise);
    file.set_attribute(stopping, "residual_mean_square", r.residual_square);
    file.set_attribute(stopping, "residual_mean_share", r.mean_share);
    file.write(stopping + "/residual_mean", r.residual_mean);
    file.write(stopping + "/step", r.path.step);
    file.write(stopping + "/eta", r.path.eta);
    file.write(stopping + "/rademacher", r.path.rademacher);
    file.write(stopping + "/bias2", r.path.bias2);
    file.write(stopping + "/variance", r.path.variance);
    file.write(stopping + "/bound", r.path.bound);
    file.write(stopping + "/train_mse", r.path.train_mse);
    if (!r.test_mse.empty()) file.write(stopping + "/test_mse", r.test_mse);
    file.write("/rates/alignment/labels", r.labels, {r.rows, r.outputs});
    file.write("/rates/alignment/residual", r.residual, {r.rows, r.outputs});
    file.write("/rates/alignment/cumulative", r.cumulative, {r.rows, r.outputs});
}

std::string rates_summary(const RatesResult& r) {
    std::string text;
    const auto line = [&](const std::string& words) { text += words + "\n"; };
    if (r.decay) {
        const Interval& a = r.intervals.exponent;
        line(fmt::format("decay      eigenvalues of G/n fall like rank^-{:.3f} [{:.3f}, {:.3f}] over ranks {} to {}{}", a.value,
                         a.low, a.high, r.window.first, r.window.last,
                         r.decay->corrected ? "" : "; the finite-sample correction does not apply here"));
        if (const auto rate = rate_exponent(a.value))
            line(fmt::format("rate       the bound on the error falls like n^-{:.3f} (a/(a+1))", *rate));
        else
            line("rate       a <= 1 in the window: no rate in n follows from the decay");
    } else {
        line(fmt::format("decay      none: {}", r.decay_reason));
    }
    line(fmt::format("residual   mean square {:.4g} after taking out its mean ({:.0f} % of the raw mean square)",
                     r.residual_square, 100 * r.mean_share));
    line(fmt::format("noise      sigma = {:.4g} ({}), radius R = {:.4g} ({})", r.noise, r.noise_source, r.radius, r.radius_source));
    line(fmt::format("stopping   T = {:.0f} steps of size {:.4g} ({:.0f} at half, {:.0f} at double sigma), critical "
                     "radius {:.4g}",
                     r.stop, r.step_size, r.sensitivity.half_noise, r.sensitivity.double_noise, r.critical));
    const ErrorBound bound = error_bound(r.critical, r.radius, r.residual_square);
    line(fmt::format("bound      error at T below {:.4g} with high probability{}", bound.value,
                     bound.vacuous ? ": vacuous here, it exceeds the mean square of the residual" : ""));
    if (!r.test_mse.empty()) {
        const auto best = std::min_element(r.test_mse.begin(), r.test_mse.end());
        const auto at = std::find(r.path.step.begin(), r.path.step.end(), r.stop);
        line(fmt::format("test       mean squared error {:.4g} at step 0{}, best {:.4g} at step {:.0f}", r.test_mse.front(),
                         at == r.path.step.end() ? ""
                                                 : fmt::format(", {:.4g} at T", r.test_mse[static_cast<std::size_t>(at - r.path.step.begin())]),
                         *best, r.path.step[static_cast<std::size_t>(best - r.test_mse.begin())]));
    }
    text.pop_back();
    return text;
}

}  // namespace tangram
