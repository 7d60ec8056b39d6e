// Scores of one query: exponentials, dropout, masks. Included after attention/tile.h.
#pragma once

#include "attention/tile.h"

namespace corten::attention_detail {
namespace {

constexpr float kInfinity = __builtin_inff(), kLargest = __FLT_MAX__;
constexpr float kLog2E = 0x1.715476p+0f, kLn2 = 0x1.62e43p-1f;

// 2^x, x at most 127: the fractional part, of [-1/2, 1/2], by a minimax polynomial whose value at 0 is 1, so that its
// relative error is 2^-24 (floats; 2^-22 for pairs, which are rounded to 8 bits) with that of the f32 arithmetic.
template <class U>
[[gnu::always_inline]] inline Simd::F exp2(Simd::F x) {
  x = Simd::max(Simd::broadcast(-160), x);  // 0
  const Simd::F n = Simd::round(x), r = Simd::sub(x, n);
  Simd::F p;
  if constexpr (U::kPair == 2) {
    p = Simd::broadcast(0x1.5bd97ap-10f);
    p = Simd::fma(p, r, Simd::broadcast(0x1.3ce8b2p-7f));
    p = Simd::fma(p, r, Simd::broadcast(0x1.c6b6dap-5f));
    p = Simd::fma(p, r, Simd::broadcast(0x1.ebf9c2p-3f));
    p = Simd::fma(p, r, Simd::broadcast(0x1.62e42ap-1f));
  } else {
    p = Simd::broadcast(0x1.416b5ep-13f);
    p = Simd::fma(p, r, Simd::broadcast(0x1.5f0830p-10f));
    p = Simd::fma(p, r, Simd::broadcast(0x1.3b2de0p-7f));
    p = Simd::fma(p, r, Simd::broadcast(0x1.c6af7cp-5f));
    p = Simd::fma(p, r, Simd::broadcast(0x1.ebfbdcp-3f));
    p = Simd::fma(p, r, Simd::broadcast(0x1.62e430p-1f));
  }
  return Simd::scale_by_power(Simd::fma(p, r, Simd::broadcast(1)), n);
}

// log of a normal number of at least 1, infinity or NaN.
inline float log(float x) {
  if (!(x < kInfinity)) return x;
  int32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  constexpr int32_t kTwoThirds = 0x3f2aaaab;
  bits -= kTwoThirds;
  const float e = static_cast<float>(bits >> 23);
  const int32_t mantissa = (bits & 0x7fffff) + kTwoThirds;
  float f;
  __builtin_memcpy(&f, &mantissa, 4);
  f -= 1;
  constexpr float c[] = {-0.5f, 0x1.555506p-2f, -0x1.fffefcp-3f, 0x1.99d044p-3f, -0x1.559c44p-3f,
                         0x1.1ed662p-3f, -0x1.f332f8p-4f, 0x1.1e678cp-3f, -0x1.07c894p-3f};
  float p = c[8];
#pragma GCC unroll 8
  for (int k = 7; k >= 0; --k) p = __builtin_fmaf(p, f, c[k]);
  const float high = __builtin_fmaf(e, 0x1.62e4p-1f, f);
  const float low = __builtin_fmaf(e, 0x1.7f7d1cp-20f, f - __builtin_fmaf(e, -0x1.62e4p-1f, high));
  return high + __builtin_fmaf(f * f, p, low);
}

// Which weights of a query are kept: ir::philox and ir::uniform01 on vectors. What is the same for all lanes is worked out
// once per vector: the first product of the step, the second one of what it gives, and in the end only what word 0 needs.
class Dropout {
 public:
  Dropout(const Head& head, int64_t query)
      : base_((static_cast<uint64_t>(head.index) * static_cast<uint64_t>(head.args.queries) + static_cast<uint64_t>(query)) *
              static_cast<uint64_t>(head.args.keys)),
        seed_(static_cast<uint64_t>(head.args.seed)),
        step_(static_cast<uint32_t>(head.args.step)),
        site_(static_cast<uint32_t>(head.args.site)),
        // Upper 24 bits of a word that are below p 2^24.
        last_(static_cast<uint32_t>((static_cast<uint64_t>(__builtin_ceilf(head.args.p * 0x1p24f)) << 8) - 1)) {}
  /// Lanes of keys key, key + 1, ... that are dropped, for N vectors of them.
  template <int N>
  [[gnu::always_inline]] void dropped(int64_t key, Simd::M* out) const {
    const uint64_t start = base_ + static_cast<uint64_t>(key);
    const auto low = static_cast<uint32_t>(start), high = static_cast<uint32_t>(start >> 32);
    const uint32_t left = 0 - low;  // lanes before the counter's low word is 0 again
    words<N>(low, high, out);
    if (left == 0 || left >= N * kW) return;
    Simd::M carried[N];
    words<N>(low, high + 1, carried);
    for (int i = 0; i < N; ++i) out[i] = Simd::choose(Simd::first(static_cast<int64_t>(left) - i * kW), out[i], carried[i]);
  }

