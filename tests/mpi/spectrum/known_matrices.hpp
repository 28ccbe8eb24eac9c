#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <ostream>
#include <string>
#include <vector>

#include "tangram/index.hpp"

/// Symmetric matrices of any size whose eigenvalues are known in closed form: the edges that eigensolvers
/// trip over.
namespace tangram::testing {

struct Known {
    const char* name;
    std::function<double(Index n, Index i, Index j)> entry;
    std::function<double(Index n, Index k)> eigenvalue;  ///< k = 0..n-1, in any order
};

/// For messages of parametrised tests.
inline void PrintTo(const Known& known, std::ostream* out) { *out << known.name; }

inline double cosine_eigenvalue(Index n, Index k) {
    return 2 - 2 * std::cos(std::numbers::pi * static_cast<double>(k + 1) / static_cast<double>(n + 1));
}
inline double min_entry(Index i, Index j) { return static_cast<double>(std::min(i, j) + 1); }
/// Of min(i, j), i, j = 1..n: 1/(4 sin^2((2j-1) pi/(2(2n+1)))).
inline double min_eigenvalue(Index n, Index k) {
    const double s =
        std::sin(static_cast<double>(2 * k + 1) * std::numbers::pi / (2 * static_cast<double>(2 * n + 1)));
    return 1 / (4 * s * s);
}
inline double diagonal_entry(Index i, Index j, double value) { return i == j ? value : 0.0; }
inline double of_both_signs(Index n, Index k) {
    return static_cast<double>((7 * k) % n) - 0.5 * static_cast<double>(n);
}
/// A power's decay, no eigenvalue a power of ten of the first.
inline double power_eigenvalue(Index k) { return 1 / (static_cast<double>(k) + 1.03); }
/// The square of the matrix with rows -1 2 -1: five diagonals.
inline double banded_entry(Index n, Index i, Index j) {
    const Index d = std::abs(i - j);
    if (d == 0) return n == 1 ? 4 : i == 0 || i == n - 1 ? 5 : 6;
    return d == 1 ? -4 : d == 2 ? 1 : 0;
}
/// Blocks of min(i, j) times the identity of 3 labels: every eigenvalue three times, as in a wide network's
/// multi-output kernel; rows left over when 3 does not divide n stand alone with eigenvalue 1/2.
inline double kron_entry(Index n, Index i, Index j) {
    const Index whole = n / 3 * 3;
    if (i >= whole || j >= whole) return diagonal_entry(i, j, 0.5);
    return i % 3 == j % 3 ? min_entry(i / 3, j / 3) : 0;
}
inline double kron_eigenvalue(Index n, Index k) { return k < n / 3 * 3 ? min_eigenvalue(n / 3, k / 3) : 0.5; }
/// Every example twice: min(i, j) of half the size times the 2 x 2 matrix of ones, and 1/2 for one left over.
inline double twice_entry(Index n, Index i, Index j) {
    const Index whole = n / 2 * 2;
    if (i >= whole || j >= whole) return diagonal_entry(i, j, 0.5);
    return min_entry(i / 2, j / 2);
}
inline double twice_eigenvalue(Index n, Index k) {
    if (k >= n / 2 * 2) return 0.5;
    return k % 2 == 0 ? 2 * min_eigenvalue(n / 2, k / 2) : 0;
}
/// Five kinds of rows, all of a kind alike: the entry 1, .. 5 where both are of one kind, and as many
/// eigenvalues that are not zero.
inline double five_kinds_entry(Index i, Index j) {
    return i % 5 == j % 5 ? static_cast<double>(1 + i % 5) : 0;
}
inline double five_kinds_eigenvalue(Index n, Index k) {
    return k < 5 ? static_cast<double>((1 + k) * ((n - k + 4) / 5)) : 0;
}
/// 2 x 2 blocks (2 1; 1 2) and a last 1, falling from 1 to 1e-300.
inline double graded_scale(Index n, Index i) {
    return std::pow(10.0,
                    -300 * static_cast<double>(i / 2) / static_cast<double>(std::max<Index>(1, (n - 1) / 2)));
}
inline double graded_entry(Index n, Index i, Index j) {
    if (i / 2 != j / 2) return 0;
    return graded_scale(n, i) * (i != j ? 1 : i == n - 1 && n % 2 == 1 ? 1 : 2);
}
inline double graded_eigenvalue(Index n, Index k) {
    return graded_scale(n, k) * (k == n - 1 && n % 2 == 1 ? 1 : k % 2 == 0 ? 3 : 1);
}

inline const std::vector<Known>& known_matrices() {
    static const std::vector<Known> list{
        {"min", [](Index, Index i, Index j) { return min_entry(i, j); }, min_eigenvalue},
        {"tridiagonal",
         [](Index, Index i, Index j) { return i == j                 ? 2.0
                                              : std::abs(i - j) == 1 ? -1.0
                                                                     : 0.0; },
         cosine_eigenvalue},
        {"banded", banded_entry, [](Index n, Index k) { return std::pow(cosine_eigenvalue(n, k), 2); }},
        {"identity", [](Index, Index i, Index j) { return diagonal_entry(i, j, 1); },
         [](Index, Index) { return 1.0; }},
        {"diagonal of both signs",
         [](Index n, Index i, Index j) { return diagonal_entry(i, j, of_both_signs(n, i)); }, of_both_signs},
        {"power", [](Index, Index i, Index j) { return diagonal_entry(i, j, power_eigenvalue(i)); },
         [](Index, Index k) { return power_eigenvalue(k); }},
        {"seven equal ones",
         [](Index, Index i, Index j) { return diagonal_entry(i, j, i % 5 == 1 && i < 35 ? 10 : 1); },
         [](Index, Index k) { return k % 5 == 1 && k < 35 ? 10.0 : 1.0; }},
        {"all ones, rank 1", [](Index, Index, Index) { return 1.0; },
         [](Index n, Index k) { return k == 0 ? static_cast<double>(n) : 0.0; }},
        {"five kinds, rank 5", [](Index, Index i, Index j) { return five_kinds_entry(i, j); },
         five_kinds_eigenvalue},
        {"K x I", kron_entry, kron_eigenvalue},
        {"indefinite, trace 0", [](Index, Index i, Index j) { return std::abs(i - j) == 1 ? -1.0 : 0.0; },
         [](Index n, Index k) { return n == 1 ? 0.0 : cosine_eigenvalue(n, k) - 2; }},
        {"every example twice", twice_entry, twice_eigenvalue},
        {"graded", graded_entry, graded_eigenvalue},
        {"zero", [](Index, Index, Index) { return 0.0; }, [](Index, Index) { return 0.0; }},
        {"min, scale 1e-12", [](Index, Index i, Index j) { return 1e-12 * min_entry(i, j); },
         [](Index n, Index k) { return 1e-12 * min_eigenvalue(n, k); }},
        {"min, scale 1e12", [](Index, Index i, Index j) { return 1e12 * min_entry(i, j); },
         [](Index n, Index k) { return 1e12 * min_eigenvalue(n, k); }}};
    return list;
}

inline const Known& known_matrix(const std::string& name) {
    return *std::ranges::find_if(known_matrices(), [&](const Known& known) { return known.name == name; });
}

/// Letters, digits and underscores, as the names of parametrised tests must be.
inline std::string test_name(std::string text) {
    std::ranges::replace_if(
        text, [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
    return text;
}

inline std::vector<double> descending_eigenvalues(const Known& known, Index n) {
    std::vector<double> values;
    for (Index k = 0; k < n; ++k) values.push_back(known.eigenvalue(n, k));
    std::ranges::sort(values, std::greater<>());
    return values;
}

}  // namespace tangram::testing
