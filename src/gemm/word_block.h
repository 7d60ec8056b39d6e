// Products of packed 32-bit words, for any vector width: a word is one float, or two bf16 of adjacent
// k. Included by the families' files after their simd header, kRows, the rows of a register tile, and
// a pack header, which defines
//   kUnit           k per word
//   multiply_add()  the step of a chain, per lane
//   pack_words()    words from whatever dtype and layout an operand has
//
// A register tile is kRows x 2 vectors; per word it takes two vectors of B and kRows broadcasts of A.
// B is packed once per block and k step into panels of two vectors ([panel][word][kCols]), A per row
// strip and k step into [word][kAStride].
#pragma once

#include "gemm/finish.h"
#include "gemm/panels.h"

namespace corten::gemm_detail {
namespace {

constexpr int kVector = Simd::kWidth;
constexpr int kCols = 2 * kVector;
constexpr int kAStride = (kRows + kVector - 1) / kVector * kVector;

inline int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
inline int64_t round_up(int64_t x, int64_t unit) { return ceil_div(x, unit) * unit; }
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// One register tile over `words` steps: C = A B, or C += A B. `first` starts the chain.
template <int R>
void tile(const float* a, const float* b, float* c, int64_t ldc, int64_t words, bool first) {
  Simd::F acc[R][2];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
    acc[i][0] = first ? Simd::zero() : Simd::load(c + i * ldc);
    acc[i][1] = first ? Simd::zero() : Simd::load(c + i * ldc + kVector);
  }
  for (int64_t w = 0; w < words; ++w) {
    const Simd::F b0 = Simd::load(b), b1 = Simd::load(b + kVector);
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Simd::F x = Simd::broadcast(a[i]);
      acc[i][0] = multiply_add(x, b0, acc[i][0]);
      acc[i][1] = multiply_add(x, b1, acc[i][1]);
    }
    a += kAStride;
    b += kCols;
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
    Simd::store(c + i * ldc, acc[i][0]);
    Simd::store(c + i * ldc + kVector, acc[i][1]);
  }
}

using Tile = void (*)(const float*, const float*, float*, int64_t, int64_t, bool);

// One strip of rows uses B once: small pieces of it pass through L1, in long runs of memory.
inline bool one_strip(const GemmArgs& g) { return g.m <= kRows; }

// k steps of equal size, at most `most`.
inline int64_t even_step(int64_t words, int64_t most) {
  return words > 0 ? ceil_div(words, ceil_div(words, most)) : 1;
}

// A block's scratch: a strip of A, the stationary part of B, and sums.
struct Scratch {
  float *a, *b, *sums;
  Scratch(const Blocking& s, void* memory)
      : a(static_cast<float*>(memory)),
        b(a + s.strips * s.k_step / kUnit * kAStride),
        sums(b + s.n_step * s.k_step / kUnit) {}
};

// The stationary part of B is at most 576 KiB, so that it stays in an L2 cache of 1 MiB with a strip
// of A. Sums are carried from one k step to the next through L2 and L3: each is used for `step` steps
// of a chain at a time, and B is packed again only every kCarried rows.
inline Blocking word_plan(const GemmArgs& g) {
  constexpr int64_t kLongest = 384, kStep = 256;  // words in one step, and in each of several
  constexpr int64_t kMostColumns = 384;           // of B's stationary part
  constexpr int64_t kCarried = 392 / kRows * kRows;
  const int64_t words = ceil_div(g.k, kUnit);
  Blocking s;
  s.a_stationary = false;
  s.m_grain = kRows;
  s.n_grain = kCols;
  s.m_block = g.m;
  s.strips = 1;
  int64_t step;
  if (one_strip(g)) {
    const bool runs_of_k = g.b_col_stride != 1;
    step = runs_of_k ? 256 : 32;
    s.n_step = runs_of_k ? kCols : 256;
    s.m_step = kRows;
    s.n_block = 1024;
  } else {
    step = words > kLongest ? even_step(words, kStep) : words > 0 ? words : 1;
    s.n_step = s.n_block = smaller(kMostColumns, round_up(g.n, kCols));
    s.m_step = words > step ? smaller(kCarried, round_up(g.m, kRows)) : kRows;
    // Rows that lie side by side are packed several strips at a time, to use whole cache lines.
    if (g.a_row_stride == 1 && g.a_col_stride != 1) s.strips = smaller(8, ceil_div(g.m, kRows));
  }
  s.sums_stride = one_strip(g) ? s.n_block : s.n_step;
  s.k_step = step * kUnit;
  s.scratch_bytes = sizeof(float) * static_cast<size_t>(s.strips * step * kAStride +
                                                        s.n_step * step + s.m_step * s.n_block);
  return s;
}

inline Operand operand_a(const Block& block) {
  const GemmArgs& g = *block.args;
  return {block.a, g.a_dtype, g.a_as_bf16, g.a_row_stride, g.a_col_stride};
}
inline Operand operand_b(const Block& block) {
  const GemmArgs& g = *block.args;
  return {block.b, g.b_dtype, g.b_as_bf16, g.b_col_stride, g.b_row_stride};
}

