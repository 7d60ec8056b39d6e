"""Derives the polynomial coefficients of src/ir/scalar_math.cpp.

Every polynomial is a minimax approximation of the stated function under the stated weight on Chebyshev-spaced points
(Lawson's algorithm: least squares whose weights are multiplied by the residuals until these level out). Then its
coefficients are rounded to float32 one after the other, lowest order first, and those not yet rounded are fitted again
each time. Prints the coefficients as C++ literals with the weighted error that is reached, measured in 40 digits.

Needs numpy and mpmath. Usage: python3 scripts/fit_polynomials.py [name ...]
"""

import sys

import numpy as np
from mpmath import cos, erf, exp, log, log1p, mp, mpf, nstr, pi, sin, sqrt, tanh

mp.dps = 40
POINTS = 1500
ITERATIONS = 400


def to_f32(x):
    """The float32 nearest to x (of normal size), as an exact mpf."""
    mantissa, exponent = mp.frexp(mpf(x))
    return mp.ldexp(mp.nint(mantissa * 2**24) / 2**24, int(exponent))


def lawson(columns, target, weight):
    """The c that minimises max |weight (target - columns c)|, nearly; all are float64 arrays."""
    scaled, goal = columns * weight[:, None], target * weight
    scale = np.abs(scaled).max(axis=0)
    q, r = np.linalg.qr(scaled / scale)
    importance = np.full(len(goal), 1 / len(goal))
    best, best_error = None, np.inf
    for _ in range(ITERATIONS):
        root = np.sqrt(importance)
        c = np.linalg.lstsq(q * root[:, None], goal * root, rcond=None)[0]
        residual = np.abs(goal - q @ c)
        if residual.max() < best_error:
            best, best_error = c, residual.max()
        importance = importance * (residual + 1e-30)
        importance /= importance.sum()
    return np.linalg.solve(r, best) / scale


def fit(name, function, weight, low, high, degree, fixed=None):
    """Fits sum_k c_k x^k, k <= degree, to function on [low, high]; `fixed` maps k to coefficients that are given."""
    low, high = mpf(low), mpf(high)
    points = [(low + high) / 2 - (high - low) / 2 * cos(pi * (j + mpf(1) / 2) / POINTS)
              for j in range(POINTS)]
    values, weights = [function(x) for x in points], [weight(x) for x in points]
    powers = [[x**k for x in points] for k in range(degree + 1)]
    chosen = {k: to_f32(c) for k, c in (fixed or {}).items()}

    def rest():
        return [v - sum(c * powers[k][j] for k, c in chosen.items()) for j, v in enumerate(values)]

    for k in range(degree + 1):
        if k in chosen:
            continue
        free = [i for i in range(degree + 1) if i not in chosen]
        columns = np.array([[float(p) for p in powers[i]] for i in free]).T
        c = lawson(columns, np.array([float(v) for v in rest()]),
                   np.array([float(w) for w in weights]))
        chosen[k] = to_f32(c[0])
    error = max(abs(w * v) for w, v in zip(weights, rest()))
    print(f"{name}: degree {degree} on [{nstr(low, 8)}, {nstr(high, 8)}], weighted error "
          f"{nstr(error, 3)} = 2^{nstr(log(error, 2), 4)}")
    for k in range(degree + 1):
        print(f"  c{k} = {float(chosen[k]).hex()}f  // {nstr(chosen[k], 9)}")
    return [chosen[k] for k in range(degree + 1)]


def series(terms):
    """sum_k terms(k) for a series that converges fast."""
    return sum(terms(k) for k in range(30))


def fit_exp():
    # e^r = 1 + r + r^2 P(r)
    high = log(2) / 2 * mpf("1.0001")
    fit("exp", lambda r: series(lambda k: r**k / mp.factorial(k + 2)), lambda r: r**2 / exp(r),
        -high, high, 4)
    # tanh: e^2h = 1 + 2h + h^2 P(h)
    fit("tanh exp", lambda h: series(lambda k: 2**(k + 2) * h**k / mp.factorial(k + 2)),
        lambda h: h**2 / exp(2 * h), -high / 2, high / 2, 4)


def fit_log():
    # log(1 + f) = f + f^2 P(f)
    third = mpf(1) / 3
    fit("log", lambda f: series(lambda k: (-1)**(k + 1) * f**k / (k + 2)) if abs(f) < 0.01 else
        (log1p(f) - f) / f**2, lambda f: f**2 / abs(log1p(f)) if f else mpf(0), -third, third, 8,
        {0: -0.5})


def fit_tanh():
    # tanh(x) = x + x^3 P(x^2), |x| < 0.625
    fit("tanh", lambda s: (tanh(sqrt(s)) / sqrt(s) - 1) / s, lambda s: s * sqrt(s) / tanh(sqrt(s)),
        mpf("1e-12"), mpf("0.625")**2, 4)


def fit_erf():
    # erf(x) = x + x P(x^2), |x| < 1.125
    split = mpf("1.125")
    fit("erf small", lambda s: erf(sqrt(s)) / sqrt(s) - 1, lambda s: sqrt(s) / erf(sqrt(s)),
        mpf("1e-12"), split**2, 6)
    # erf(x) = P(x - c), 1.125 <= x <= 3.92; c: where erf is nearly a float32, as c0 = erf(c) cannot be corrected
    center = min((mpf(k) / 256 for k in range(580, 650)), key=lambda c: abs(erf(c) - to_f32(erf(c))))
    print(f"erf large: c = {nstr(center, 12)}")
    fit("erf large", lambda u: erf(u + center), lambda u: mpf(1), split - center,
        mpf("3.92") - center, 12)


def fit_sin_cos():
    # sin(r) = r + r^3 P(r^2), cos(r) = 1 - r^2 / 2 + r^4 P(r^2), |r| <= 1
    fit("sin", lambda s: series(lambda k: (-1)**(k + 1) * s**k / mp.factorial(2 * k + 3)),
        lambda s: s * sqrt(s) / sin(sqrt(s)), mpf(0), mpf(1), 3)
    fit("cos", lambda s: series(lambda k: (-1)**k * s**k / mp.factorial(2 * k + 4)),
        lambda s: s**2 / cos(sqrt(s)), mpf(0), mpf(1), 2)


def print_constants():
    def split(name, x, bits):
        """x as a sum of float32 numbers, the first of `bits` bits so that small integers times it are exact."""
        mantissa, exponent = mp.frexp(x)
        high = mp.ldexp(mp.floor(mantissa * 2**bits) / 2**bits, int(exponent))
        low = to_f32(x - high)
        print(f"{name} = {float(high).hex()}f + {float(low).hex()}f")

    split("ln2", log(2), 16)
    split("2 pi", 2 * pi, 24)
    print(f"log2(e) = {float(to_f32(1 / log(2))).hex()}f, ln2 = {float(to_f32(log(2))).hex()}f")
    words = [int(mp.floor(mp.ldexp(1 / (2 * pi), 32 * k + 1))) % 2**32 for k in range(7)]
    print("floor(2^(32 k + 1) / (2 pi)) mod 2^32:", ", ".join(f"{w:#010x}" for w in words))


if __name__ == "__main__":
    mp.dps = 90  # print_constants needs 200 bits
    print_constants()
    mp.dps = 40
    for part in sys.argv[1:] or ["exp", "log", "tanh", "erf", "sin_cos"]:
        globals()[f"fit_{part}"]()
