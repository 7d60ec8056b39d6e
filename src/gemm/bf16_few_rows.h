// A few rows of bf16 times a large B: every element of B is used once or a few times, so that
// nothing is packed and B goes from memory through registers. Included by the AVX512_BF16 family
// after word_block.h; the chains are those of its tiles.
//
// Sums have a column per lane. B with adjacent columns side by side is interleaved by pairs of k. B
// with adjacent k side by side (weights [out, in]) is transposed in registers, 16 columns x 16
// pairs: every cache line is read once, because rows that are a multiple of 4 KiB apart share an L1
// set and would evict each other before a second look. Lines are asked for into the L2 cache, which has
// more of them under way than L1 has.
#pragma once

#include "gemm/bf16_pack.h"

namespace corten::gemm_detail {
namespace {

constexpr int kMostFewRows = 4;
constexpr int64_t kFewColumns = 256;  // of a block

inline bool few_rows(const GemmArgs& g) {
  return g.m >= 1 && g.m <= kMostFewRows && g.k >= 1 && g.a_dtype == DType::bf16 &&
         g.b_dtype == DType::bf16 && g.a_col_stride == 1 &&
         (g.b_col_stride == 1 || g.b_row_stride == 1) && !g.resume;
}

inline int64_t few_words(const GemmArgs& g) {
  return round_up(ceil_div(g.k, 2), 16);
}  // whole steps; beyond k zeros

inline Blocking few_plan(const GemmArgs& g) {
  Blocking s = {};
  s.m_grain = kMostFewRows;
  s.n_grain = kCols;
  s.m_block = g.m;
  s.n_block = s.sums_stride = kFewColumns;
  s.scratch_bytes =
      sizeof(float) * static_cast<size_t>(kMostFewRows * (few_words(g) + kFewColumns));
  return s;
}

// 16 rows of 16 words each to 16 vectors of a word of each row.
inline void transpose16(__m512i (&x)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    x[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    x[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    x[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    x[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(x[i], x[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(x[i], x[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_i32x4(x[8 + i], x[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(x[8 + i], x[12 + i], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    x[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    x[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
    x[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
    x[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
  }
}

// R rows of words `a` (a_ld apart) times 16 columns whose k lie side by side, `ld` elements apart.
// `lanes` of them exist.
template <int R>
void few_runs(const float* a, int64_t a_ld, const uint16_t* b, int64_t ld, int64_t k, int lanes,
              float* out, int64_t out_ld) {
  constexpr int64_t kAhead = 8 * 32;  // k
  Simd::F sum[R];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) sum[r] = Simd::zero();
  for (int64_t k0 = 0; k0 < k; k0 += 32) {
    const int64_t left = k - k0;
    __m512i x[16];
    if (lanes == 16 && left >= 32) {
      // At the end of the columns come the next 16.
      const int64_t ahead = left > kAhead ? kAhead : kAhead - k + 16 * ld;
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        const uint16_t* const column = b + i * ld + k0;
        x[i] = _mm512_loadu_si512(column);
        _mm_prefetch(reinterpret_cast<const char*>(column + ahead), _MM_HINT_T1);
      }
    } else {
      const __mmask32 mask = left >= 32 ? ~__mmask32{0} : (__mmask32{1} << left) - 1;
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i)
        x[i] = i < lanes ? _mm512_maskz_loadu_epi16(mask, b + i * ld + k0) : _mm512_setzero_si512();
    }
    transpose16(x);
#pragma GCC unroll 16
    for (int w = 0; w < 16; ++w)
      if (2 * w < left)
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
          sum[r] = multiply_add(Simd::broadcast(a[r * a_ld + k0 / 2 + w]),
                                _mm512_castsi512_ps(x[w]), sum[r]);
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) Simd::store(out + r * out_ld, sum[r]);
}

// The same for 32 C columns that lie side by side, rows of k `ld` elements apart.
template <int R, int C>
void few_lanes(const float* a, int64_t a_ld, const uint16_t* b, int64_t ld, int64_t k, int lanes,
               float* out, int64_t out_ld) {
  constexpr int64_t kAhead = 16;  // rows of k
  const __m512i low = _mm512_load_si512(kLowPairs), high = _mm512_load_si512(kHighPairs);
  Simd::F sum[R][2 * C];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int c = 0; c < 2 * C; ++c) sum[r][c] = Simd::zero();
  const int rest = lanes - 32 * (C - 1);
  const __mmask32 last = rest >= 32 ? ~__mmask32{0} : (__mmask32{1} << rest) - 1;
  for (int64_t k0 = 0; k0 < k; k0 += 2) {
    const bool pair = k0 + 1 < k;
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      const uint16_t* const at = b + k0 * ld + 32 * c;
      const __mmask32 mask = c == C - 1 ? last : ~__mmask32{0};
      const __m512i even = _mm512_maskz_loadu_epi16(mask, at);
      const __m512i odd = pair ? _mm512_maskz_loadu_epi16(mask, at + ld) : _mm512_setzero_si512();
      _mm_prefetch(reinterpret_cast<const char*>(at + kAhead * ld), _MM_HINT_T1);
      _mm_prefetch(reinterpret_cast<const char*>(at + (kAhead + 1) * ld), _MM_HINT_T1);
      const Simd::F b0 = _mm512_castsi512_ps(_mm512_permutex2var_epi16(even, low, odd));
      const Simd::F b1 = _mm512_castsi512_ps(_mm512_permutex2var_epi16(even, high, odd));
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const Simd::F x = Simd::broadcast(a[r * a_ld + k0 / 2]);
        sum[r][2 * c] = multiply_add(x, b0, sum[r][2 * c]);
        sum[r][2 * c + 1] = multiply_add(x, b1, sum[r][2 * c + 1]);
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int c = 0; c < 2 * C; ++c) Simd::store(out + r * out_ld + 16 * c, sum[r][c]);
}

using FewLanes = void (*)(const float*, int64_t, const uint16_t*, int64_t, int64_t, int, float*,
                          int64_t);
template <int R>
constexpr FewLanes kFewLanes[] = {nullptr, few_lanes<R, 1>, few_lanes<R, 2>};
template <>
constexpr FewLanes kFewLanes<2>[] = {nullptr, few_lanes<2, 1>, few_lanes<2, 2>, few_lanes<2, 3>,
                                     few_lanes<2, 4>};
template <>
constexpr FewLanes kFewLanes<1>[] = {nullptr,         few_lanes<1, 1>, few_lanes<1, 2>,
                                     few_lanes<1, 3>, few_lanes<1, 4>, few_lanes<1, 5>,
                                     few_lanes<1, 6>, few_lanes<1, 7>, few_lanes<1, 8>};

template <int R>
void few_run(const Block& block) {
  const GemmArgs& g = *block.args;
  const int64_t words = few_words(g), columns = block.n1 - block.n0, ld = block.blocking->n_block;
  float* const a = static_cast<float*>(block.scratch);
  float* const out = a + kMostFewRows * words;
  for (int64_t r = 0; r < R; ++r) {
    for (int64_t w = g.k / 2; w < words; ++w) a[r * words + w] = 0;
    __builtin_memcpy(a + r * words,
                     static_cast<const uint16_t*>(block.a) + (block.m0 + r) * g.a_row_stride,
                     static_cast<size_t>(g.k) * 2);
  }
  const uint16_t* const b = static_cast<const uint16_t*>(block.b);
  for (int64_t n = 0; n < columns;) {
    const int64_t left = columns - n;
    const auto lanes = [&](int64_t most) { return static_cast<int>(left < most ? left : most); };
    const uint16_t* const at = b + (block.n0 + n) * g.b_col_stride;
    if (g.b_col_stride != 1) {
      few_runs<R>(a, words, at, g.b_col_stride, g.k, lanes(16), out + n, ld);
      n += 16;
    } else {
      // As many columns as sums fit into registers: runs of memory are longer.
      constexpr int64_t kMost = R == 1 ? 8 : R == 2 ? 4 : 2;
      const int64_t parts = smaller(kMost, ceil_div(left, 32));
      kFewLanes<R>[parts](a, words, at, g.b_row_stride, g.k, lanes(32 * parts), out + n, ld);
      n += 32 * parts;
    }
  }
  finish(block, out, ld, block.m0, block.n0, R, columns);
}

}  // namespace
}  // namespace corten::gemm_detail
