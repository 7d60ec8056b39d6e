// The float32 families' operands: a word is one float of one k, converted from whatever dtype the
// operand has. Included after a simd header; see word_block.h.
#pragma once

#include "gemm/block.h"

namespace corten::gemm_detail {
namespace {

constexpr int kUnit = 1;

inline Simd::F multiply_add(Simd::F a, Simd::F b, Simd::F c) { return Simd::fma(a, b, c); }

constexpr int kW = Simd::kWidth;

template <DType D>
float element(const void* p, int64_t i) {
  if constexpr (D == DType::f32) return static_cast<const float*>(p)[i];
  if constexpr (D == DType::f16) return _cvtsh_ss(static_cast<const uint16_t*>(p)[i]);
  const uint32_t bits = uint32_t{static_cast<const uint16_t*>(p)[i]} << 16;
  float x;
  __builtin_memcpy(&x, &bits, sizeof(x));
  return x;
}

template <DType D>
Simd::F load_as(const void* p, int64_t i, int count) {
  if constexpr (D == DType::f32) {
    const float* f = static_cast<const float*>(p) + i;
    return count >= kW ? Simd::load(f) : Simd::load(f, count);
  } else {
    const uint16_t* h = static_cast<const uint16_t*>(p) + i;
    return count >= kW ? Simd::load16(h, D) : Simd::load16(h, D, count);
  }
}

template <DType D>
void prefetch(const void* p, int64_t i) {
  _mm_prefetch(static_cast<const char*>(p) + i * (D == DType::f32 ? 4 : 2), _MM_HINT_T1);
}

// Packs `lanes` lanes of `kc` steps into out[k][width], padding lanes with zeros. `ahead`, if not 0:
// so many k steps away lies what is packed next.
template <DType D>
void pack(const void* src, int64_t lane_stride, int64_t k_stride, int lanes, int width, int64_t kc,
          int64_t ahead, float* out) {
  if (lane_stride == 1 && lanes > 1) {
    for (int64_t k = 0; k < kc; ++k)
      for (int j = 0; j < width; j += kW) {
        const int count = lanes - j;
        if (ahead && count > 0) prefetch<D>(src, (k + ahead) * k_stride + j);
        Simd::store(out + k * width + j,
                    count > 0 ? load_as<D>(src, k * k_stride + j, count) : Simd::zero());
      }
    return;
  }
  alignas(64) float block[kW * kW], turned[kW * kW];
  for (int j = 0; j < width; j += kW) {
    const int count = lanes - j < kW ? lanes - j : kW;
    for (int64_t k = 0; k < kc; k += kW) {
      const int depth = static_cast<int>(kc - k < kW ? kc - k : kW);
      const int64_t at = j * lane_stride + k * k_stride;
      if (ahead)
        for (int i = 0; i < count; ++i) prefetch<D>(src, at + i * lane_stride + ahead * k_stride);
      if (D == DType::f32 && k_stride == 1 && count == kW && depth == kW) {
        Simd::transpose(static_cast<const float*>(src) + at, lane_stride * 4, out + k * width + j,
                        width);
        continue;
      }
      for (int i = 0; i < kW; ++i) {
        if (i >= count) {
          Simd::store(block + i * kW, Simd::zero());
        } else if (k_stride == 1) {
          Simd::store(block + i * kW, load_as<D>(src, at + i * lane_stride, depth));
        } else {
          for (int l = 0; l < depth; ++l)
            block[i * kW + l] = element<D>(src, at + i * lane_stride + l * k_stride);
        }
      }
      Simd::transpose(block, kW * 4, turned, kW);
      for (int l = 0; l < depth; ++l)
        Simd::store(out + (k + l) * width + j, Simd::load(turned + l * kW));
    }
  }
}

inline void pack_words(DType dtype, const void* src, int64_t offset, int64_t lane_stride,
                       int64_t k_stride, int lanes, int width, int64_t kc, int64_t ahead, float* out) {
  const char* p = static_cast<const char*>(src) + offset * (dtype == DType::f32 ? 4 : 2);
  if (dtype == DType::f32)
    pack<DType::f32>(p, lane_stride, k_stride, lanes, width, kc, ahead, out);
  else if (dtype == DType::bf16)
    pack<DType::bf16>(p, lane_stride, k_stride, lanes, width, kc, ahead, out);
  else
    pack<DType::f16>(p, lane_stride, k_stride, lanes, width, kc, ahead, out);
}

}  // namespace
}  // namespace corten::gemm_detail
