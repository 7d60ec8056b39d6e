// Vectors of 8 floats. See attention/block.h on why everything here has internal linkage.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "corten/dtype.h"

namespace corten::attention_detail {
namespace {

struct Simd {
  using F = __m256;
  using I = __m256i;
  using M = __m256;  // all bits of a lane or none
  static constexpr int kWidth = 8;
  static constexpr int kTileRows = 6;  // of a register tile of two vectors
  static constexpr int kLowRows = 0;   // and of one of four

  static F zero() { return _mm256_setzero_ps(); }
  static F broadcast(float x) { return _mm256_broadcast_ss(&x); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }  // b if either is NaN
  static F round(F x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F flip(F x, uint32_t bits) {
    return _mm256_xor_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(bits))));
  }

  // Masks of lanes.
  static M first(int64_t count) { return _mm256_castsi256_ps(first_lanes(count)); }
  static M both(M a, M b) { return _mm256_and_ps(a, b); }
  static bool any(M m) { return _mm256_movemask_ps(m) != 0; }
  static M differs(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ); }
  static M less(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
  static M choose(M m, M a, M b) { return _mm256_blendv_ps(b, a, m); }
  static F select(M m, F a, F b) { return _mm256_blendv_ps(b, a, m); }
  /// Lanes whose byte is not 0.
  static M set(const uint8_t* p, int64_t count) {
    alignas(8) uint8_t part[8] = {};
    for (int i = 0; i < count && i < 8; ++i) part[i] = p[i];
    const I x = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(part)));
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(x, _mm256_setzero_si256()));
  }

  static F load(const float* p, int64_t count) { return _mm256_maskload_ps(p, first_lanes(count)); }
  static void store(float* p, F x, int64_t count) { _mm256_maskstore_ps(p, first_lanes(count), x); }
  static F load16(const uint16_t* p, DType dtype, int64_t count) {
    const __m128i x = load8(p, count);
    if (dtype == DType::f16) return _mm256_cvtph_ps(x);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
  }
  static void store16(uint16_t* p, F x, DType dtype, int64_t count) {
    __m128i bits;
    if (dtype == DType::f16) {
      bits = _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
    } else {
      const I r = _mm256_srli_epi32(bf16_bits(x), 16);
      bits = _mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi32(r, r), 0x08));
    }
    if (count >= 8) return _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bits);
    alignas(16) uint16_t part[8];
    _mm_store_si128(reinterpret_cast<__m128i*>(part), bits);
    for (int i = 0; i < count; ++i) p[i] = part[i];
  }
  /// To bf16 and back.
  static F round_bf16(F x) {
    return _mm256_castsi256_ps(_mm256_and_si256(bf16_bits(x), _mm256_set1_epi32(static_cast<int>(0xffff0000))));
  }

  /// Sum of all lanes, combined by halves.
  static float sum(F x) {
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
  }

  // p 2^n, rounded once: in two halves, of which the first is exact; -252 <= n <= 252 and whole.
  static F scale_by_power(F p, F n) {
    const I i = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(i, 1), bias = _mm256_set1_epi32(127);
    const auto power = [&](I e) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, bias), 23)); };
    return _mm256_mul_ps(_mm256_mul_ps(p, power(half)), power(_mm256_sub_epi32(i, half)));
  }

  // Integers for Philox: 32 bits in 64, whose upper halves are arbitrary unless said otherwise.
  static I integers(uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }
  /// x + 0, x + 2, ... and x + 1, x + 3, ...
  static I even(uint32_t x) { return _mm256_add_epi32(integers(x), _mm256_setr_epi32(0, 0, 2, 0, 4, 0, 6, 0)); }
  static I odd(uint32_t x) { return even(x + 1); }
  static I exclusive(I a, I b) { return _mm256_xor_si256(a, b); }
  static I exclusive(I a, I b, I c) { return exclusive(exclusive(a, b), c); }
  /// The unsigned products, all 64 bits.
  static I multiply(I a, I b) { return _mm256_mul_epu32(a, b); }
  /// Upper halves, as lower ones.
  static I high(I x) { return _mm256_srli_epi64(x, 32); }
  /// Lower halves of both in turn.
  static I merge(I even, I odd) { return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa); }
  /// Lanes of 32 bits, unsigned.
  static M at_most(I x, uint32_t limit) {
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_min_epu32(x, integers(limit)), x));
  }

  static __m128 quarter(const float* p) { return _mm_loadu_ps(p); }
  static F half_rows(const float* p, int64_t ld) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(quarter(p)), quarter(p + 4 * ld), 1);
  }
  // Transposes the 8 x 8 block of 32-bit values at src (rows ld apart) into out (rows out_ld apart).
  static void transpose(const float* src, int64_t ld, float* out, int64_t out_ld) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const float* p = src + 4 * h;
      const F r0 = half_rows(p, ld), r1 = half_rows(p + ld, ld);
      const F r2 = half_rows(p + 2 * ld, ld), r3 = half_rows(p + 3 * ld, ld);
      const __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(r0, r1));
      const __m256d b = _mm256_castps_pd(_mm256_unpackhi_ps(r0, r1));
      const __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(r2, r3));
      const __m256d d = _mm256_castps_pd(_mm256_unpackhi_ps(r2, r3));
      float* o = out + 4 * h * out_ld;
      store(o, _mm256_castpd_ps(_mm256_unpacklo_pd(a, c)));
      store(o + out_ld, _mm256_castpd_ps(_mm256_unpackhi_pd(a, c)));
      store(o + 2 * out_ld, _mm256_castpd_ps(_mm256_unpacklo_pd(b, d)));
      store(o + 3 * out_ld, _mm256_castpd_ps(_mm256_unpackhi_pd(b, d)));
    }
  }

 private:
  static I first_lanes(int64_t count) {
    const int n = count > 8 ? 8 : count < 0 ? 0 : static_cast<int>(count);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static __m128i load8(const uint16_t* p, int64_t count) {
    if (count >= 8) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    alignas(16) uint16_t part[8] = {};
    for (int i = 0; i < count; ++i) part[i] = p[i];
    return _mm_load_si128(reinterpret_cast<const __m128i*>(part));
  }
  // The rounded number in the upper half of each lane; f32 subnormals become zeros.
  static I bf16_bits(F x) {
    const I bits = _mm256_castps_si256(x);
    const I magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
    const I odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    I r = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const I tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(0x00800000), magnitude);
    r = _mm256_blendv_epi8(r, _mm256_and_si256(bits, _mm256_set1_epi32(static_cast<int>(0x80000000))), tiny);
    const I nan = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7f800000));
    return _mm256_blendv_epi8(r, _mm256_or_si256(bits, _mm256_set1_epi32(0x400000)), nan);
  }
};

}  // namespace
}  // namespace corten::attention_detail