 private:
  static constexpr uint32_t kFactor0 = 0xD2511F53, kFactor1 = 0xCD9E8D57, kKey0 = 0x9E3779B9, kKey1 = 0xBB67AE85;

  // Whether word 0 of counters low, low + 1, ... with the given high word is at most last_. Every other counter of a vector is a
  // chain of ten rounds; all chains are taken a round further at a time.
  template <int N>
  [[gnu::always_inline]] void words(uint32_t low, uint32_t high, Simd::M* out) const {
    constexpr int kChains = 2 * N;
    const uint64_t first = uint64_t{kFactor1} * step_;
    uint32_t key0 = static_cast<uint32_t>(seed_), key1 = static_cast<uint32_t>(seed_ >> 32);
    // Words 0 and 1 after one round, and the products of the second one with them.
    const uint32_t word0 = static_cast<uint32_t>(first >> 32) ^ high ^ key0, word1 = static_cast<uint32_t>(first);
    const uint64_t second = uint64_t{kFactor0} * word0;
    const Simd::I m0 = Simd::integers(kFactor0), m1 = Simd::integers(kFactor1);
    Simd::I c0[kChains], c1[kChains], c2[kChains], c3[kChains];
#pragma GCC unroll 8
    for (int i = 0; i < kChains; ++i) {
      const uint32_t start = low + static_cast<uint32_t>(i / 2 * kW);
      c3[i] = Simd::multiply(i % 2 ? Simd::odd(start) : Simd::even(start), m0);
      c2[i] = Simd::exclusive(Simd::high(c3[i]), Simd::integers(site_ ^ key1));
    }
    key0 += kKey0, key1 += kKey1;
#pragma GCC unroll 8
    for (int i = 0; i < kChains; ++i) {
      c1[i] = Simd::multiply(c2[i], m1);
      c0[i] = Simd::exclusive(Simd::high(c1[i]), Simd::integers(word1 ^ key0));
      c2[i] = Simd::exclusive(c3[i], Simd::integers(static_cast<uint32_t>(second >> 32) ^ key1));
      c3[i] = Simd::integers(static_cast<uint32_t>(second));
    }
#pragma GCC unroll 6
    for (int round = 2; round < 8; ++round) {
      key0 += kKey0, key1 += kKey1;
#pragma GCC unroll 8
      for (int i = 0; i < kChains; ++i) {
        const Simd::I a = Simd::multiply(c0[i], m0), b = Simd::multiply(c2[i], m1);
        c0[i] = Simd::exclusive(Simd::high(b), c1[i], Simd::integers(key0));
        c2[i] = Simd::exclusive(Simd::high(a), c3[i], Simd::integers(key1));
        c1[i] = b;
        c3[i] = a;
      }
    }
    // Of the last two rounds, what word 0 needs.
    key0 += kKey0, key1 += kKey1;
#pragma GCC unroll 8
    for (int i = 0; i < kChains; ++i) {
      c1[i] = Simd::multiply(c2[i], m1);
      c2[i] = Simd::exclusive(Simd::high(Simd::multiply(c0[i], m0)), c3[i], Simd::integers(key1));
      c0[i] = Simd::exclusive(Simd::high(Simd::multiply(c2[i], m1)), c1[i], Simd::integers(key0 + kKey0));
    }
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) out[i] = Simd::at_most(Simd::merge(c0[2 * i], c0[2 * i + 1]), last_);
  }

