// The float32 family, for any vector width. Included by gemm_f32_avx2.cpp and gemm_f32_avx512.cpp
// after their simd header and kRows, the rows of a register tile.
//
// A register tile is kRows x 2 vectors; per k it takes two vectors of B and kRows broadcasts of A.
// B is packed once per block and k step into panels of two vectors ([panel][k][kCols]), A per row
// strip and k chunk into [k][kAStride], from whatever dtype and layout they have.
#pragma once

#include "gemm/finish.h"

namespace corten::gemm_detail {
namespace {

constexpr int kW = Simd::kWidth;
constexpr int kCols = 2 * kW;
constexpr int kAStride = (kRows + kW - 1) / kW * kW;
constexpr int64_t kChunk = 256;  // most k per register tile: kChunk * kAStride floats of A stay in L1

inline int64_t round_up(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// One register tile over kc steps of k: C = A B, or C += A B. `first` starts the chain.
template <int R>
void tile(const float* a, const float* b, float* c, int64_t ldc, int64_t kc, bool first) {
  Simd::F acc[R][2];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
    acc[i][0] = first ? Simd::zero() : Simd::load(c + i * ldc);
    acc[i][1] = first ? Simd::zero() : Simd::load(c + i * ldc + kW);
  }
  for (int64_t k = 0; k < kc; ++k) {
    const Simd::F b0 = Simd::load(b), b1 = Simd::load(b + kW);
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Simd::F x = Simd::broadcast(a[i]);
      acc[i][0] = Simd::fma(x, b0, acc[i][0]);
      acc[i][1] = Simd::fma(x, b1, acc[i][1]);
    }
    a += kAStride;
    b += kCols;
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
    Simd::store(c + i * ldc, acc[i][0]);
    Simd::store(c + i * ldc + kW, acc[i][1]);
  }
}

using Tile = void (*)(const float*, const float*, float*, int64_t, int64_t, bool);

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
      const int depth = static_cast<int>(smaller(kc - k, kW));
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

inline void pack_as(DType dtype, const void* src, int64_t offset, int64_t lane_stride,
                    int64_t k_stride, int lanes, int width, int64_t kc, int64_t ahead, float* out) {
  const char* p = static_cast<const char*>(src) + offset * (dtype == DType::f32 ? 4 : 2);
  if (dtype == DType::f32)
    pack<DType::f32>(p, lane_stride, k_stride, lanes, width, kc, ahead, out);
  else if (dtype == DType::bf16)
    pack<DType::bf16>(p, lane_stride, k_stride, lanes, width, kc, ahead, out);
  else
    pack<DType::f16>(p, lane_stride, k_stride, lanes, width, kc, ahead, out);
}

// One strip of rows uses B once: small pieces of it pass through L1, in long runs of memory.
inline bool one_strip(const GemmArgs& g) { return g.m <= kRows; }

// k steps of equal size, at most `most`.
inline int64_t even_step(int64_t k, int64_t most) {
  const int64_t splits = (k + most - 1) / most;
  return splits > 0 ? (k + splits - 1) / splits : 1;
}

inline Blocking f32_plan(const GemmArgs& g) {
  constexpr int64_t kStationary = 128 * 1024;  // floats of B that stay in L2
  constexpr int64_t kCarried = 256 / kRows * kRows;  // rows of sums carried between k steps
  Blocking s;
  s.a_stationary = false;
  s.m_grain = kRows;
  s.n_grain = kCols;
  s.m_block = g.m;
  s.strips = 1;
  int64_t kept = kRows;
  if (one_strip(g)) {
    const bool runs_of_k = g.b_col_stride != 1;
    s.k_step = runs_of_k ? 256 : 32;
    s.n_step = runs_of_k ? kCols : 256;
    s.m_step = kRows;
    s.n_block = 1024;
  } else {
    s.k_step = even_step(g.k, kChunk);
    s.n_step = smaller(kStationary / s.k_step / kCols * kCols, 512);
    s.n_step = s.n_block = smaller(s.n_step, round_up(g.n, kCols));
    s.m_step = g.k > s.k_step ? smaller(kCarried, round_up(g.m, kRows)) : kRows;
    kept = s.m_step;
  }
  s.scratch_bytes = sizeof(float) * static_cast<size_t>(kChunk * kAStride + s.n_step * s.k_step +
                                                        kept * s.n_block);
  return s;
}

// Also takes rows that exist below the strip: whole vectors are quicker to pack.
inline void pack_a(const Block& block, int64_t m, int64_t k, int64_t kc, float* out) {
  const GemmArgs& g = *block.args;
  pack_as(g.a_dtype, block.a, m * g.a_row_stride + k * g.a_col_stride, g.a_row_stride,
          g.a_col_stride, static_cast<int>(smaller(kAStride, g.m - m)), kAStride, kc, 0, out);
}

// Packs columns [n, n + nn) into panels that are `panel_k` long.
inline void pack_b(const Block& block, int64_t n, int64_t nn, int64_t k, int64_t kc, int64_t ahead,
                   int64_t panel_k, float* out) {
  const GemmArgs& g = *block.args;
  for (int64_t j = 0; j < nn; j += kCols)
    pack_as(g.b_dtype, block.b, k * g.b_row_stride + (n + j) * g.b_col_stride, g.b_col_stride,
            g.b_row_stride, static_cast<int>(smaller(nn - j, kCols)), kCols, kc, ahead,
            out + j * panel_k);
}

inline void run_strip(const Block& block, Tile tile) {
  const GemmArgs& g = *block.args;
  const Blocking& s = *block.blocking;
  float* const a_pack = static_cast<float*>(block.scratch);
  float* const b_pack = a_pack + kChunk * kAStride;
  float* const acc = b_pack + s.n_step * s.k_step;
  const int64_t rows = block.m1 - block.m0, columns = block.n1 - block.n0;
  if (g.resume) load_sums(block, acc, s.n_block, block.m0, block.n0, rows, columns);
  int64_t k = 0;
  do {
    const int64_t kc = smaller(s.k_step, g.k - k);
    pack_a(block, block.m0, k, kc, a_pack);
    for (int64_t n = 0; n < columns; n += s.n_step) {
      const int64_t nn = smaller(s.n_step, columns - n);
      pack_b(block, block.n0 + n, nn, k, kc, k + 2 * s.k_step <= g.k ? s.k_step : 0, s.k_step,
             b_pack);
      for (int64_t j = 0; j < nn; j += kCols)
        tile(a_pack, b_pack + j * s.k_step, acc + n + j, s.n_block, kc, k == 0 && !g.resume);
    }
    k += s.k_step;
  } while (k < g.k);
  finish(block, acc, s.n_block, block.m0, block.n0, rows, columns);
}

inline void f32_run(const Block& block, const Tile* tiles) {
  const GemmArgs& g = *block.args;
  if (one_strip(g)) return run_strip(block, tiles[block.m1 - block.m0]);
  const Blocking& s = *block.blocking;
  float* const a_pack = static_cast<float*>(block.scratch);
  float* const b_pack = a_pack + kChunk * kAStride;
  float* const acc = b_pack + s.n_step * s.k_step;
  const int64_t n = block.n0, nn = block.n1 - block.n0, ld = s.n_step;
  const bool split = g.k > s.k_step;
  const int64_t m_step = split ? s.m_step : block.m1 - block.m0;
  for (int64_t m = block.m0; m < block.m1; m += m_step) {
    const int64_t mn = smaller(m_step, block.m1 - m), strips = (mn + kRows - 1) / kRows;
    int64_t k = 0;
    do {
      const int64_t kc = smaller(s.k_step, g.k - k);
      pack_b(block, n, nn, k, kc, 0, s.k_step, b_pack);
      for (int64_t strip = 0; strip < strips; ++strip) {
        const int64_t i = mn * strip / strips, rows = mn * (strip + 1) / strips - i;
        float* const c = split ? acc + i * ld : acc;
        pack_a(block, m + i, k, kc, a_pack);
        if (g.resume && k == 0) load_sums(block, c, ld, m + i, n, rows, nn);
        for (int64_t j = 0; j < nn; j += kCols)
          tiles[rows](a_pack, b_pack + j * s.k_step, c + j, ld, kc, k == 0 && !g.resume);
        if (k + kc >= g.k) finish(block, c, ld, m + i, n, rows, nn);
      }
      k += s.k_step;
    } while (k < g.k);
  }
}

inline double f32_peak(void* memory, int64_t repeats, Tile tile) {
  constexpr int64_t kSteps = 128;
  const float* a = static_cast<const float*>(memory);
  const float* b = a + kSteps * kAStride;
  float* c = static_cast<float*>(memory) + kPeakBytes / 8;
  for (int64_t i = 0; i < repeats; ++i) tile(a, b, c, kCols, kSteps, true);
  return 2.0 * kRows * kCols * kSteps * static_cast<double>(repeats);
}

}  // namespace
}  // namespace corten::gemm_detail
