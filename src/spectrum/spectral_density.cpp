#include "tangram/spectrum/spectral_density.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "operator_product.hpp"
#include "tangram/random.hpp"

namespace tangram {

namespace {

using Matrix = Eigen::MatrixXd;
constexpr double infinite = std::numeric_limits<double>::infinity();

/// What a probe's recurrence tells of its measure of the eigenvalues, whose weights add up to 1.
class ProbeMeasure {
  public:
    /// @param T  tridiagonal  @param next  the entry beside it; 0 where the Krylov space ended
    ProbeMeasure(const Matrix& T, double next)
        : diagonal_(T.diagonal()), beside_(T.diagonal(-1)), next_(next) {}

    /// The weight of eigenvalues of at least x: the least and the greatest that it can be.
    struct Share {
        double low, high;
        double middle() const { return 0.5 * (low + high); }
    };
    Share at_least(double x) const {
        if (x == -infinite) return {1, 1};
        const Index steps = diagonal_.size();
        const double last = node_entry(x), far = 1e8 * diagonal_.cwiseAbs().maxCoeff();
        const bool ends = next_ == 0 || !(std::abs(last) <= far);  // T's own nodes, where x is one of them
        Eigen::VectorXd diagonal(diagonal_), beside(beside_);
        if (!ends) {
            diagonal.conservativeResize(steps + 1);
            beside.conservativeResize(steps);
            diagonal(steps) = last;
            beside(steps - 1) = next_;
        }
        // Eigen 3.4 takes entries for small beside 1 there.
        const double largest = std::max(diagonal.cwiseAbs().maxCoeff(), std::numeric_limits<double>::min());
        Eigen::SelfAdjointEigenSolver<Matrix> of;
        of.computeFromTridiagonal(diagonal / largest, beside / largest);
        if (of.info() != Eigen::Success)
            throw Error(ExitStatus::numerical, ErrorKind::not_converged,
                        "the eigenvalues of the density's tridiagonal matrices do not converge");
        const Eigen::VectorXd nodes = of.eigenvalues() * largest;
        const Eigen::VectorXd weights = of.eigenvectors().row(0).cwiseAbs2();
        Index at = 0;
        if (next_ == 0) {
            while (at < steps && nodes(at) < x) ++at;
            const double all = weights.tail(steps - at).sum();
            return {all, all};
        }
        (nodes.array() - x).abs().minCoeff(&at);
        const double above = weights.tail(weights.size() - at - 1).sum();
        return {above, above + weights(at)};
    }

  private:
    /// The diagonal's next entry that makes x an eigenvalue (Golub, SIAM Rev. 15 (1973) 318).
    double node_entry(double x) const {
        double pivot = diagonal_(0) - x;
        for (Index i = 1; i < diagonal_.size(); ++i)
            pivot = diagonal_(i) - x - beside_(i - 1) * beside_(i - 1) / pivot;
        return x + next_ * next_ / pivot;
    }

    Eigen::VectorXd diagonal_, beside_;
    double next_;
};

/// One Lanczos recurrence for each column of a block, without reorthogonalisation: copies of eigenvalues that
/// rounding brings share the weight of one.
class Probes {
  public:
    /// @param known  orthonormal columns that the probes stay orthogonal to
    Probes(const SymmetricOperator& G, Eigen::Map<const Matrix> known, std::uint64_t seed)
        : G_(&G), known_(known), count_(density_probes), T_(static_cast<std::size_t>(density_probes)) {
        const std::uint64_t key = random::key_of(seed, "density");
        V_.resize(G.rows, count_);
        for (Index j = 0; j < count_; ++j)
            for (Index i = 0; i < G.rows; ++i)
                V_(i, j) =
                    (random::mixed(key ^ static_cast<std::uint64_t>(i + j * G.rows)) >> 63) != 0 ? 1 : -1;
        leave_known(V_);
        V_.colwise().normalize();
        before_ = Matrix::Zero(G.rows, count_);
        beta_ = Eigen::VectorXd::Zero(count_);
        for (Matrix& of_probe : T_) of_probe = Matrix::Zero(density_steps, density_steps);
        steps_.assign(T_.size(), 0);
    }

    /// Collective. @param scale  of G's eigenvalues
    void step(Index s, double scale) {
        Matrix W = product(*G_, V_);
        collectively(G_->comm, [&] {
            leave_known(W);
            for (Index j = 0; j < count_; ++j) {
                const auto at = static_cast<std::size_t>(j);
                if (s > 0 && beta_(j) == 0) continue;  // ended before
                W.col(j) -= beta_(j) * before_.col(j);
                const double alpha = V_.col(j).dot(W.col(j));
                W.col(j) -= alpha * V_.col(j);
                T_[at](s, s) = alpha;
                if (s > 0) T_[at](s, s - 1) = T_[at](s - 1, s) = beta_(j);
                steps_[at] = s + 1;
                beta_(j) = W.col(j).norm();
                if (beta_(j) > 1e-13 * scale) {
                    W.col(j) /= beta_(j);
                } else {
                    beta_(j) = 0;
                    W.col(j).setZero();
                }
            }
            before_.swap(V_);
            V_.swap(W);
        });
    }

