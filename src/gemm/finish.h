// From finished accumulators to C: bias, epilogue, accumulation, rounding, storing. Included by the
// families' files after their simd header.
#pragma once

#include "gemm/block.h"

namespace corten::gemm_detail {
namespace {

template <DType D>
void finish_row16(uint16_t* c, const float* tile, const float* bias, int64_t n, bool stream) {
  constexpr int kW = Simd::kWidth;
  const auto value = [&](int64_t j) {
    return bias ? Simd::add(Simd::load(tile + j), Simd::load(bias + j)) : Simd::load(tile + j);
  };
  const auto part = [&](int64_t j, int count) {
    Simd::F x = Simd::load(tile + j, count);
    return bias ? Simd::add(x, Simd::load(bias + j, count)) : x;
  };
  int64_t j = 0;
  if (stream) {
    const int64_t skew = static_cast<int64_t>(reinterpret_cast<uintptr_t>(c) % 64 / 2);
    int64_t head = skew == 0 ? 0 : 32 - skew;
    if (head > n) head = n;
    for (; j < head; j += kW) {
      const int count = head - j < kW ? static_cast<int>(head - j) : kW;
      Simd::store16(c + j, part(j, count), D, count);
    }
    j = head;
    for (; j + 32 <= n; j += 32)  // whole cache lines, or the write-combining is lost
      for (int64_t i = j; i < j + 32; i += kW) Simd::stream16(c + i, value(i), D);
  }
  for (; j + kW <= n; j += kW) Simd::store16(c + j, value(j), D);
  if (j < n) Simd::store16(c + j, part(j, static_cast<int>(n - j)), D, static_cast<int>(n - j));
}

inline void finish_row32(float* c, const float* tile, const float* bias, int64_t n, bool stream,
                         bool accumulate) {
  constexpr int kW = Simd::kWidth;
  const auto value = [&](int64_t j) {
    Simd::F x = Simd::load(tile + j);
    if (bias) x = Simd::add(x, Simd::load(bias + j));
    return accumulate ? Simd::add(Simd::load(c + j), x) : x;
  };
  const auto store_part = [&](int64_t j, int count) {
    Simd::F x = Simd::load(tile + j, count);
    if (bias) x = Simd::add(x, Simd::load(bias + j, count));
    if (accumulate) x = Simd::add(Simd::load(c + j, count), x);
    Simd::store(c + j, x, count);
  };
  int64_t j = 0;
  if (stream) {
    const int64_t skew = static_cast<int64_t>(reinterpret_cast<uintptr_t>(c) % 64 / 4);
    int64_t head = skew == 0 ? 0 : 16 - skew;
    if (head > n) head = n;
    for (; j < head; j += kW) store_part(j, head - j < kW ? static_cast<int>(head - j) : kW);
    j = head;
    for (; j + 16 <= n; j += 16)
      for (int64_t i = j; i < j + 16; i += kW) Simd::stream(c + i, value(i));
  }
  for (; j + kW <= n; j += kW) Simd::store(c + j, value(j));
  if (j < n) store_part(j, static_cast<int>(n - j));
}

// The sums so far of rows [m, m + mn), columns [n, n + nn) of C, from which chains go on, into `tile`.
inline void load_sums(const Block& block, float* tile, int64_t ld, int64_t m, int64_t n, int64_t mn, int64_t nn) {
  const float* c = static_cast<const float*>(block.c) + m * block.args->c_row_stride + n;
  for (int64_t i = 0; i < mn; ++i, c += block.args->c_row_stride, tile += ld)
    for (int64_t j = 0; j < nn; ++j) tile[j] = c[j];
}

// Writes rows [m, m + mn), columns [n, n + nn) of C from `tile` (row stride ld). Without a C, they are rounded where they
// are, each row from its start.
inline void finish(const Block& block, float* tile, int64_t ld, int64_t m, int64_t n, int64_t mn,
                   int64_t nn) {
  const GemmArgs& g = *block.args;
  const float* bias = g.bias ? static_cast<const float*>(g.bias) + n : nullptr;
  if (g.epilogue) {
    if (bias)
      for (int64_t i = 0; i < mn; ++i) finish_row32(tile + i * ld, tile + i * ld, bias, nn, false, false);
    bias = nullptr;
    g.epilogue(g.epilogue_context, tile, ld, block.first_row + m, n, mn, nn);
  }
  const int64_t size = g.c_dtype == DType::f32 ? 4 : 2;
  char* const first = block.c ? static_cast<char*>(block.c) + (m * g.c_row_stride + n) * size
                              : reinterpret_cast<char*>(tile);
  const int64_t stride = block.c ? g.c_row_stride * size : ld * 4;
  for (int64_t i = 0; i < mn; ++i) {
    const float* row = tile + i * ld;
    void* const c = first + i * stride;
    if (g.c_dtype == DType::f32)
      finish_row32(static_cast<float*>(c), row, bias, nn, block.stream, g.accumulate);
    else if (g.c_dtype == DType::bf16)
      finish_row16<DType::bf16>(static_cast<uint16_t*>(c), row, bias, nn, block.stream);
    else
      finish_row16<DType::f16>(static_cast<uint16_t*>(c), row, bias, nn, block.stream);
  }
  if (g.consumer) g.consumer(g.consumer_context, first, block.first_row + m, n, mn, nn);
}

}  // namespace
}  // namespace corten::gemm_detail
