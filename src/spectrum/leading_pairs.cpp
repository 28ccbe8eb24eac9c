#include "tangram/spectrum/leading_pairs.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "invariants.hpp"
#include "operator_product.hpp"
#include "tangram/not_known.hpp"
#include "tangram/random.hpp"

namespace tangram {

namespace {

using Matrix = Eigen::MatrixXd;

/// Block Lanczos on every rank alike; the members that say so multiply with G.
class BlockLanczos {
  public:
    BlockLanczos(const SymmetricOperator& G, Index count, const LanczosSettings& settings)
        : G_(&G),
          count_(count),
          block_(std::min(settings.block, G.rows)),
          most_(std::min(G.rows, std::max(settings.basis > 0 ? settings.basis
                                                             : lanczos_basis(G.rows, count, settings.block),
                                          count + 2 * settings.block))),
          key_(random::key_of(settings.seed, "block Lanczos")) {
        V_.resize(G.rows, most_);
        T_ = Matrix::Zero(most_, most_);
        next_ = orthonormal(Matrix(G.rows, 0));
    }

    /// Multiplies the next block and takes it into the basis; then the block after it. Collective.
    void step() {
        const Matrix W = product(*G_, next_);
        products_ += next_.cols();
        collectively(G_->comm, [&] {
            const Index before = size_, added = next_.cols();
            V_.middleCols(before, added) = next_;
            size_ += added;
            last_ = added;
            const auto V = V_.leftCols(size_);
            Matrix H = V.transpose() * W;
            const Matrix corner = 0.5 * (H.bottomRows(added) + H.bottomRows(added).transpose());
            Matrix rest = W - V * H;
            rest -= V * (V.transpose() * rest);
            H.bottomRows(added) = corner;
            T_.block(0, before, size_, added) = H;
            T_.block(before, 0, added, size_) = H.transpose();
            Eigen::SelfAdjointEigenSolver<Matrix> of_T(T_.topLeftCorner(size_, size_));
            if (of_T.info() != Eigen::Success)
                throw Error(ExitStatus::numerical, ErrorKind::not_converged,
                            "the eigenvalues of block Lanczos's projected matrix do not converge");
            ritz_ = of_T.eigenvalues().reverse();
            S_ = of_T.eigenvectors().rowwise().reverse();
            next_ = orthonormal(rest);
            coupling_ = next_.transpose() * rest;
        });
    }

    /// Whether the k largest are found; where more copies of them may be than a block sees, what comes next
    /// is a search for these. Where random vectors come next, one step must have left all as they are. Local.
    bool converged(double tolerance) {
        const Index k = count_;
        if (size_ < k) return false;
        const double least = tolerance * std::max(std::abs(ritz_(0)), std::abs(ritz_(size_ - 1)));
        const Matrix residuals = coupling_ * S_.bottomRows(last_).leftCols(k);
        const bool small = size_ == G_->rows || residuals.colwise().norm().maxCoeff() <= least;
        const Eigen::VectorXd now = ritz_.head(k);
        const bool settled =
            size_ == G_->rows || random_ == 0 || (settled_.size() == k && (now - settled_).norm() <= least);
        settled_ = small ? now : Eigen::VectorXd();
        ++searched_;
        if (!small || !settled) return false;
        const Index last = size_ == G_->rows ? 0 : end_of_full_runs(least);
        if (last == 0) return true;
        if (found_.size() == k && (now - found_).norm() <= least) return nothing_is_missed(ritz_(last - 1));
        search();
        return false;
    }

    bool full() const { return size_ + next_.cols() > most_; }

    /// Goes on from the leading Ritz vectors alone. Local.
    void restart() {
        keep(std::min(count_ + block_, size_ - last_));
        ++restarts_;
    }

    /// Behind step(), converged() and restart(). Local; its basis is this one's.
    LanczosState state() const {
        LanczosState now;
        now.size = size_;
        now.basis = {V_.data(), static_cast<std::size_t>(V_.rows() * size_)};
        const Matrix T = T_.topLeftCorner(size_, size_);
        now.projected.assign(T.data(), T.data() + T.size());
        now.next.assign(next_.data(), next_.data() + next_.size());
        now.settled.assign(settled_.begin(), settled_.end());
        now.found.assign(found_.begin(), found_.end());
        now.searched = searched_;
        now.products = products_;
        now.restarts = restarts_;
        now.random = random_;
        now.drawn = drawn_;
        return now;
    }
    /// Local. @throws Error(output) where its sizes are not those of this problem
    void resume(const LanczosState& from) {
        const Index n = G_->rows, columns = std::ssize(from.next) / n;
        if (from.size < 0 || from.size + columns > most_ || columns != std::min(block_, n - from.size) ||
            std::ssize(from.next) != n * columns || std::ssize(from.basis) != n * from.size ||
            std::ssize(from.projected) != from.size * from.size || from.random > columns)
            throw Error(ExitStatus::output, ErrorKind::contradiction,
                        "a checkpoint of block Lanczos is of another problem");
        size_ = from.size;
        std::ranges::copy(from.basis, V_.data());
        T_.topLeftCorner(size_, size_) = Eigen::Map<const Matrix>(from.projected.data(), size_, size_);
        next_ = Eigen::Map<const Matrix>(from.next.data(), n, columns);
        settled_ = Eigen::Map<const Eigen::VectorXd>(from.settled.data(), std::ssize(from.settled));
        found_ = Eigen::Map<const Eigen::VectorXd>(from.found.data(), std::ssize(from.found));
        searched_ = from.searched;
        products_ = from.products;
        restarts_ = from.restarts;
        random_ = from.random;
        drawn_ = from.drawn;
    }

