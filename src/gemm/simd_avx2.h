// Vectors of 8 floats. See gemm/block.h on why everything here has internal linkage.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "corten/dtype.h"

namespace corten::gemm_detail {
namespace {

struct Simd {
  using F = __m256;
  static constexpr int kWidth = 8;

  static F zero() { return _mm256_setzero_ps(); }
  static F broadcast(float x) { return _mm256_broadcast_ss(&x); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static void stream(float* p, F x) { _mm256_stream_ps(p, x); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }

  static __m256i first(int count) {
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), index);
  }
  static F load(const float* p, int count) { return _mm256_maskload_ps(p, first(count)); }
  static void store(float* p, F x, int count) { _mm256_maskstore_ps(p, first(count), x); }

  static F from_bits16(__m128i x, DType dtype) {
    if (dtype == DType::f16) return _mm256_cvtph_ps(x);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
  }
  static __m128i to_bits16(F x, DType dtype) {
    if (dtype == DType::f16) return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
    const __m256i bits = _mm256_castps_si256(x), high = _mm256_srli_epi32(bits, 16);
    const __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
    const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    __m256i r = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    r = _mm256_srli_epi32(r, 16);
    const __m256i tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(0x00800000), magnitude);
    r = _mm256_blendv_epi8(r, _mm256_and_si256(high, _mm256_set1_epi32(0x8000)), tiny);
    const __m256i nan = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7f800000));
    r = _mm256_blendv_epi8(r, _mm256_or_si256(high, _mm256_set1_epi32(0x40)), nan);
    r = _mm256_permute4x64_epi64(_mm256_packus_epi32(r, r), 0x08);
    return _mm256_castsi256_si128(r);
  }

  static F load16(const uint16_t* p, DType dtype) {
    return from_bits16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), dtype);
  }
  static F load16(const uint16_t* p, DType dtype, int count) {
    alignas(16) uint16_t part[8] = {};
    for (int i = 0; i < count && i < 8; ++i) part[i] = p[i];
    return load16(part, dtype);
  }
  static void store16(uint16_t* p, F x, DType dtype) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_bits16(x, dtype));
  }
  static void store16(uint16_t* p, F x, DType dtype, int count) {
    alignas(16) uint16_t part[8];
    store16(part, x, dtype);
    for (int i = 0; i < count && i < 8; ++i) p[i] = part[i];
  }
  static void stream16(uint16_t* p, F x, DType dtype) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(p), to_bits16(x, dtype));
  }

  static __m128 quarter(const char* p) { return _mm_loadu_ps(reinterpret_cast<const float*>(p)); }
  static F half_rows(const char* p, int64_t stride) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(quarter(p)), quarter(p + 4 * stride), 1);
  }
  // Transposes the 8 x 8 block of 32-bit values at src (rows `stride` bytes apart) into out (rows
  // out_ld floats apart).
  static void transpose(const void* src, int64_t stride, float* out, int64_t out_ld) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const char* p = static_cast<const char*>(src) + 16 * h;
      const F r0 = half_rows(p, stride), r1 = half_rows(p + stride, stride);
      const F r2 = half_rows(p + 2 * stride, stride), r3 = half_rows(p + 3 * stride, stride);
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
};

}  // namespace
}  // namespace corten::gemm_detail