  uint64_t base_, seed_;
  uint32_t step_, site_, last_;
};

// How many keys from k0 on a query sees, masks aside.
inline int64_t visible_keys(const AttentionArgs& a, int64_t query, int64_t k0, int64_t block) {
  return smaller(block, (a.causal ? smaller(a.keys, query + 1) : a.keys) - k0);
}

// The mask of one query from key k0 on.
class MaskRow {
 public:
  MaskRow(const AttentionArgs& a, int64_t query, int64_t k0) : dtype_(a.mask_dtype), spread_(a.mask_key_stride == 0) {
    if (!a.mask) return;
    const int64_t at = query * a.mask_query_stride + k0 * a.mask_key_stride;
    if (dtype_ == DType::boolean)
      bytes_ = static_cast<const uint8_t*>(a.mask) + at;
    else
      floats_ = static_cast<const float*>(a.mask) + at;
  }
  /// Lanes j .. j + count that are visible.
  Simd::M visible(int64_t j, int64_t count) const {
    if (!bytes_) return Simd::first(count);
    if (spread_) return Simd::first(*bytes_ ? count : 0);
    return Simd::set(bytes_ + j, count);
  }
  bool additive() const { return floats_ != nullptr; }
  Simd::F added(int64_t j, int64_t count) const {
    return spread_ ? Simd::broadcast(*floats_) : Simd::load(floats_ + j, count);
  }

 private:
  const uint8_t* bytes_ = nullptr;
  const float* floats_ = nullptr;
  DType dtype_;
  bool spread_;
};

// What makes exponents to base 2 of scores, whose sign the queries took. An additive mask is added when they have been
// multiplied by `scale`; then `unit` is 1.
struct Exponents {
  float scale, unit;
  explicit Exponents(const AttentionArgs& a)
      : scale(a.scale == 0 ? 1 : __builtin_fabsf(a.scale) * kLog2E), unit(a.mask && a.mask_dtype == DType::f32 ? 1 : scale) {}
  // Scores j .. j + count of a query, those that it does not see being -infinity.
  Simd::F masked(const MaskRow& mask, Simd::F score, int64_t j, int64_t count) const {
    if (mask.additive())
      score = Simd::fma(mask.added(j, count), Simd::broadcast(kLog2E), Simd::mul(score, Simd::broadcast(scale)));
    return Simd::select(mask.visible(j, count), score, Simd::broadcast(-kInfinity));
  }
};

// Gives packed queries the sign of the scale, or its zero.
template <class U>
void take_sign(const AttentionArgs& a, float* q, int64_t count) {
  if (a.scale > 0) return;
  constexpr uint32_t kSigns = U::kPair == 2 ? 0x80008000 : 0x80000000;
  for (int64_t i = 0; i < count; i += kW)
    Simd::store(q + i, a.scale == 0 ? Simd::zero() : Simd::flip(Simd::load(q + i), kSigns));
}

// Whether all queries share a bool mask that hides a whole block of keys.
inline bool hidden_block(const AttentionArgs& a, int64_t k0, int64_t block) {
  if (!a.mask || a.mask_dtype != DType::boolean || a.mask_query_stride != 0) return false;
  const auto* p = static_cast<const uint8_t*>(a.mask) + k0 * a.mask_key_stride;
  for (int64_t j = 0; j < smaller(block, a.keys - k0); ++j)
    if (p[j * a.mask_key_stride]) return false;
  return true;
}

inline float* take(float*& scratch, int64_t floats) {
  float* out = scratch;
  scratch += round_up(floats, 16);  // whole cache lines
  return out;
}

}  // namespace
}  // namespace corten::attention_detail
