// Vectors of 16 floats. See attention/block.h on why everything here has internal linkage.
#pragma once

// GCC 12 warns about the deliberately undefined pass-through operands in its own intrinsics.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <cstdint>

#include "corten/dtype.h"

namespace corten::attention_detail {
namespace {

struct Simd {
  using F = __m512;
  using I = __m512i;
  using M = __mmask16;
  static constexpr int kWidth = 16;
  static constexpr int kTileRows = 14;                // of a register tile of two vectors
  static constexpr int kLowRows = 6;                  // and of one of four

  static F zero() { return _mm512_setzero_ps(); }
  static F broadcast(float x) { return _mm512_set1_ps(x); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }  // b if either is NaN
  static F round(F x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F flip(F x, uint32_t bits) {
    return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x), _mm512_set1_epi32(static_cast<int>(bits))));
  }

  // Masks of lanes.
  static M first(int64_t count) {
    return static_cast<M>(count >= 16 ? 0xffff : count <= 0 ? 0 : (1u << count) - 1);
  }
  static M both(M a, M b) { return a & b; }
  static bool any(M m) { return m != 0; }
  static M differs(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
  static M less(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static M choose(M m, M a, M b) { return static_cast<M>((m & a) | (~m & b)); }
  static F select(M m, F a, F b) { return _mm512_mask_blend_ps(m, b, a); }
  /// Lanes whose byte is not 0.
  static M set(const uint8_t* p, int64_t count) {
    const __m128i bytes = _mm_maskz_loadu_epi8(first(count), p);
    return _mm_test_epi8_mask(bytes, bytes);
  }

  static F load(const float* p, int64_t count) { return _mm512_maskz_loadu_ps(first(count), p); }
  static void store(float* p, F x, int64_t count) { _mm512_mask_storeu_ps(p, first(count), x); }
  static F load16(const uint16_t* p, DType dtype, int64_t count) {
    const __m256i x = _mm256_maskz_loadu_epi16(first(count), p);
    if (dtype == DType::f16) return _mm512_cvtph_ps(x);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
  }
  static void store16(uint16_t* p, F x, DType dtype, int64_t count) {
    const __m256i bits = dtype == DType::f16 ? _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT) : bf16(x);
    _mm256_mask_storeu_epi16(p, first(count), bits);
  }
  static __m256i bf16(F x) {
#ifdef __AVX512BF16__
    return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
#else
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(bf16_bits(x), 16));
#endif
  }
  /// To bf16 and back.
  static F round_bf16(F x) {
    return _mm512_castsi512_ps(_mm512_and_si512(bf16_bits(x), _mm512_set1_epi32(static_cast<int>(0xffff0000))));
  }

  /// Sum of all lanes, combined by halves.
  static float sum(F x) {
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
  }

  // p 2^n, rounded once; n whole.
  static F scale_by_power(F p, F n) { return _mm512_scalef_ps(p, n); }

  // Integers for Philox: 32 bits in 64, whose upper halves are arbitrary unless said otherwise.
  static I integers(uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
  /// x + 0, x + 2, ... and x + 1, x + 3, ...
  static I even(uint32_t x) {
    return _mm512_add_epi32(integers(x), _mm512_setr_epi32(0, 0, 2, 0, 4, 0, 6, 0, 8, 0, 10, 0, 12, 0, 14, 0));
  }
  static I odd(uint32_t x) { return even(x + 1); }
  static I exclusive(I a, I b) { return _mm512_xor_si512(a, b); }
  static I exclusive(I a, I b, I c) { return _mm512_ternarylogic_epi32(a, b, c, 0x96); }
  /// The unsigned products, all 64 bits.
  static I multiply(I a, I b) { return _mm512_mul_epu32(a, b); }
  /// Upper halves, as lower ones.
  static I high(I x) { return _mm512_shuffle_epi32(x, _MM_PERM_DDBB); }
  /// Lower halves of both in turn.
  static I merge(I even, I odd) { return _mm512_mask_shuffle_epi32(even, 0xaaaa, odd, _MM_PERM_CCAA); }
  /// Lanes of 32 bits, unsigned.
  static M at_most(I x, uint32_t limit) { return _mm512_cmple_epu32_mask(x, integers(limit)); }

  static __m128 quarter(const char* p) { return _mm_loadu_ps(reinterpret_cast<const float*>(p)); }
  static F quarter_rows(const char* p, int64_t stride) {
    F x = _mm512_castps128_ps512(quarter(p));
    x = _mm512_insertf32x4(x, quarter(p + 4 * stride), 1);
    x = _mm512_insertf32x4(x, quarter(p + 8 * stride), 2);
    return _mm512_insertf32x4(x, quarter(p + 12 * stride), 3);
  }
  // Transposes the 16 x 16 block of 32-bit values at src (rows ld apart) into out (rows out_ld apart).
  static void transpose(const float* src, int64_t ld, float* out, int64_t out_ld) {
    const int64_t stride = 4 * ld;
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const char* p = reinterpret_cast<const char*>(src) + 16 * q;
      const F r0 = quarter_rows(p, stride), r1 = quarter_rows(p + stride, stride);
      const F r2 = quarter_rows(p + 2 * stride, stride), r3 = quarter_rows(p + 3 * stride, stride);
      const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(r0, r1));
      const __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(r0, r1));
      const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(r2, r3));
      const __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(r2, r3));
      float* o = out + 4 * q * out_ld;
      store(o, _mm512_castpd_ps(_mm512_unpacklo_pd(a, c)));
      store(o + out_ld, _mm512_castpd_ps(_mm512_unpackhi_pd(a, c)));
      store(o + 2 * out_ld, _mm512_castpd_ps(_mm512_unpacklo_pd(b, d)));
      store(o + 3 * out_ld, _mm512_castpd_ps(_mm512_unpackhi_pd(b, d)));
    }
  }

 private:
  // The rounded number in the upper half of each lane; f32 subnormals become zeros.
  static I bf16_bits(F x) {
#ifdef __AVX512BF16__
    return _mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16(x)), 16);
#else
    const I bits = _mm512_castps_si512(x);
    const I magnitude = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
    const I odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    I r = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const M tiny = _mm512_cmplt_epi32_mask(magnitude, _mm512_set1_epi32(0x00800000));
    r = _mm512_mask_and_epi32(r, tiny, bits, _mm512_set1_epi32(static_cast<int>(0x80000000)));
    const M nan = _mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32(0x7f800000));
    return _mm512_mask_or_epi32(r, nan, bits, _mm512_set1_epi32(0x400000));
#endif
  }
};

}  // namespace
}  // namespace corten::attention_detail
