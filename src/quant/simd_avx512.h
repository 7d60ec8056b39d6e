// What the AVX-512 families share: weights as floats.
#pragma once

#include "gemm/simd_avx512.h"

namespace corten::quant_detail {
namespace {

inline __m512 weights_at(const uint8_t* p, int shift, int mask, int offset) {
  const __m512i bits = _mm512_srl_epi32(_mm512_loadu_si512(p), _mm_cvtsi32_si128(shift));
  const __m512i w = _mm512_and_si512(bits, _mm512_set1_epi32(mask));
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(w, _mm512_set1_epi32(offset)));
}

}  // namespace
}  // namespace corten::quant_detail