    /// With residuals by products of their own. Collective.
    LeadingPairs pairs() {
        const Index k = count_;
        Matrix X = collectively(G_->comm, [&]() -> Matrix { return V_.leftCols(size_) * S_.leftCols(k); });
        LeadingPairs found;
        for (Index first = 0; first < k; first += block_) {
            const Index some = std::min(block_, k - first);
            const Matrix part = collectively(G_->comm, [&]() -> Matrix { return X.middleCols(first, some); });
            const Matrix GX = product(*G_, part);
            collectively(G_->comm, [&] {
                for (Index j = 0; j < some; ++j)
                    found.residuals.push_back((GX.col(j) - ritz_(first + j) * part.col(j)).norm());
            });
            products_ += some;
        }
        collectively(G_->comm, [&] {
            fix_signs(X);
            found.values.assign(ritz_.begin(), ritz_.begin() + k);
            found.vectors.assign(X.data(), X.data() + X.size());
        });
        found.products = products_;
        found.restarts = restarts_;
        return found;
    }

    Index restarts() const { return restarts_; }

  private:
    /// Keeps the leading Ritz vectors alone.
    void keep(Index kept) {
        const Matrix leading = V_.leftCols(size_) * S_.leftCols(kept);
        V_.leftCols(kept) = leading;
        T_.setZero();
        T_.diagonal().head(kept) = ritz_.head(kept);
        size_ = kept;
    }
    /// Where the last run of equal values in front of the k-th ends that fills a block, else 0: of more
    /// copies a block sees none, and one that is missing moves all behind it.
    Index end_of_full_runs(double least) const {
        Index last = 0;
        for (Index begin = 0, end = 0; begin < count_; begin = end) {
            // Copies that differ by more are told apart before residuals are small.
            for (end = begin + 1; end < count_ && ritz_(end - 1) - ritz_(end) <= 100 * least;) ++end;
            if (end - begin >= block_ && end < count_) last = end;
        }
        return last;
    }
    /// From the k pairs alone, which are invariant, and random vectors.
    void search() {
        keep(count_);
        next_ = orthonormal(Matrix(G_->rows, 0));
        settled_ = found_ = ritz_.head(count_);
        searched_ = 0;
    }
    /// Of an eigenvalue of this size, by the steps of the search: s steps from a random vector leave the
    /// largest one a share e above what they show with a probability of 1.648 N^(1/2) exp(-e^(1/2) (2 s - 1))
    /// at most [Kuczynski, Wozniakowski, SIAM J. Matrix Anal. Appl. 13 (1992) 1094, Theorem 4.1], from a
    /// block if its vectors all do: less than 10^-6, as proved
    /// where nothing restarts. A share of 1/1000 is not told apart.
    bool nothing_is_missed(double value) const {
        const double next = size_ > count_ ? std::max(0.0, ritz_(count_)) : 0.0,
                     share = std::max(1e-3, 1 - next / value),
                     of_vector = std::log(1.648 * std::sqrt(static_cast<double>(G_->rows))) -
                                 std::sqrt(share) * static_cast<double>(2 * searched_ - 1);
        return static_cast<double>(block_) * of_vector <= std::log(1e-6);
    }

    /// As eigenpairs() has them.
    static void fix_signs(Matrix& X) {
        for (Index j = 0; j < X.cols(); ++j) {
            const double most = 0.6 * X.col(j).cwiseAbs().maxCoeff();
            Index i = 0;
            while (std::abs(X(i, j)) < most) ++i;
            if (X(i, j) < 0) X.col(j) = -X.col(j);
        }
    }

    /// A block of orthonormal columns, orthogonal to the basis too, that holds what X spans beside it, filled
    /// up with random ones; fewer columns where no more are left. Sets `random_`, their number.
    Matrix orthonormal(const Matrix& X) {
        const auto V = V_.leftCols(size_);
        const Index columns = std::min(block_, G_->rows - size_);
        Matrix Q(G_->rows, columns);
        Index rank = 0;
        if (X.cols() > 0 && columns > 0) {
            const Eigen::ColPivHouseholderQR<Matrix> of_X(X);
            // What is left of a product that the basis spans is rounding.
            const double least = 1e-14 * std::max(std::abs(ritz_(0)), std::abs(ritz_(size_ - 1)));
            while (rank < std::min(columns, X.cols()) && std::abs(of_X.matrixR()(rank, rank)) > least) ++rank;
            Q.leftCols(rank) = of_X.householderQ() * Matrix::Identity(G_->rows, rank);
        }
        random_ = columns - rank;
        for (Index j = rank; j < columns; ++j)
            for (Index i = 0; i < G_->rows; ++i) Q(i, j) = random::normal(key_, drawn_++);
        for (int pass = 0; pass < 2 && columns > 0; ++pass) {
            Q -= V * (V.transpose() * Q);
            const Eigen::HouseholderQR<Matrix> of_Q(Q);
            Q = of_Q.householderQ() * Matrix::Identity(G_->rows, columns);
        }
        return Q;
    }

