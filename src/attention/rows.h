// Scores of one query: scale, masks, exponentials, dropout. Included after attention/tile.h.
#pragma once

#include "attention/tile.h"

namespace corten::attention_detail {
namespace {

constexpr float kInfinity = __builtin_inff();

// The polynomials of ir/scalar_math.cpp. exp: x is clamped where the result is 0 and must not exceed 89.
inline Simd::F exp(Simd::F x) {
  constexpr float kMagic = 0x1.8p+23f;
  x = Simd::max(Simd::broadcast(-104), x);
  const Simd::F magic = Simd::broadcast(kMagic);
  const Simd::F n = Simd::sub(Simd::fma(x, Simd::broadcast(0x1.715476p+0f), magic), magic);
  const Simd::F r = Simd::fma(n, Simd::broadcast(-0x1.7f7d1cp-20f), Simd::fma(n, Simd::broadcast(-0x1.62e4p-1f), x));
  Simd::F p = Simd::broadcast(0x1.6a524ep-10f);
  p = Simd::fma(p, r, Simd::broadcast(0x1.12396ep-7f));
  p = Simd::fma(p, r, Simd::broadcast(0x1.5558aap-5f));
  p = Simd::fma(p, r, Simd::broadcast(0x1.555492p-3f));
  p = Simd::fma(p, r, Simd::broadcast(0x1.fffffcp-2f));
  p = Simd::fma(p, r, Simd::broadcast(1));
  p = Simd::fma(p, r, Simd::broadcast(1));
  return Simd::scale_by_power(p, n);
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
  for (int k = 7; k >= 0; --k) p = __builtin_fmaf(p, f, c[k]);
  const float high = __builtin_fmaf(e, 0x1.62e4p-1f, f);
  const float low = __builtin_fmaf(e, 0x1.7f7d1cp-20f, f - __builtin_fmaf(e, -0x1.62e4p-1f, high));
  return high + __builtin_fmaf(f * f, p, low);
}

// Which weights of a query are kept: ir::philox and ir::uniform01 on vectors.
class Dropout {
 public:
  Dropout(const Head& head, int64_t query)
      : base_((static_cast<uint64_t>(head.index) * static_cast<uint64_t>(head.args.queries) + static_cast<uint64_t>(query)) *
              static_cast<uint64_t>(head.args.keys)),
        seed_(static_cast<uint64_t>(head.args.seed)),
        step_(static_cast<uint32_t>(head.args.step)),
        site_(static_cast<uint32_t>(head.args.site)),
        threshold_(Simd::broadcast(head.args.p * 0x1p24f)) {}
  /// Lanes of keys key, key + 1, ... that are dropped.
  Simd::M dropped(int64_t key) const {
    const uint64_t start = base_ + static_cast<uint64_t>(key);
    const Simd::I first = Simd::integers(static_cast<uint32_t>(start));
    Simd::I counter[4];
    counter[0] = Simd::plus(first, Simd::lanes());
    counter[1] = Simd::plus_carry(Simd::integers(static_cast<uint32_t>(start >> 32)), counter[0], first);
    counter[2] = Simd::integers(step_);
    counter[3] = Simd::integers(site_);
    uint32_t key0 = static_cast<uint32_t>(seed_), key1 = static_cast<uint32_t>(seed_ >> 32);
    for (int round = 0; round < 10; ++round) {
      Simd::I high0, low0, high1, low1;
      Simd::multiply(counter[0], Simd::integers(0xD2511F53), &high0, &low0);
      Simd::multiply(counter[2], Simd::integers(0xCD9E8D57), &high1, &low1);
      counter[0] = Simd::exclusive(Simd::exclusive(high1, counter[1]), Simd::integers(key0));
      counter[1] = low1;
      counter[2] = Simd::exclusive(Simd::exclusive(high0, counter[3]), Simd::integers(key1));
      counter[3] = low0;
      key0 += 0x9E3779B9;
      key1 += 0xBB67AE85;
    }
    return Simd::less(Simd::upper24(counter[0]), threshold_);
  }

 private:
  uint64_t base_, seed_;
  uint32_t step_, site_;
  Simd::F threshold_;
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
  /// Adds an additive mask to scaled scores.
  Simd::F add_to(Simd::F x, int64_t j, int64_t count) const {
    if (!floats_) return x;
    return Simd::add(x, spread_ ? Simd::broadcast(*floats_) : Simd::load(floats_ + j, count));
  }

 private:
  const uint8_t* bytes_ = nullptr;
  const float* floats_ = nullptr;
  DType dtype_;
  bool spread_;
};

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