    std::vector<ProbeMeasure> measures() const {
        std::vector<ProbeMeasure> all;
        for (std::size_t j = 0; j < T_.size(); ++j)
            all.emplace_back(T_[j].topLeftCorner(steps_[j], steps_[j]), beta_(static_cast<Index>(j)));
        return all;
    }

  private:
    void leave_known(Matrix& X) const {
        if (known_.cols() > 0) X -= known_ * (known_.transpose() * X);
    }

    const SymmetricOperator* G_;
    Eigen::Map<const Matrix> known_;
    Index count_;
    Matrix V_, before_;
    Eigen::VectorXd beta_;
    std::vector<Matrix> T_;
    std::vector<Index> steps_;  // that each probe took before its Krylov space ended
};

/// An end of the 95 % interval of a share s that is seen as `seen`, by Wilson (J. Amer. Statist. Assoc. 22
/// (1927) 209): random signs see it with a variance of at most 2 s (1 - s) / rows (Hutchinson, Commun.
/// Statist. Simul. 19 (1990) 433, and Cauchy, Schwarz). @param side  -1 or 1
double interval_end(double seen, double rows, double side) {
    constexpr double normal = 1.96;  // 97.5 % of the normal distribution
    const double c = 2 * normal * normal / (rows * static_cast<double>(density_probes));
    const double of = std::clamp(seen, 0.0, 1.0);
    return (of + c / 2 + side * std::sqrt(c * of * (1 - of) + c * c / 4)) / (1 + c);
}

/// Shares of eigenvalues in a bin.
struct Share {
    double mean, low, high;
};

/// Of `rows` eigenvalues that are not known, none of which is larger than `largest`, in [end, above).
Share share_between(const std::vector<ProbeMeasure>& probes, double end, double above, double largest,
                    double rows) {
    if (probes.empty() || end > largest) return {0, 0, 0};
    if (end == -infinite && above > largest) return {1, 1, 1};
    Share mean{0, 0, 0};
    for (const ProbeMeasure& probe : probes) {
        const auto from = probe.at_least(end),
                   to = above > largest ? ProbeMeasure::Share{0, 0} : probe.at_least(above);
        const double part = 1 / static_cast<double>(probes.size());
        mean.mean += part * (from.middle() - to.middle());
        mean.low += part * std::max(0.0, from.low - to.high);
        mean.high += part * (from.high - to.low);
    }
    return {mean.mean, interval_end(mean.low, rows, -1), interval_end(mean.high, rows, 1)};
}

/// Lower ends of the bins, descending; the last is -infinity.
std::vector<double> bin_ends(double largest, double floor) {
    constexpr Index per_decade = 2, most = 40;
    std::vector<double> ends;
    for (Index j = 1; j <= most && largest > 0; ++j) {
        const double end = largest * std::pow(10, -static_cast<double>(j) / per_decade);
        if (!(end > floor)) break;
        ends.push_back(end);
    }
    ends.push_back(-infinite);
    return ends;
}

}  // namespace

SpectralDensity spectral_density(const SymmetricOperator& G, const LeadingPairs& known, double floor,
                                 std::uint64_t seed) {
    const std::vector<double>& w = known.values;
    const auto n = static_cast<double>(G.rows), rest = 1 - static_cast<double>(w.size()) / n;
    const double largest = std::max(std::abs(w.front()), std::abs(w.back()));
    std::vector<ProbeMeasure> probes;
    if (std::ssize(w) < G.rows) {
        std::optional<Probes> of;
        const Index columns = std::ssize(known.vectors) / G.rows;
        collectively(G.comm, [&] {
            of.emplace(G, Eigen::Map<const Matrix>(known.vectors.data(), G.rows, columns), seed);
        });
        for (Index s = 0; s < std::min(density_steps, G.rows - columns); ++s) of->step(s, largest);
        probes = collectively(G.comm, [&] { return of->measures(); });
    }
    return collectively(G.comm, [&] {
        SpectralDensity density;
        double above = infinite;
        for (const double end : bin_ends(w.front(), floor)) {
            const auto counted = static_cast<double>(
                std::ranges::count_if(w, [&](double value) { return value >= end && value < above; }));
            const Share others = share_between(probes, end, above, w.back(), rest * n);
            density.value.push_back(end == -infinite ? 0 : end * std::pow(10, 0.25));
            density.weight.push_back(counted / n + rest * others.mean);
            density.low.push_back(counted / n + rest * others.low);
            density.high.push_back(counted / n + rest * others.high);
            above = end;
        }
        return density;
    });
}

}  // namespace tangram
