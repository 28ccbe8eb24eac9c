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

/// The measure of one probe: nodes, descending, with weights that add up to 1.
struct Quadrature {
    std::vector<double> nodes, weights;
    bool exact = false;  ///< the probe's Krylov space ended

    /// The weight of eigenvalues of at least x: by the nodes, and the least and greatest that it can be.
    struct Share {
        double mean, low, high;
    };
    Share above(double x) const {
        Share share{0, 0, 0};
        const auto size = static_cast<Index>(nodes.size());
        Index count = 0;
        while (count < size && nodes[static_cast<std::size_t>(count)] >= x) ++count;
        for (Index i = 0; i < size; ++i) {
            const double weight = weights[static_cast<std::size_t>(i)];
            const bool all = exact || x == -infinite;
            if (i < count) share.mean += weight;
            if (i < count - (all ? 0 : 1)) share.low += weight;
            if (i < count + (all ? 0 : 1)) share.high += weight;
        }
        return share;
    }
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
                if (steps_[at] < s) continue;  // ended before
                W.col(j) -= beta_(j) * before_.col(j);
                const double alpha = V_.col(j).dot(W.col(j));
                W.col(j) -= alpha * V_.col(j);
                T_[at](s, s) = alpha;
                if (s > 0) T_[at](s, s - 1) = T_[at](s - 1, s) = beta_(j);
                beta_(j) = W.col(j).norm();
                if (beta_(j) > 1e-13 * scale) {
                    steps_[at] = s + 1;
                    W.col(j) /= beta_(j);
                } else {
                    ended_.push_back({at, s + 1});
                    W.col(j).setZero();
                }
            }
            before_.swap(V_);
            V_.swap(W);
        });
    }

    std::vector<Quadrature> quadratures() const {
        std::vector<Quadrature> all(T_.size());
        std::vector<Index> sizes(steps_);
        for (const auto& [at, size] : ended_) {
            sizes[at] = size;
            all[at].exact = true;
        }
        for (std::size_t j = 0; j < T_.size(); ++j) {
            const Eigen::SelfAdjointEigenSolver<Matrix> of(T_[j].topLeftCorner(sizes[j], sizes[j]));
            for (Index i = sizes[j] - 1; i >= 0; --i) {
                all[j].nodes.push_back(of.eigenvalues()(i));
                all[j].weights.push_back(of.eigenvectors()(0, i) * of.eigenvectors()(0, i));
            }
        }
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
    std::vector<Index> steps_;
    std::vector<std::pair<std::size_t, Index>> ended_;  // probe, steps
};

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
    std::vector<Quadrature> probes;
    if (std::ssize(w) < G.rows) {
        std::optional<Probes> of;
        const Index columns = std::ssize(known.vectors) / G.rows;
        collectively(G.comm, [&] {
            of.emplace(G, Eigen::Map<const Matrix>(known.vectors.data(), G.rows, columns), seed);
        });
        for (Index s = 0; s < std::min(density_steps, G.rows - columns); ++s) of->step(s, largest);
        probes = collectively(G.comm, [&] { return of->quadratures(); });
    }
    return collectively(G.comm, [&] {
        constexpr double student = 2.131;  // 97.5 % of Student's t, 15 degrees of freedom
        static_assert(density_probes == 16);
        SpectralDensity density;
        double above = infinite;
        for (const double end : bin_ends(w.front(), floor)) {
            const auto counted = static_cast<double>(
                std::ranges::count_if(w, [&](double value) { return value >= end && value < above; }));
            Quadrature::Share sum{0, 0, 0};
            double squares = 0;
            for (const Quadrature& probe : probes) {
                // None of the others is larger than the last that is known.
                const Quadrature::Share from = probe.above(end), to = above > w.back()
                                                                          ? Quadrature::Share{0, 0, 0}
                                                                          : probe.above(above);
                const bool none = end > w.back();
                const double mean = none ? 0 : from.mean - to.mean;
                sum.mean += mean;
                squares += mean * mean;
                sum.low += none ? 0 : std::max(0.0, from.low - to.high);
                sum.high += none ? 0 : from.high - to.low;
            }
            const auto p = static_cast<double>(std::max<std::size_t>(1, probes.size()));
            const double mean = sum.mean / p,
                         half = student *
                                std::sqrt(std::max(0.0, squares / p - mean * mean) / std::max(1.0, p - 1));
            density.value.push_back(end == -infinite ? 0 : end * std::pow(10, 0.25));
            density.weight.push_back(counted / n + rest * mean);
            density.low.push_back(counted / n + rest * std::max(0.0, sum.low / p - half));
            density.high.push_back(counted / n + rest * std::min(1.0, sum.high / p + half));
            above = end;
        }
        return density;
    });
}

}  // namespace tangram
