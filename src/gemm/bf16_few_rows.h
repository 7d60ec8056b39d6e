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
constexpr int64_t kFewColumns = 2048;  // of a block: the sums of a row are 8 KiB

inline bool few_rows(const GemmArgs& g) {
  return g.m >= 1 && g.m <= kMostFewRows && g.k >= 1 && g.a_dtype == DType::bf16 &&
         g.b_dtype == DType::bf16 && g.a_col_stride == 1 &&
         (g.b_col_stride == 1 || g.b_row_stride == 1) && !g.resume;
}

inline int64_t few_words(const GemmArgs& g) {
  return round_up(ceil_div(g.k, 2), 16);  // whole steps; beyond k zeros
}

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
// `lanes` of them exist. The 16 columns at `next` are asked for meanwhile, as one run of memory if they
// are one.
template <int R>
void few_runs(const float* a, int64_t a_ld, const uint16_t* b, int64_t ld, int64_t k, int lanes,
              const uint16_t* next, float* out, int64_t out_ld) {
  const int64_t next_step = ld == k ? 16 : 1, next_ld = ld == k ? 32 : ld;
  Simd::F sum[R];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) sum[r] = Simd::zero();
  for (int64_t k0 = 0; k0 < k; k0 += 32) {
    const int64_t left = k - k0;
    __m512i x[16];
    if (lanes == 16 && left >= 32) {
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        x[i] = _mm512_loadu_si512(b + i * ld + k0);
        _mm_prefetch(reinterpret_cast<const char*>(next + next_step * k0 + i * next_ld),
                     _MM_HINT_T1);
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

// P pairs of k, words `a`, of B with adjacent columns side by side: added to the sums of `columns`
// columns. Rows of k are `ld` elements apart; the last pair may lack its second.
template <int R, int P>
void few_pairs(const float* a, int64_t a_ld, const uint16_t* b, int64_t ld, bool whole,
               int64_t columns, float* out, int64_t out_ld) {
  const __m512i low = _mm512_load_si512(kLowPairs), high = _mm512_load_si512(kHighPairs);
  Simd::F x[R][P];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) x[r][p] = Simd::broadcast(a[r * a_ld + p]);
  for (int64_t n = 0; n < columns; n += 32) {
    const int64_t left = columns - n;
    const __mmask32 mask = left >= 32 ? ~__mmask32{0} : (__mmask32{1} << left) - 1;
    Simd::F sum[R][2];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) sum[r][h] = Simd::load(out + r * out_ld + n + 16 * h);
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      const uint16_t* const at = b + 2 * p * ld + n;
      const __m512i even = _mm512_maskz_loadu_epi16(mask, at);
      const __m512i odd = p < P - 1 || whole ? _mm512_maskz_loadu_epi16(mask, at + ld)
                                             : _mm512_setzero_si512();
      _mm_prefetch(reinterpret_cast<const char*>(at + 2 * P * ld), _MM_HINT_T1);
      _mm_prefetch(reinterpret_cast<const char*>(at + (2 * P + 1) * ld), _MM_HINT_T1);
      const Simd::F b0 = _mm512_castsi512_ps(_mm512_permutex2var_epi16(even, low, odd));
      const Simd::F b1 = _mm512_castsi512_ps(_mm512_permutex2var_epi16(even, high, odd));
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        sum[r][0] = multiply_add(x[r][p], b0, sum[r][0]);
        sum[r][1] = multiply_add(x[r][p], b1, sum[r][1]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) Simd::store(out + r * out_ld + n + 16 * h, sum[r][h]);
  }
}

// Four pairs of k at a time: eight runs of memory side by side, of a block's width each.
template <int R>
void few_lanes(const float* a, int64_t a_ld, const uint16_t* b, int64_t ld, int64_t k,
               int64_t columns, float* out, int64_t out_ld) {
  for (int r = 0; r < R; ++r)
    for (int64_t n = 0; n < columns; n += 16) Simd::store(out + r * out_ld + n, Simd::zero());
  int64_t k0 = 0;
  for (; k0 + 8 <= k; k0 += 8)
    few_pairs<R, 4>(a + k0 / 2, a_ld, b + k0 * ld, ld, true, columns, out, out_ld);
  for (; k0 < k; k0 += 2)
    few_pairs<R, 1>(a + k0 / 2, a_ld, b + k0 * ld, ld, k0 + 1 < k, columns, out, out_ld);
}

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
  if (g.b_col_stride == 1) {
    few_lanes<R>(a, words, b + block.n0, g.b_row_stride, g.k, columns, out, ld);
  } else {
    for (int64_t n = 0; n < columns; n += 16) {
      const int64_t left = columns - n, next = left > 16 ? block.n0 + n + 16 : block.next_n0;
      few_runs<R>(a, words, b + (block.n0 + n) * g.b_col_stride, g.b_col_stride, g.k,
                  static_cast<int>(smaller(left, 16)), b + next * g.b_col_stride, out + n, ld);
    }
  }
  finish(block, out, ld, block.m0, block.n0, R, columns);
}

}  // namespace
}  // namespace corten::gemm_detail
