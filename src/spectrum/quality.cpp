#include "tangram/spectrum/quality.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tangram {

double noise_floor(const std::vector<double>& descending, double trace, bool mixed_precision) {
    const auto n = static_cast<double>(descending.size());
    double floor = n * 0x1p-52 * std::abs(descending.front());
    if (mixed_precision) floor = std::max(floor, std::sqrt(n) * 0x1p-24 * trace / n);
    if (descending.back() < 0) floor = std::max(floor, -descending.back());
    return floor;
}

Quality quality(const DistributedMatrix& G, const Eigenpairs& pairs, bool mixed_precision) {
    const MPI_Comm comm = G.grid().comm().get();
    const std::vector<double>& w = pairs.values;
    double sums[4] = {0, 0, 0, 0};  // trace, sum |G_ii|, ||G||_F^2
    for (Index j = 0; j < G.local_columns(); ++j)
        for (Index i = 0; i < G.local_rows(); ++i) {
            const double value = G.data()[i + j * G.lld()];
            sums[2] += value * value;
            if (G.global_row(i) == G.global_column(j)) {
                sums[0] += value;
                sums[1] += std::abs(value);
            }
        }
    sum_over_ranks(comm, sums);
    const double sum = std::accumulate(w.begin(), w.end(), 0.0);
    const double squares = std::inner_product(w.begin(), w.end(), w.begin(), 0.0);
    const auto relative = [](double difference, double scale) { return scale > 0 ? std::abs(difference) / scale : std::abs(difference); };
    Quality result{std::nullopt, std::nullopt, relative(sum - sums[0], sums[1]), relative(squares - sums[2], sums[2]),
                   noise_floor(w, sums[0], mixed_precision),
                   std::count_if(w.begin(), w.end(), [](double value) { return value < 0; })};
    if (!pairs.vectors) return result;

    const DistributedMatrix& V = *pairs.vectors;
    // A NaN must not vanish in a maximum.
    const auto worse = [](double a, double b) { return std::isnan(b) || b > a ? b : a; };
    {
        const DistributedMatrix GV = multiply(G, V);
        std::vector<double> norms(w.size(), 0.0);
        for (Index j = 0; j < V.local_columns(); ++j) {
            const auto column = static_cast<std::size_t>(V.global_column(j));
            for (Index i = 0; i < V.local_rows(); ++i) {
                const double r = GV.data()[i + j * GV.lld()] - w[column] * V.data()[i + j * V.lld()];
                norms[column] += r * r;
            }
        }
        sum_over_ranks(comm, norms);
        double worst = 0;
        for (const double norm : norms) worst = worse(worst, std::sqrt(norm));
        result.residual_max = relative(worst, std::max(std::abs(w.front()), std::abs(w.back())));
    }
    const DistributedMatrix identity = multiply(transpose(V), V);
    double worst = 0;
    for (Index j = 0; j < identity.local_columns(); ++j)
        for (Index i = 0; i < identity.local_rows(); ++i)
            worst = worse(worst, std::abs(identity.data()[i + j * identity.lld()] -
                                          (identity.global_row(i) == identity.global_column(j) ? 1.0 : 0.0)));
    result.orthogonality_max = max_over_ranks(comm, std::isnan(worst) ? INFINITY : worst);
    return result;
}

}  // namespace tangram
