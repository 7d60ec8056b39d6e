// Mathematical functions and random numbers as expressions of the scalar language.
//
// All coefficients come from scripts/fit_polynomials.py (minimax in 40 digits, rounded to f32 one
// by one). The stated errors are the largest over all 2^32 arguments, in units in the last place of
// the exact result, as measured by `CORTEN_EXHAUSTIVE=1 test_scalar`. A comparison picks the second
// value for NaN, so clamps are written such that NaN stays.
#include <bit>
#include <limits>

#include "base/format.h"
#include "ir/scalar.h"

namespace corten::ir {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kLog2E = 0x1.715476p+0f;
constexpr float kLn2 = 0x1.62e43p-1f;
constexpr float kLn2High = 0x1.62e4p-1f,
                kLn2Low = 0x1.7f7d1cp-20f;  // 16 bits, so that n * high is exact
// 1.5 * 2^23: a float of [2^23, 2^24) counts in ones, so that adding this rounds to an integer,
// which is then both in the low bits of the sum and, after subtracting again, a float.
constexpr float kMagic = 0x1.8p+23f;

Expr f32(Expr x, float value) {
  return x.body->constant(DType::f32, value);
}
Expr i32(Expr x, int64_t value) {
  return x.body->constant_int(DType::i32, value);
}
Expr bits_of(Expr x) {
  return bitcast(x, DType::i32);
}
Expr as_float(Expr x) {
  return bitcast(x, DType::f32);
}

/// c[0] + c[1] x + c[2] x^2 + ... by Horner's rule.
template <size_t n>
Expr polynomial(Expr x, const float (&c)[n]) {
  Expr sum = f32(x, c[n - 1]);
  for (size_t k = n - 1; k-- > 0;) sum = fma(sum, x, c[k]);
  return sum;
}

/// The magnitude of one number with the sign bit of another.
Expr with_sign_of(Expr magnitude, Expr sign) {
  return as_float(bits_of(magnitude) | (bits_of(sign) & i32(sign, 0x80000000)));
}

// exp(x) = 2^n e^r with n = round(x / ln 2). 0.89 ulp, 13 operations.
Expr exp_f32(Expr x) {
  x = select(x < -104, -104, x);  // exp(-104) < 2^-150, half of the smallest number
  x = select(x > 89, 89, x);
  const Expr n = fma(x, f32(x, kLog2E), kMagic) - kMagic;
  const Expr r = fma(n, f32(x, -kLn2Low), fma(n, f32(x, -kLn2High), x));
  return scale(polynomial(r, {1, 1, 0x1.fffffcp-2f, 0x1.555492p-3f, 0x1.5558aap-5f,
                              0x1.12396ep-7f, 0x1.6a524ep-10f}),
               n);
}

// log(x) = e ln 2 + log(1 + f), 1 + f in [2/3, 4/3). The sum e ln 2 + f is kept as an exact pair:
// with e = +-1 the two terms cancel partly. 0.88 ulp, 27 operations.
Expr log_f32(Expr x) {
  constexpr int32_t kTwoThirds = 0x3f2aaaab;
  const Expr subnormal = x < 0x1p-126;
  const Expr i = bits_of(select(subnormal, x * 0x1p23, x)) -
                 select(subnormal, i32(x, kTwoThirds + (23 << 23)), i32(x, kTwoThirds));
  const Expr e = convert(ashr(i, 23), DType::f32);
  const Expr f = as_float((i & i32(x, 0x7fffff)) + i32(x, kTwoThirds)) - 1;
  const Expr p =
      polynomial(f, {-0.5f, 0x1.555506p-2f, -0x1.fffefcp-3f, 0x1.99d044p-3f, -0x1.559c44p-3f,
                     0x1.1ed662p-3f, -0x1.f332f8p-4f, 0x1.1e678cp-3f, -0x1.07c894p-3f});
  const Expr high = fma(e, f32(x, kLn2High), f);
  const Expr low = fma(e, f32(x, kLn2Low), f - fma(e, f32(x, -kLn2High), high));
  const Expr result = high + fma(f * f, p, low);
  return select(x > 0, select(x < kInfinity, result, x),
                select(x == 0, f32(x, -kInfinity), f32(x, kNaN)));
}

// |x| < 0.625: an odd polynomial; above, where tanh(x) > 1/2: 1 - 2 / (e^2x + 1), in which e^2x =
// 2^n e^2h needs no more than one constant for ln 2. 1.36 ulp, 25 operations, one a division.
Expr tanh_f32(Expr x) {
  constexpr float kBiased = kMagic + 127;
  const Expr a = abs(x);
  const Expr y = select(a > 10, 10, a);
  const Expr shifted = fma(y, f32(x, 2 * kLog2E), kBiased);
  const Expr h = fma(shifted - kBiased, f32(x, -kLn2 / 2), y);
  const Expr p = polynomial(
      h, {1, 2, 0x1.fffffcp+0f, 0x1.555492p+0f, 0x1.5558aap-1f, 0x1.12396ep-2f, 0x1.6a524ep-4f});
  const Expr large = 1 - 2 / fma(p, as_float(shl(bits_of(shifted), 23)), 1);
  const Expr s = a * a;
  const Expr q = polynomial(
      s, {-0x1.555532p-2f, 0x1.1106f6p-3f, -0x1.b835a4p-5f, 0x1.51f8cep-6f, -0x1.750ce2p-8f});
  return with_sign_of(select(a < 0.625, fma(a * s, q, a), large), x);
}

// |x| < 1.125: an odd polynomial; then a polynomial around 2.35546875 (there erf is nearly an f32);
// from 3.92 on, 1. 1.29 ulp, 26 operations.
Expr erf_f32(Expr x) {
  const Expr a = abs(x);
  const Expr u = a - 2.35546875;
  const Expr large = polynomial(
      u, {0x1.ff8ea2p-1f, 0x1.1ffda6p-8f, -0x1.533160p-7f, 0x1.e48a0ap-7f, -0x1.c970d6p-7f,
          0x1.1e1ea0p-7f, -0x1.9cab74p-9f, 0x1.790bf6p-17f, 0x1.6ad26ep-11f, -0x1.62ac42p-12f,
          0x1.1c3cfep-16f, 0x1.34c4dcp-15f, -0x1.361236p-17f});
  const Expr q =
      polynomial(a * a, {0x1.06eba8p-3f, -0x1.81272ep-2f, 0x1.ce2984p-4f, -0x1.b7bbdcp-6f,
                         0x1.522ec8p-8f, -0x1.9726c4p-11f, 0x1.2843d4p-14f});
  return with_sign_of(select(a < 1.125, fma(q, a, a), select(a > 3.92f, 1, large)), x);
}

// An angle as q pi/2 + r with |r| <= 1; q modulo 4 is in the two upper bits of `quadrant`.
struct Reduced {
  Expr r, quadrant;
};

// |x| < 1 is left alone. Otherwise x / (2 pi) modulo 1 is computed as a 64-bit fraction from the 96
// bits of 1 / (2 pi) that matter for x's exponent (Payne and Hanek, 1983): exact to 2^-63 of a
// turn, while no f32 is closer than 2^-33 of a turn to a multiple of pi / 2.
Reduced reduce_angle(Expr x) {
  // floor(2^(32 k + 1) / (2 pi)) mod 2^32
  static constexpr uint32_t kWords[7] = {0x00000000, 0x517cc1b7, 0x27220a94, 0xfe13abe8,
                                         0xfa9a6ee0, 0x6db14acc, 0x9e21c820};
  const Expr a = abs(x);
  const Expr small = a < 1;
  const Expr m = shl(bits_of(a), 8) | i32(x, 0x80000000);  // the significand, 1 = 2^31
  const Expr k = lshr(bits_of(a), 23) - i32(x, 127);       // its exponent, 0 to 127 unless small
  // Words k / 32 to k / 32 + 3 of the table, then shifted left by k % 32.
  const Expr upper = k >= 64, odd = (k & i32(x, 32)) != 0;
  Expr pair[5], word[4], window[3];
  for (int i = 0; i < 5; ++i) pair[i] = select(upper, i32(x, kWords[i + 2]), i32(x, kWords[i]));
  for (int i = 0; i < 4; ++i) word[i] = select(odd, pair[i + 1], pair[i]);
  const Expr left = k & i32(x, 31), right = left ^ i32(x, 31);
  for (int i = 0; i < 3; ++i)
    window[i] =
        binary(ScalarOp::shl, word[i], left) | binary(ScalarOp::lshr, lshr(word[i + 1], 1), right);
  // The product's 64 bits below the binary point: `turns` and, halved to leave room for the carry,
  // `rest`.
  const Expr rest = lshr(m * window[1], 1) + lshr(umulhi(m, window[2]), 1);
  const Expr turns = m * window[0] + umulhi(m, window[1]) + lshr(rest, 31);
  const Expr quadrant = turns + i32(x, 1 << 29);  // to the nearest multiple of a quarter
  const Expr part = (quadrant & i32(x, (1 << 30) - 1)) - i32(x, 1 << 29);
  // part = coarse + 2^-25 fine, coarse a multiple of 128 and |2^-25 fine| <= 64, so that both
  // convert well and do not cancel.
  const Expr coarse = convert((part + i32(x, 64)) & i32(x, -128), DType::f32);
  const Expr fine = convert(shl(part, 25) | lshr(shl(rest, 1), 7), DType::f32);
  // 2 pi 2^-32 in two numbers, and 2 pi 2^-57
  const Expr r = fma(coarse, f32(x, 0x1.921fb4p-30f),
                     fma(coarse, f32(x, 0x1.4442d2p-54f), fine * 0x1.921fb6p-55f));
  return {select(small, a, r), select(small, i32(x, 0), quadrant)};
}

// sin(quadrant pi/2 + r) with the sign bit of `sign_bits` on top; NaN where x is not finite.
// sin: 1.49 ulp, cos: 1.50 ulp, 71 operations, 77 for both.
Expr sin_reduced(Expr x, Reduced angle, Expr sign_bits) {
  const Expr r = angle.r, s = r * r;
  const Expr sine =
      fma(r * s,
          polynomial(s, {-0x1.555556p-3f, 0x1.11113ep-7f, -0x1.a01ffep-13f, 0x1.6de9f6p-19f}), r);
  const Expr cosine = polynomial(s, {1, -0.5f, 0x1.555524p-5f, -0x1.6bfaa0p-10f, 0x1.960924p-16f});
  const Expr odd = (angle.quadrant & i32(x, 1 << 30)) != 0;
  const Expr result =
      as_float(bits_of(select(odd, cosine, sine)) ^ (sign_bits & i32(x, 0x80000000)));
  return select(abs(x) < kInfinity, result, f32(x, kNaN));
}

Expr sin_f32(Expr x) {
  const Reduced angle = reduce_angle(x);
  return sin_reduced(x, angle, angle.quadrant ^ bits_of(x));
}

Expr cos_f32(Expr x) {
  Reduced angle = reduce_angle(x);
  angle.quadrant = angle.quadrant + i32(x, 1 << 30);
  return sin_reduced(x, angle, angle.quadrant);
}

}  // namespace

