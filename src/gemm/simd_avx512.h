// Vectors of 16 floats. See gemm/block.h on why everything here has internal linkage.
#pragma once

// GCC 12 warns about the deliberately undefined pass-through operands in its own intrinsics.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <cstdint>

#include "corten/dtype.h"

namespace corten::gemm_detail {
namespace {

struct Simd {
  using F = __m512;
  static constexpr int kWidth = 16;

  static F zero() { return _mm512_setzero_ps(); }
  static F broadcast(float x) { return _mm512_set1_ps(x); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static void stream(float* p, F x) { _mm512_stream_ps(p, x); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }

  static __mmask16 first(int count) {
    return static_cast<__mmask16>(count >= 16 ? 0xffff : (1u << count) - 1);
  }
  static F load(const float* p, int count) { return _mm512_maskz_loadu_ps(first(count), p); }
  static void store(float* p, F x, int count) { _mm512_mask_storeu_ps(p, first(count), x); }

  static F from_bits16(__m256i x, DType dtype) {
    if (dtype == DType::f16) return _mm512_cvtph_ps(x);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
  }
  static __m256i to_bits16(F x, DType dtype) {
    if (dtype == DType::f16) return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
#ifdef __AVX512BF16__
    return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
#else
    const __m512i bits = _mm512_castps_si512(x), high = _mm512_srli_epi32(bits, 16);
    const __m512i magnitude = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    r = _mm512_srli_epi32(r, 16);
    const __mmask16 tiny = _mm512_cmplt_epi32_mask(magnitude, _mm512_set1_epi32(0x00800000));
    r = _mm512_mask_and_epi32(r, tiny, high, _mm512_set1_epi32(0x8000));
    const __mmask16 nan = _mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32(0x7f800000));
    r = _mm512_mask_or_epi32(r, nan, high, _mm512_set1_epi32(0x40));
    return _mm512_cvtepi32_epi16(r);
#endif
  }

  // 32 values as bf16: of bf16, or of f32 that is rounded.
  static __m512i load_bf16(const uint16_t* p) { return _mm512_loadu_si512(p); }
  static __m512i load_bf16(const uint16_t* p, __mmask32 mask) { return _mm512_maskz_loadu_epi16(mask, p); }
  static __m512i load_bf16(const float* p) { return join_bf16(load(p), load(p + 16)); }
  static __m512i load_bf16(const float* p, __mmask32 mask) {
    return join_bf16(_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), p),
                     _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), p + 16));
  }
  static __m512i join_bf16(F low, F high) {
#ifdef __AVX512BF16__
    return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
#else
    return _mm512_inserti64x4(_mm512_castsi256_si512(to_bits16(low, DType::bf16)),
                              to_bits16(high, DType::bf16), 1);
#endif
  }
  // Elements of other strides than 1, gathered into a row of 32.
  template <typename T>
  static __m512i gather_bf16(const T* p, int64_t stride, int64_t count) {
    alignas(64) T part[32] = {};
    for (int64_t i = 0; i < count; ++i) part[i] = p[i * stride];
    return load_bf16(part);
  }

  static F load16(const uint16_t* p, DType dtype) {
    return from_bits16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), dtype);
  }
  static F load16(const uint16_t* p, DType dtype, int count) {
    return from_bits16(_mm256_maskz_loadu_epi16(first(count), p), dtype);
  }
  static void store16(uint16_t* p, F x, DType dtype) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bits16(x, dtype));
  }
  static void store16(uint16_t* p, F x, DType dtype, int count) {
    _mm256_mask_storeu_epi16(p, first(count), to_bits16(x, dtype));
  }
  static void stream16(uint16_t* p, F x, DType dtype) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), to_bits16(x, dtype));
  }

  static __m128 quarter(const char* p) { return _mm_loadu_ps(reinterpret_cast<const float*>(p)); }
  static F quarter_rows(const char* p, int64_t stride) {
    F x = _mm512_castps128_ps512(quarter(p));
    x = _mm512_insertf32x4(x, quarter(p + 4 * stride), 1);
    x = _mm512_insertf32x4(x, quarter(p + 8 * stride), 2);
    return _mm512_insertf32x4(x, quarter(p + 12 * stride), 3);
  }
  // Transposes the 16 x 16 block of 32-bit values at src (rows `stride` bytes apart) into out (rows
  // out_ld floats apart). Loading quarters leaves only half of the shuffles to the one port that
  // has them.
  static void transpose(const void* src, int64_t stride, float* out, int64_t out_ld) {
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const char* p = static_cast<const char*>(src) + 16 * q;
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
};

}  // namespace
}  // namespace corten::gemm_detail
