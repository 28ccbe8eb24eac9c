#!/usr/bin/env python3
"""The coefficients of erf in tangram/elementary.hpp, in 60 decimal digits: the series below 1, and above it weighted least squares for
exp(x^2) erfc(x) as a polynomial in t = (x - 2) / (x + 2), weighted by exp(-x^2), which is what its error counts in erf.
Prints the coefficients, lowest power first, and the largest error in units of erf's last place."""
import math
from decimal import Decimal as D, getcontext
getcontext().prec = 60
PI = D('3.14159265358979323846264338327950288419716939937510582097494459')

def erfc(x):
    """1 - 2/sqrt(pi) exp(-x^2) sum 2^k x^(2k+1) / (2k+1)!!, all terms positive (Abramowitz, Stegun 1964, 7.1.6)."""
    term, total, k = x, D(0), 0
    while term > D(10) ** -58 * (total + 1) or k < 40:
        total += term; k += 1; term *= 2 * x * x / (2 * k + 1)
    return 1 - 2 / PI.sqrt() * (-x * x).exp() * total

def solved(a, b):
    """Gauss with partial pivoting."""
    n = len(b); rows = [list(a[i]) + [b[i]] for i in range(n)]
    for i in range(n):
        best = max(range(i, n), key=lambda r: abs(rows[r][i])); rows[i], rows[best] = rows[best], rows[i]
        for r in range(i + 1, n):
            f = rows[r][i] / rows[i][i]
            for c in range(i, n + 1): rows[r][c] -= f * rows[i][c]
    x = [D(0)] * n
    for i in reversed(range(n)): x[i] = (rows[i][n] - sum(rows[i][c] * x[c] for c in range(i + 1, n))) / rows[i][i]
    return x

def fitted(points, degree, rounds=6):
    """Coefficients and the largest error in erf; Lawson's reweighting brings the largest near the least possible."""
    t = [(x - 2) / (x + 2) for x, _, _ in points]
    lawson = [D(1)] * len(points)
    best = None
    for _ in range(rounds):
        w = [lawson[i] * points[i][2] ** 2 for i in range(len(points))]
        powers = [[D(1)] for _ in points]
        for i, at in enumerate(t):
            for _ in range(2 * degree): powers[i].append(powers[i][-1] * at)
        moment = [sum(w[i] * powers[i][k] for i in range(len(points))) for k in range(2 * degree + 1)]
        right = [sum(w[i] * powers[i][k] * points[i][1] for i in range(len(points))) for k in range(degree + 1)]
        c = solved([[moment[i + j] for j in range(degree + 1)] for i in range(degree + 1)], right)
        errors = [abs(sum(c[k] * powers[i][k] for k in range(degree + 1)) - points[i][1]) * points[i][2] for i in range(len(points))]
        if best is None or max(errors) < best[1]: best = (c, max(errors))
        mean = sum(lawson[i] * errors[i] for i in range(len(points))) / sum(lawson)
        lawson = [lawson[i] * errors[i] / mean for i in range(len(points))]
    return best

def points_of(low, high, count=100):
    """x, exp(x^2) erfc(x) and the weight on Chebyshev's nodes."""
    nodes = [D(str((low + high) / 2 - (high - low) / 2 * math.cos(math.pi * (i + 0.5) / count))) for i in range(count)]
    return [(x, erfc(x) * (x * x).exp(), (-x * x).exp()) for x in nodes]

def shown(c): return ', '.join(f'{x:.20e}' for x in c)

for name, terms, degree, largest, digits in (('float', 11, 5, 4, 24), ('double', 19, 12, 6, 53)):
    # x S(x^2) = erf(x) - x: the first coefficient is one less than that of erf.
    series = [2 / PI.sqrt() * (-1) ** k / (D(math.factorial(k)) * (2 * k + 1)) - (k == 0) for k in range(terms)]
    c, error = fitted(points_of(1, largest), degree)
    print(f'{name}\n  below: {shown(series)}\n  above: {shown(c)}\n  error: {float(error) * 2.0 ** digits:.3f}')
