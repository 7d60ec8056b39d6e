// The float32 families' operands: a word is one float of one k, converted from whatever dtype the
// operand has. Included after a simd header; see word_block.h.
#pragma once

#include "gemm/panels.h"

namespace corten::gemm_detail {
namespace {

constexpr int kUnit = 1;

inline Simd::F multiply_add(Simd::F a, Simd::F b, Simd::F c) { return Simd::fma(a, b, c); }

constexpr int kW = Simd::kWidth;

// What an operand's elements are: bf16 may be rounded from f32.
enum class Source { f32, f16, bf16, rounded };
constexpr bool wide(Source s) { return s == Source::f32 || s == Source::rounded; }

inline Simd::F round_to_bf16(Simd::F x) {
  return Simd::from_bits16(Simd::to_bits16(x, DType::bf16), DType::bf16);
}

// Not for Source::rounded, which is rounded by whole vectors.
template <Source S>
float element(const void* p, int64_t i) {
  if constexpr (wide(S)) return static_cast<const float*>(p)[i];
  if constexpr (S == Source::f16) return _cvtsh_ss(static_cast<const uint16_t*>(p)[i]);
  const uint32_t bits = uint32_t{static_cast<const uint16_t*>(p)[i]} << 16;
  float x;
  __builtin_memcpy(&x, &bits, sizeof(x));
  return x;
}

template <Source S>
Simd::F load_as(const void* p, int64_t i, int count) {
  if constexpr (wide(S)) {
    const float* f = static_cast<const float*>(p) + i;
    const Simd::F x = count >= kW ? Simd::load(f) : Simd::load(f, count);
    return S == Source::rounded ? round_to_bf16(x) : x;
  } else {
    constexpr DType kDtype = S == Source::f16 ? DType::f16 : DType::bf16;
    const uint16_t* h = static_cast<const uint16_t*>(p) + i;
    return count >= kW ? Simd::load16(h, kDtype) : Simd::load16(h, kDtype, count);
  }
}

template <Source S>
void prefetch(const void* p, int64_t i) {
  _mm_prefetch(static_cast<const char*>(p) + i * (wide(S) ? 4 : 2), _MM_HINT_T1);
}

// Lanes that lie side by side: a few rows of k of all panels at a time, so that memory is read in
// long runs.
template <Source S>
void pack_lanes(const Operand& o, const Panels& panels, int64_t k0, int64_t kc, int64_t ahead,
                float* out) {
  constexpr int64_t kRun = 8;
  if (ahead == 0) ahead = 4 * kRun;
  for (int64_t k = 0; k < kc; k += kRun) {
    const int64_t rows = kc - k < kRun ? kc - k : kRun;
    for (int p = 0; p < panels.count; ++p) {
      const int lanes = panels.lanes(p);
      for (int j = 0; j < panels.width; j += kW) {
        const int count = lanes - j;
        const int64_t from = (k0 + k) * o.k_stride + panels.first[p] + j;
        float* const to = out + p * panels.stride + k * panels.width + j;
        for (int64_t l = 0; ahead > 0 && count > 0 && l < rows; ++l)
          prefetch<S>(o.data, from + (l + ahead) * o.k_stride);
        if (rows == kRun && count >= kW) {
#pragma GCC unroll 8
          for (int64_t l = 0; l < kRun; ++l)
            Simd::store(to + l * panels.width, load_as<S>(o.data, from + l * o.k_stride, kW));
        } else {
          for (int64_t l = 0; l < rows; ++l)
            Simd::store(to + l * panels.width,
                        count > 0 ? load_as<S>(o.data, from + l * o.k_stride, count) : Simd::zero());
        }
      }
    }
  }
}

// Runs of k: one panel, turned by blocks of kW x kW.
template <Source S>
void pack_runs(const Operand& o, int64_t lane, int lanes, int width, int64_t k0, int64_t kc,
               int64_t ahead, float* out) {
  alignas(64) float block[kW * kW], turned[kW * kW];
  for (int j = 0; j < width; j += kW) {
    const int count = lanes - j < kW ? lanes - j : kW;
    for (int64_t k = 0; k < kc; k += kW) {
      const int depth = static_cast<int>(kc - k < kW ? kc - k : kW);
      const int64_t at = (lane + j) * o.lane_stride + (k0 + k) * o.k_stride;
      const int64_t next = ahead ? ahead * o.k_stride : width * o.lane_stride;
      for (int i = 0; ahead >= 0 && i < count; ++i) prefetch<S>(o.data, at + i * o.lane_stride + next);
      if (S == Source::f32 && o.k_stride == 1 && count == kW && depth == kW) {
        Simd::transpose(static_cast<const float*>(o.data) + at, o.lane_stride * 4,
                        out + k * width + j, width);
        continue;
      }
      for (int i = 0; i < kW; ++i) {
        if (i >= count) {
          Simd::store(block + i * kW, Simd::zero());
        } else if (o.k_stride == 1) {
          Simd::store(block + i * kW, load_as<S>(o.data, at + i * o.lane_stride, depth));
        } else {
          for (int l = 0; l < depth; ++l)
            block[i * kW + l] = element<S>(o.data, at + i * o.lane_stride + l * o.k_stride);
          if (S == Source::rounded)
            Simd::store(block + i * kW, round_to_bf16(Simd::load(block + i * kW, depth)));
        }
      }
      Simd::transpose(block, kW * 4, turned, kW);
      for (int l = 0; l < depth; ++l)
        Simd::store(out + (k + l) * width + j, Simd::load(turned + l * kW));
    }
  }
}

template <Source S>
void pack(const Operand& o, const Panels& panels, int64_t k0, int64_t kc, int64_t ahead, float* out) {
  if (o.lane_stride == 1 && o.k_stride != 1) return pack_lanes<S>(o, panels, k0, kc, ahead, out);
  for (int p = 0; p < panels.count; ++p)
    pack_runs<S>(o, panels.first[p], panels.lanes(p), panels.width, k0, kc, ahead,
                 out + p * panels.stride);
}

// Packs k0 .. k0 + kc. What is packed next is prefetched: `ahead` k away, or, if that is 0, the
// following rows or panels; kNoPrefetch: nothing.
inline void pack_words(const Operand& o, const Panels& panels, int64_t k0, int64_t kc, int64_t ahead,
                       float* out) {
  if (o.as_bf16) return pack<Source::rounded>(o, panels, k0, kc, ahead, out);
  if (o.dtype == DType::f32) return pack<Source::f32>(o, panels, k0, kc, ahead, out);
  if (o.dtype == DType::bf16) return pack<Source::bf16>(o, panels, k0, kc, ahead, out);
  pack<Source::f16>(o, panels, k0, kc, ahead, out);
}

}  // namespace
}  // namespace corten::gemm_detail