    const SymmetricOperator* G_;
    Index count_, block_, most_;
    std::uint64_t key_;
    Index drawn_ = 0, random_ = 0, products_ = 0, restarts_ = 0;
    Matrix V_;                        // the basis: size_ columns, the last_ of them newest
    Matrix T_;                        // V^T G V
    Matrix S_;                        // its eigenvectors, with ritz_ descending
    Matrix next_, coupling_;          // G V = V T + next_ coupling_ E^T, E the newest columns
    Eigen::VectorXd ritz_, settled_;  // settled_: those that were small a step before
    Eigen::VectorXd found_;           // where the search began
    Index searched_ = 0;              // steps since
    Index size_ = 0, last_ = 0;
};

}  // namespace

Index lanczos_basis(Index rows, Index count, Index block) { return std::min(rows, 2 * count + 6 * block); }

LeadingPairs leading_pairs(const SymmetricOperator& G, Index count, const LanczosSettings& settings,
                           const LanczosCourse& course) {
    if (count < 1 || count > G.rows)
        throw Error(ExitStatus::study, ErrorKind::out_of_range,
                    fmt::format("spectrum.count = {}: the kernel has {} rows and as many eigenvalues", count,
                                G.rows));
    const double tolerance = std::max(1e-12, 10 * static_cast<double>(G.rows) * 0x1p-52);
    constexpr Index most_restarts = 300;
    std::optional<BlockLanczos> lanczos;
    collectively(G.comm, [&] {
        lanczos.emplace(G, count, settings);
        if (course.from) lanczos->resume(*course.from);
    });
    while (true) {
        lanczos->step();
        if (collectively(G.comm, [&] { return lanczos->converged(tolerance); })) return lanczos->pairs();
        if (lanczos->full() && lanczos->restarts() == most_restarts)
            throw Error(ExitStatus::numerical, ErrorKind::not_converged,
                        fmt::format("the {} largest eigenvalues do not converge in {} restarts of block "
                                    "Lanczos; ask for fewer with spectrum.count, or for matrix = \"formed\"",
                                    count, most_restarts));
        const std::optional<LanczosState> state = collectively(G.comm, [&]() -> std::optional<LanczosState> {
            if (lanczos->full()) lanczos->restart();
            if (!course.between) return std::nullopt;
            return lanczos->state();
        });
        if (state) course.between(*state);
    }
}

Quality quality(const LeadingPairs& pairs, const std::vector<double>& diagonal, bool mixed_precision) {
    const std::vector<double>& w = pairs.values;
    const Index n = std::ssize(diagonal), k = std::ssize(w);
    Invariants invariants{0, 0, not_known, 0};
    for (const double entry : diagonal) {
        invariants.trace += entry;
        invariants.magnitudes += std::abs(entry);
        invariants.largest_diagonal = std::max(invariants.largest_diagonal, std::abs(entry));
    }
    const double scale = std::max(std::abs(w.front()), std::abs(w.back())),
                 residual = *std::ranges::max_element(pairs.residuals) / (scale > 0 ? scale : 1);
    const Eigen::Map<const Matrix> V(pairs.vectors.data(), n, k);
    Index resolved = 0;
    for (std::size_t j = 0; j < w.size(); ++j) resolved += pairs.residuals[j] < std::abs(w[j]) ? 1 : 0;
    return {residual,
            (V.transpose() * V - Matrix::Identity(k, k)).cwiseAbs().maxCoeff(),
            k < n ? invariants.trace_missing(w, n) : invariants.trace_error(w),
            not_known,
            noise_floor(w, invariants.trace, mixed_precision, n),
            std::ranges::count_if(w, [](double value) { return value < 0; }),
            gram_rounding(w, invariants.largest_diagonal, invariants.trace, mixed_precision, n),
            residual,
            n,
            invariants.trace,
            resolved};
}

Eigenpairs eigenpairs(const LeadingPairs& pairs, const ProcessGrid& grid, Index block, bool vectors) {
    const Index k = std::ssize(pairs.values), n = std::ssize(pairs.vectors) / k;
    Eigenpairs found{pairs.values, std::nullopt, Solver::lanczos,
                     fmt::format("matrix = \"free\": {} products, {} restart{}", pairs.products,
                                 pairs.restarts, pairs.restarts == 1 ? "" : "s")};
    if (!vectors) return found;
    DistributedMatrix& V = found.vectors.emplace(grid, n, k, block);
    for (Index j = 0; j < V.local_columns(); ++j)
        for (Index i = 0; i < V.local_rows(); ++i)
            V.data()[i + j * V.lld()] =
                pairs.vectors[static_cast<std::size_t>(V.global_row(i) + V.global_column(j) * n)];
    return found;
}

}  // namespace tangram