Expr expand_math(ScalarOp op, Expr x) {
  CORTEN_CHECK(x.type() == DType::f32, "a function of {}", corten::name(x.type()));
  switch (op) {
    case ScalarOp::exp:
      return exp_f32(x);
    case ScalarOp::log:
      return log_f32(x);
    case ScalarOp::tanh:
      return tanh_f32(x);
    case ScalarOp::erf:
      return erf_f32(x);
    case ScalarOp::sin:
      return sin_f32(x);
    case ScalarOp::cos:
      return cos_f32(x);
    case ScalarOp::rsqrt:  // 1.49 ulp
      return 1 / sqrt(x);
    default:
      internal_error("scalar op {} has no expansion", name(op));
  }
}

Expr philox(Expr seed, Expr step, Expr site, Expr index, int word) {
  Body* body = index.body;
  const auto constant = [&](uint32_t value) { return body->constant_int(DType::i32, value); };
  const auto low = [](Expr x) { return convert(x, DType::i32); };
  const auto high = [](Expr x) { return convert(lshr(x, 32), DType::i32); };
  Expr key[2] = {low(seed), high(seed)};
  Expr counter[4] = {low(index), high(index), low(step), low(site)};
  const Expr multiplier[2] = {constant(0xD2511F53), constant(0xCD9E8D57)};
  const Expr weyl[2] = {constant(0x9E3779B9), constant(0xBB67AE85)};
  for (int round = 0; round < 9; ++round) {
    const Expr high0 = umulhi(counter[0], multiplier[0]), low0 = counter[0] * multiplier[0];
    const Expr high1 = umulhi(counter[2], multiplier[1]), low1 = counter[2] * multiplier[1];
    counter[0] = high1 ^ counter[1] ^ key[0];
    counter[1] = low1;
    counter[2] = high0 ^ counter[3] ^ key[1];
    counter[3] = low0;
    for (int i = 0; i < 2; ++i) key[i] = key[i] + weyl[i];
  }
  // The tenth round's first and second word.
  return word == 0 ? umulhi(counter[2], multiplier[1]) ^ counter[1] ^ key[0] : counter[2] * multiplier[1];
}

Expr uniform01(Expr bits) {
  return convert(lshr(bits, 8), DType::f32) * 0x1p-24;
}

}  // namespace corten::ir