// Rows [m, m + mn) cut into near-equal strips.
struct Strips {
  int64_t m, mn, count;
  Strips(int64_t begin, int64_t rows) : m(begin), mn(rows), count(ceil_div(rows, kRows)) {}
  int64_t first(int64_t strip) const { return m + mn * strip / count; }
  // Panels of some of them. Also takes rows that exist below: whole vectors are quicker to pack.
  Panels panels(const Block& block, int64_t strip, int64_t end) const {
    Panels p;
    p.count = static_cast<int>(end - strip);
    p.width = kAStride;
    p.limit = block.args->m;
    p.stride = block.blocking->k_step / kUnit * kAStride;
    for (int i = 0; i < p.count; ++i) p.first[i] = first(strip + i);
    return p;
  }
};

inline Panels column_panels(const Block& block, int64_t n, int64_t nn) {
  Panels p;
  p.count = static_cast<int>(ceil_div(nn, kCols));
  p.width = kCols;
  p.limit = n + nn;
  p.stride = block.blocking->k_step / kUnit * kCols;
  for (int i = 0; i < p.count; ++i) p.first[i] = n + i * kCols;
  return p;
}

inline void run_strip(const Block& block, Tile tile) {
  const GemmArgs& g = *block.args;
  const Blocking& s = *block.blocking;
  const Scratch at(s, block.scratch);
  const Operand a = operand_a(block), b = operand_b(block);
  const int64_t rows = block.m1 - block.m0, columns = block.n1 - block.n0;
  const Panels strip = Strips(block.m0, rows).panels(block, 0, 1);
  if (g.resume) load_sums(block, at.sums, s.n_block, block.m0, block.n0, rows, columns);
  int64_t k = 0;
  do {
    const int64_t kc = smaller(s.k_step, g.k - k);
    const int64_t ahead = k + 2 * s.k_step <= g.k ? s.k_step : 0;
    pack_words(a, strip, k, kc, 0, at.a);
    for (int64_t n = 0; n < columns; n += s.n_step) {
      const Panels panels = column_panels(block, block.n0 + n, smaller(s.n_step, columns - n));
      pack_words(b, panels, k, kc, ahead, at.b);
      for (int p = 0; p < panels.count; ++p)
        tile(at.a, at.b + p * panels.stride, at.sums + n + p * kCols, s.n_block,
             ceil_div(kc, kUnit), k == 0 && !g.resume);
    }
    k += s.k_step;
  } while (k < g.k);
  finish(block, at.sums, s.n_block, block.m0, block.n0, rows, columns);
}

// Sums that were put aside many tiles ago.
inline void prefetch_sums(const float* sums, int64_t ld, int64_t rows) {
  for (int64_t i = 0; i < rows; ++i)
    for (int j = 0; j < kCols; j += 16) _mm_prefetch(sums + i * ld + j, _MM_HINT_T0);
}

inline void word_run(const Block& block, const Tile* tiles) {
  const GemmArgs& g = *block.args;
  if (one_strip(g)) return run_strip(block, tiles[block.m1 - block.m0]);
  const Blocking& s = *block.blocking;
  const Scratch at(s, block.scratch);
  const Operand a = operand_a(block), b = operand_b(block);
  const int64_t n = block.n0, nn = block.n1 - block.n0, ld = s.n_step;
  const Panels columns = column_panels(block, n, nn);
  const bool split = g.k > s.k_step;
  const int64_t rows = block.m1 - block.m0, m_parts = split ? ceil_div(rows, s.m_step) : 1;
  for (int64_t part = 0; part < m_parts; ++part) {
    const Strips all(block.m0, rows);
    const int64_t begin = all.count * part / m_parts, end = all.count * (part + 1) / m_parts;
    int64_t k = 0;
    do {
      const int64_t kc = smaller(s.k_step, g.k - k), words = ceil_div(kc, kUnit);
      pack_words(b, columns, k, kc, 0, at.b);
      for (int64_t group = begin; group < end; group += s.strips) {
        const int64_t group_end = smaller(group + s.strips, end);
        const Panels strips = all.panels(block, group, group_end);
        pack_words(a, strips, k, kc, 0, at.a);
        for (int64_t strip = group; strip < group_end; ++strip) {
          const int64_t i = all.first(strip), in_strip = all.first(strip + 1) - i;
          float* const c = split ? at.sums + (i - all.first(begin)) * ld : at.sums;
          const float* const a_panel = at.a + (strip - group) * strips.stride;
          if (g.resume && k == 0) load_sums(block, c, ld, i, n, in_strip, nn);
          for (int p = 0; p < columns.count; ++p) {
            if (k > 0 && p + 1 < columns.count) prefetch_sums(c + (p + 1) * kCols, ld, in_strip);
            tiles[in_strip](a_panel, at.b + p * columns.stride, c + p * kCols, ld, words,
                            k == 0 && !g.resume);
          }
          if (k + kc >= g.k) finish(block, c, ld, i, n, in_strip, nn);
        }
      }
      k += s.k_step;
    } while (k < g.k);
  }
}

inline double word_peak(void* memory, int64_t repeats, Tile tile) {
  constexpr int64_t kSteps = 128;
  const float* a = static_cast<const float*>(memory);
  const float* b = a + kSteps * kAStride;
  float* c = static_cast<float*>(memory) + kPeakBytes / 8;
  for (int64_t i = 0; i < repeats; ++i) tile(a, b, c, kCols, kSteps, true);
  return 2.0 * kUnit * kRows * kCols * kSteps * static_cast<double>(repeats);
}

}  // namespace
}  // namespace corten::gemm_detail
