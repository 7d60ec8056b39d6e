// The AVX512_BF16 family's operands: a word is a pair of bf16, k even in the low half and k odd in
// the high one; beyond the last k it is zero. Included after simd_avx512.h; see word_block.h.
#pragma once

#include "gemm/panels.h"

namespace corten::gemm_detail {
namespace {

constexpr int kUnit = 2;

// c + odd * odd, then + even * even: two fused multiply-adds per lane, subnormals as zeros whatever
// MXCSR says (Intel SDM volume 2, VDPBF16PS).
inline Simd::F multiply_add(Simd::F a, Simd::F b, Simd::F c) {
  return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}

// The cache lines of 32 elements.
template <typename T>
void prefetch32(const T* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1);
  if (sizeof(T) == 4) _mm_prefetch(reinterpret_cast<const char*>(p + 16), _MM_HINT_T1);
}

// Word i of the two interleaved rows, for the lower and the upper 16 lanes.
alignas(64) constexpr uint16_t kLowPairs[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,
                                                37, 6, 38, 7, 39, 8,  40, 9,  41, 10, 42,
                                                11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
alignas(64) constexpr uint16_t kHighPairs[32] = {16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21,
                                                 53, 22, 54, 23, 55, 24, 56, 25, 57, 26, 58,
                                                 27, 59, 28, 60, 29, 61, 30, 62, 31, 63};

// One panel's words of `rows` k, interleaved by two; kRows of them if that is not 0.
template <int Width, int kKnown, typename T>
void interleave(const T* src, int64_t k_stride, __mmask32 mask, int64_t rows, float* out) {
  static_assert(Width == 16 || Width == 32);
  const auto load = [&](int64_t k) {
    return Simd::load_bf16(src + k * k_stride, Width == 32 ? mask : mask & 0xffff);
  };
  const __m512i low = _mm512_load_si512(kLowPairs), high = _mm512_load_si512(kHighPairs);
  if (kKnown) rows = kKnown;
#pragma GCC unroll 8
  for (int64_t k = 0; k < rows; k += 2, out += Width) {
    const __m512i even = load(k), odd = kKnown || k + 1 < rows ? load(k + 1) : _mm512_setzero_si512();
    _mm512_storeu_si512(out, _mm512_permutex2var_epi16(even, low, odd));
    if (Width == 32) _mm512_storeu_si512(out + 16, _mm512_permutex2var_epi16(even, high, odd));
  }
}

// Lanes that lie side by side: a few rows of k of all panels at a time, so that memory is read in
// long runs.
template <int Width, typename T>
void pack_lanes(const T* src, int64_t k_stride, const Panels& panels, int64_t kc,
                int64_t ahead, float* out) {
  constexpr int64_t kRun = 8;
  if (ahead == 0) ahead = 4 * kRun;
  for (int64_t k = 0; k < kc; k += kRun, src += kRun * k_stride, out += kRun / 2 * Width) {
    for (int p = 0; p < panels.count; ++p) {
      const T* const from = src + panels.first[p];
      const int lanes = panels.lanes(p);
      const __mmask32 mask = lanes >= 32 ? ~__mmask32{0} : (__mmask32{1} << lanes) - 1;
      for (int64_t l = 0; ahead > 0 && l < kRun; ++l)
        prefetch32(from + (l + ahead) * k_stride);
      if (k + kRun <= kc)
        interleave<Width, kRun>(from, k_stride, mask, kRun, out + p * panels.stride);
      else
        interleave<Width, 0>(from, k_stride, mask, kc - k, out + p * panels.stride);
    }
  }
}

// Runs of k: one panel, turned by blocks of 16 lanes x 16 words as 32-bit values.
template <typename T>
void pack_runs(const T* src, int64_t lane_stride, int64_t k_stride, int lanes, int width, int64_t kc,
               int64_t ahead, float* out) {
  alignas(64) float block[16 * 16], turned[16 * 16];
  for (int j = 0; j < width; j += 16) {
    const int count = lanes - j < 16 ? lanes - j : 16;
    for (int64_t k = 0; k < kc; k += 32) {
      const int depth = static_cast<int>(kc - k < 32 ? kc - k : 32), words = (depth + 1) / 2;
      const T* const from = src + j * lane_stride + k * k_stride;
      float* const to = out + k / 2 * width + j;
      const int64_t next = ahead ? ahead * k_stride : width * lane_stride;
      for (int i = 0; ahead >= 0 && i < count; ++i)
        prefetch32(from + i * lane_stride + next);
      if (sizeof(T) == 2 && k_stride == 1 && count == 16 && depth == 32) {
        Simd::transpose(from, lane_stride * 2, to, width);
        continue;
      }
      const __mmask32 mask = depth >= 32 ? ~__mmask32{0} : (__mmask32{1} << depth) - 1;
      for (int i = 0; i < 16; ++i) {
        __m512i row = _mm512_setzero_si512();
        if (i < count)
          row = k_stride == 1 ? Simd::load_bf16(from + i * lane_stride, mask)
                              : Simd::gather_bf16(from + i * lane_stride, k_stride, depth);
        _mm512_store_si512(block + i * 16, row);
      }
      if (words == 16) {
        Simd::transpose(block, 64, to, width);
        continue;
      }
      Simd::transpose(block, 64, turned, 16);
      for (int w = 0; w < words; ++w) Simd::store(to + w * width, Simd::load(turned + w * 16));
    }
  }
}

template <typename T>
void pack(const Operand& o, const Panels& panels, int64_t k0, int64_t kc, int64_t ahead, float* out) {
  const T* const src = static_cast<const T*>(o.data) + k0 * o.k_stride;
  if (o.lane_stride == 1 && o.k_stride != 1) {
    if (panels.width == 16) return pack_lanes<16>(src, o.k_stride, panels, kc, ahead, out);
    return pack_lanes<32>(src, o.k_stride, panels, kc, ahead, out);
  }
  for (int p = 0; p < panels.count; ++p)
    pack_runs(src + panels.first[p] * o.lane_stride, o.lane_stride, o.k_stride, panels.lanes(p),
              panels.width, kc, ahead, out + p * panels.stride);
}

// Packs k0 .. k0 + kc, k0 even. What is packed next is prefetched: `ahead` k away, or, if that is 0,
// the following rows or panels; kNoPrefetch: nothing.
inline void pack_words(const Operand& o, const Panels& panels, int64_t k0, int64_t kc, int64_t ahead,
                       float* out) {
  if (o.as_bf16) return pack<float>(o, panels, k0, kc, ahead, out);
  pack<uint16_t>(o, panels, k0, kc, ahead, out);
}

}  // namespace
}  // namespace corten::gemm_detail
