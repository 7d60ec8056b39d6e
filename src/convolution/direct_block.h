// The kernels of direct_kernels.h for vectors of Simd::kWidth floats: 8 or 16. Everything here has internal linkage, because it is
// compiled once for each instruction set.
#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "convolution/direct_kernels.h"

namespace corten::convolution_detail {
namespace {

using gemm_detail::Simd;
using F = Simd::F;
constexpr int kWidth = Simd::kWidth;

// ---- Results

constexpr int kMaxRows = 8, kMaxVectors = 4;
/// Sums in registers: all but a weight and what is read.
constexpr int kSums = kWidth == 16 ? 24 : 12;
constexpr int rows_of(int vectors) { return std::min(kMaxRows, kSums / vectors); }

void store(const TapSums& t, int64_t row, int64_t column, F x, int64_t count) {
  if (t.has_bias) x = Simd::add(x, Simd::broadcast(t.bias));
  const int64_t at = row * t.out_step + column;
  if (t.dtype == DType::f32) {
    float* to = static_cast<float*>(t.out) + at;
    count >= kWidth ? Simd::store(to, x) : Simd::store(to, x, static_cast<int>(count));
  } else {
    uint16_t* to = static_cast<uint16_t*>(t.out) + at;
    count >= kWidth ? Simd::store16(to, x, t.dtype) : Simd::store16(to, x, t.dtype, static_cast<int>(count));
  }
}

template <int R, int V>
void sum_block(const TapSums& t, int64_t row, int64_t column) {
  F sum[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[r][v] = Simd::zero();
  const float* in = t.in + row * t.in_step + column;
  for (int64_t k = 0; k < t.taps; ++k) {
    const float* p = in + t.offsets[k];
    const F w = Simd::broadcast(t.weights[k]);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] = Simd::fma(w, Simd::load(p + r * t.in_step + v * kWidth), sum[r][v]);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(t, row + r, column + v * kWidth, sum[r][v], t.columns - column - v * kWidth);
}

using SumBlock = void (*)(const TapSums&, int64_t, int64_t);
/// By rows - 1 and vectors - 1; those with more sums than there are registers are never called.
template <int... kIndex>
constexpr std::array<SumBlock, sizeof...(kIndex)> sum_blocks(std::integer_sequence<int, kIndex...>) {
  return {sum_block<std::min(kIndex / kMaxVectors + 1, rows_of(kIndex % kMaxVectors + 1)), kIndex % kMaxVectors + 1>...};
}
constexpr auto kSumBlocks = sum_blocks(std::make_integer_sequence<int, kMaxRows * kMaxVectors>());

/// R rows of V vectors whose taps are a grid of K rows: what a row of elements holds is read once for all results that need it, each of
/// which still gets its taps in ascending order.
template <int K, int V, int R>
void sum_grid(const TapSums& t, int64_t row, int64_t column) {
  F sum[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[r][v] = Simd::zero();
  const float* in = t.in + row * t.in_step + column;
  for (int64_t first = 0; first < t.taps; first += K * t.grid_columns) {
    const float* weights = t.weights + first;
#pragma GCC unroll 16
    for (int i = 0; i < R + K - 1; ++i)
      for (int64_t j = 0; j < t.grid_columns; ++j) {
        const float* p = in + t.offsets[first + j] + i * t.in_step;
        F x[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) x[v] = Simd::load(p + v * kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          if (r > i || r < i - K + 1) continue;  // known when unrolled
          const F w = Simd::broadcast(weights[(i - r) * t.grid_columns + j]);
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) sum[r][v] = Simd::fma(w, x[v], sum[r][v]);
        }
      }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(t, row + r, column + v * kWidth, sum[r][v], t.columns - column - v * kWidth);
}

/// Planes of images are often of a multiple of 7 rows.
constexpr int grid_rows_of(int vectors) { return kWidth == 16 || vectors == 1 ? 7 : 5; }

template <int K, int V>
void sum_grid_columns(const TapSums& t, int64_t column) {
  constexpr int R = grid_rows_of(V);
  for (int64_t row = 0; row + R <= t.rows; row += R) sum_grid<K, V, R>(t, row, column);
  // The last ones, some of them again.
  if (t.rows % R != 0) sum_grid<K, V, R>(t, t.rows - R, column);
}

template <int K>
void sum_grid_taps(const TapSums& t) {
  for (int64_t column = 0; column < t.columns; column += 2 * kWidth)
    t.columns - column > kWidth ? sum_grid_columns<K, 2>(t, column) : sum_grid_columns<K, 1>(t, column);
}

void sum_taps(const TapSums& t) {
  if (t.rows >= grid_rows_of(1)) {
    if (t.grid_rows == 3) return sum_grid_taps<3>(t);
    if (t.grid_rows == 5) return sum_grid_taps<5>(t);
    if (t.grid_rows == 7) return sum_grid_taps<7>(t);
  }
  for (int64_t column = 0; column < t.columns; column += kMaxVectors * kWidth) {
    const auto vectors = static_cast<int>(std::min<int64_t>(kMaxVectors, (t.columns - column + kWidth - 1) / kWidth));
    for (int64_t row = 0; row < t.rows;) {
      const auto rows = static_cast<int>(std::min<int64_t>(rows_of(vectors), t.rows - row));
      kSumBlocks[static_cast<size_t>((rows - 1) * kMaxVectors + vectors - 1)](t, row, column);
      row += rows;
    }
  }
}

// ---- Weights

constexpr int kParts = kLanes / kWidth;
constexpr int kTaps = kWidth == 16 ? 14 : 5;  // with their lanes in registers

template <int N>
void sum_some_weights(const WeightSums& t, int64_t first) {
  F sum[N][kParts];
  float* lanes = t.lanes + first * kLanes;
  const float* in[N];
#pragma GCC unroll 16
  for (int k = 0; k < N; ++k) {
    in[k] = t.in + t.offsets[first + k];
    for (int v = 0; v < kParts; ++v) sum[k][v] = Simd::load(lanes + k * kLanes + v * kWidth);
  }
  const int64_t whole = t.columns / kLanes * kLanes, rest = t.columns - whole;
  for (int64_t row = 0; row < t.rows; ++row) {
    const float* g = t.g + row * t.g_step;
    const int64_t at = row * t.in_step;
    for (int64_t column = 0; column < whole; column += kLanes)
#pragma GCC unroll 2
      for (int v = 0; v < kParts; ++v) {
        const F gv = Simd::load(g + column + v * kWidth);
#pragma GCC unroll 16
        for (int k = 0; k < N; ++k) sum[k][v] = Simd::fma(gv, Simd::load(in[k] + at + column + v * kWidth), sum[k][v]);
      }
    if (rest == 0) continue;
#pragma GCC unroll 2
    for (int v = 0; v < kParts; ++v) {
      // What is read beyond a row is no part of it, whatever it is.
      const auto count = static_cast<int>(std::clamp<int64_t>(rest - v * kWidth, 0, kWidth));
      const F gv = Simd::load(g + whole + v * kWidth, count);
#pragma GCC unroll 16
      for (int k = 0; k < N; ++k) sum[k][v] = Simd::fma(gv, Simd::load(in[k] + at + whole + v * kWidth, count), sum[k][v]);
    }
  }
#pragma GCC unroll 16
  for (int k = 0; k < N; ++k)
    for (int v = 0; v < kParts; ++v) Simd::store(lanes + k * kLanes + v * kWidth, sum[k][v]);
}

template <int... kIndex>
constexpr auto weight_blocks(std::integer_sequence<int, kIndex...>) {
  using Block = void (*)(const WeightSums&, int64_t);
  return std::array<Block, sizeof...(kIndex)>{sum_some_weights<kIndex + 1>...};
}
constexpr auto kWeightBlocks = weight_blocks(std::make_integer_sequence<int, kTaps>());

void sum_weights(const WeightSums& t) {
  const int64_t blocks = (t.taps + kTaps - 1) / kTaps;
  for (int64_t b = 0; b < blocks; ++b) {  // of about the same size
    const int64_t first = t.taps * b / blocks, last = t.taps * (b + 1) / blocks;
    kWeightBlocks[static_cast<size_t>(last - first - 1)](t, first);
  }
}

// ---- Operands

void widen(const uint16_t* from, DType dtype, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) Simd::store(to + i, Simd::load16(from + i, dtype));
  if (i < count) Simd::store(to + i, Simd::load16(from + i, dtype, static_cast<int>(count - i)), static_cast<int>(count - i));
}

/// Rows are short, so that calls of memcpy would show.
void copy(const float* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) Simd::store(to + i, Simd::load(from + i));
  if (i < count) Simd::store(to + i, Simd::load(from + i, static_cast<int>(count - i)), static_cast<int>(count - i));
}

void pad_rows(const PaddedRows& p) {
  const int64_t pitch = p.phases * p.pitch;
  std::fill(p.out, p.out + p.rows * pitch, 0.0f);
  // Rows and columns of the plane that are held.
  const int64_t top = std::max<int64_t>(p.first_row, 0), bottom = std::min(p.first_row + p.rows, p.height);
  const int64_t begin = std::max<int64_t>(p.first_column, 0), end = std::min(p.first_column + p.columns, p.width);
  if (begin >= end) return;
  for (int64_t row = top; row < bottom; ++row) {
    float* out = p.out + (row - p.first_row) * pitch;
    const int64_t at = row * p.row_stride;
    const float* source = static_cast<const float*>(p.plane) + at;
    if (p.phases == 1) {
      float* to = out + begin - p.first_column;
      p.dtype == DType::f32 ? copy(source + begin, end - begin, to)
                            : widen(static_cast<const uint16_t*>(p.plane) + at + begin, p.dtype, end - begin, to);
      continue;
    }
    if (p.dtype != DType::f32) {
      widen(static_cast<const uint16_t*>(p.plane) + at, p.dtype, p.width, p.scratch);
      source = p.scratch;
    }
    for (int64_t phase = 0; phase < p.phases; ++phase, out += p.pitch) {
      // Elements i of the phase are columns `column` + i * phases.
      const int64_t column = p.first_column + phase;
      const int64_t from = column >= begin ? 0 : (begin - column + p.phases - 1) / p.phases;
      const int64_t to = column >= end ? 0 : (end - column + p.phases - 1) / p.phases;
      if (p.phases == 2)  // the compiler knows shuffles for it
        for (int64_t i = from; i < to; ++i) out[i] = source[column + 2 * i];
      else
        for (int64_t i = from; i < to; ++i) out[i] = source[column + i * p.phases];
    }
  }
}

constexpr DirectKernels kKernels = {sum_taps, sum_weights, pad_rows, widen};

}  // namespace
}  // namespace corten::convolution_detail
