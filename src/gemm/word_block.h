// Products of packed 32-bit words, for any vector width: a word is one float, or two bf16 of adjacent
// k. Included by the families' files after their simd header, kRows, the rows of a register tile,
// and a pack header, which defines
//   kUnit           k per word
//   multiply_add()  the step of a chain, per lane
//   pack_words()    words from whatever dtype and layout an operand has
//
// A register tile is kRows x 2 vectors; per word it takes two vectors of B and kRows broadcasts of
// A. B is packed once per block and k step into panels of two vectors ([panel][word][kCols]), A per
// row strip and k step into [word][kAStride].
//
// What the tiles wait for is not the packed operands, which stream from L2, but what is met for the
// first time in a while: sums of an earlier k step, and A and B before they are packed. So sums lie
// in the order in which tiles visit them, and a tile's inner loop prefetches what will be needed,
// evenly: a burst of prefetches occupies all miss buffers, and B waits behind them.
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

// Sums of one register tile.
struct Sums {
  float* at;
  int64_t ld;
};

// Memory to prefetch: `step` bytes of it per word of a tile.
struct Stream {
  const void* at;
  int64_t step;
};

// One register tile over `words` steps, from the sums at `from`, or from zero if that is null.
// `near` is what the next tile will touch, `far` is needed later.
template <int R>
void tile(const float* a, const float* b, Sums from, Sums to, int64_t words, Stream near,
          Stream far) {
  Simd::F acc[R][2];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
    acc[i][0] = from.at ? Simd::load(from.at + i * from.ld) : Simd::zero();
    acc[i][1] = from.at ? Simd::load(from.at + i * from.ld + kVector) : Simd::zero();
  }
  const char* to_l1 = static_cast<const char*>(near.at);
  const char* to_l2 = static_cast<const char*>(far.at);
  for (int64_t w = 0; w < words; ++w) {
    const Simd::F b0 = Simd::load(b), b1 = Simd::load(b + kVector);
    _mm_prefetch(to_l1, _MM_HINT_T0);
    _mm_prefetch(to_l2, _MM_HINT_T1);
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Simd::F x = Simd::broadcast(a[i]);
      acc[i][0] = multiply_add(x, b0, acc[i][0]);
      acc[i][1] = multiply_add(x, b1, acc[i][1]);
    }
    a += kAStride;
    b += kCols;
    to_l1 += near.step;
    to_l2 += far.step;
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
    Simd::store(to.at + i * to.ld, acc[i][0]);
    Simd::store(to.at + i * to.ld + kVector, acc[i][1]);
  }
}

using Tile = void (*)(const float*, const float*, Sums, Sums, int64_t, Stream, Stream);

// One strip of rows uses B once: small pieces of it pass through L1, in long runs of memory.
inline bool one_strip(const GemmArgs& g) { return g.m <= kRows; }

// k steps of equal size, at most `most`.
inline int64_t even_step(int64_t words, int64_t most) {
  return words > 0 ? ceil_div(words, ceil_div(words, most)) : 1;
}

// A block's scratch: strips of A, the stationary part of B, a strip's sums as they are finished,
// and those that are carried, tile by tile.
struct Scratch {
  float *a, *b, *strip, *carried;
  Scratch(const Blocking& s, void* memory)
      : a(static_cast<float*>(memory)),
        b(a + s.strips * s.k_step / kUnit * kAStride),
        strip(b + s.n_step * s.k_step / kUnit),
        carried(strip + kRows * s.n_block) {}
};

// The stationary part of B is at most 768 KiB and streams from L2 past strips of A in L1. The wider
// it is, the more tiles use a strip of A that was packed, and the more rows are carried, the more
// use B; each is packed again for every part of the other. Sums are carried from one k step to the
// next through L3.
inline Blocking word_plan(const GemmArgs& g) {
  constexpr int64_t kLongest = 384, kStep = 256;  // words in one step, and in each of several
  constexpr int64_t kStationary = 768 * 256;      // words of B
  constexpr int64_t kCarried = 784 / kRows * kRows;
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
    s.m_step = 0;
    s.n_block = 1024;
  } else {
    step = words > kLongest ? even_step(words, kStep) : words > 0 ? words : 1;
    const int64_t columns = smaller(kStationary / step, 768) / kCols * kCols;
    s.n_step = s.n_block = smaller(columns, round_up(g.n, kCols));
    s.m_step = words > step ? smaller(kCarried, round_up(g.m, kRows)) : 0;
    // Rows that lie side by side are packed several strips at a time, to use whole cache lines.
    if (g.a_row_stride == 1 && g.a_col_stride != 1) s.strips = smaller(8, ceil_div(g.m, kRows));
  }
  s.sums_stride = s.n_block;
  s.k_step = step * kUnit;
  const int64_t sums = (kRows + s.m_step) * s.n_block;
  s.scratch_bytes =
      sizeof(float) * static_cast<size_t>(s.strips * step * kAStride + s.n_step * step + sums);
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
  if (g.resume) load_sums(block, at.strip, s.n_block, block.m0, block.n0, rows, columns);
  int64_t k = 0;
  do {
    const int64_t kc = smaller(s.k_step, g.k - k);
    const int64_t ahead = k + 2 * s.k_step <= g.k ? s.k_step : 0;
    pack_words(a, strip, k, kc, 0, at.a);
    for (int64_t n = 0; n < columns; n += s.n_step) {
      const Panels panels = column_panels(block, block.n0 + n, smaller(s.n_step, columns - n));
      pack_words(b, panels, k, kc, ahead, at.b);
      for (int p = 0; p < panels.count; ++p) {
        const Sums sums{at.strip + n + p * kCols, s.n_block};
        tile(at.a, at.b + p * panels.stride, k == 0 && !g.resume ? Sums{} : sums, sums,
             ceil_div(kc, kUnit), {sums.at, 0}, {sums.at, 0});
      }
    }
    k += s.k_step;
  } while (k < g.k);
  finish(block, at.strip, s.n_block, block.m0, block.n0, rows, columns);
}

// `runs` stretches of memory, of `bytes` each, `stride` bytes apart.
struct Runs {
  const char* at;
  int64_t bytes, stride, runs;
};

// Lanes [lane, lane + lanes) of an operand, k .. k + kc. None if they do not lie in runs.
inline Runs runs_of(const Operand& o, int64_t lane, int64_t lanes, int64_t k, int64_t kc) {
  const int64_t size = o.dtype == DType::f32 ? 4 : 2;
  const int64_t offset = lane * o.lane_stride + k * o.k_stride;
  const char* const at = static_cast<const char*>(o.data) + offset * size;
  if (o.k_stride == 1) return {at, kc * size, o.lane_stride * size, lanes};
  return {at, lanes * size, o.k_stride * size, o.lane_stride == 1 ? kc : 0};
}

// Runs of memory that are prefetched by several tiles, in equal parts.
class Trickle {
 public:
  void set(const Runs& r, int64_t tiles) {
    run_ = r.at;
    stride_ = r.stride;
    left_ = smaller(r.runs, tiles);
    pieces_ = left_ > 0 ? tiles / left_ : 1;
    const int64_t bytes = r.bytes + 63;  // runs need not begin with a line
    pieces_ = smaller(pieces_, ceil_div(bytes, 256));
    piece_bytes_ = round_up(ceil_div(bytes, pieces_), 64);
    piece_ = 0;
    lines_ = ceil_div(bytes, 64);
    line_ = 0;
    burst_ = ceil_div(r.runs * lines_, tiles);
    runs_ = r.runs;
  }
  // The next part, for a tile's inner loop.
  Stream stream(const void* otherwise, int64_t words) {
    if (left_ <= 0) return {otherwise, 0};
    const Stream s{run_ + piece_ * piece_bytes_, ceil_div(piece_bytes_, words)};
    if (++piece_ == pieces_) {
      piece_ = 0;
      run_ += stride_;
      --left_;
    }
    return s;
  }
  // The next part at once: for a few lines only.
  void burst() {
    for (int64_t i = 0; i < burst_ && runs_ > 0; ++i) {
      _mm_prefetch(run_ + line_ * 64, _MM_HINT_T1);
      if (++line_ < lines_) continue;
      line_ = 0;
      run_ += stride_;
      --runs_;
    }
  }

 private:
  const char* run_ = nullptr;
  int64_t stride_ = 0, left_ = 0, pieces_ = 1, piece_ = 0, piece_bytes_ = 0;
  int64_t runs_ = 0, lines_ = 0, line_ = 0, burst_ = 0;
};

inline void word_run(const Block& block, const Tile* tiles) {
  const GemmArgs& g = *block.args;
  if (one_strip(g)) return run_strip(block, tiles[block.m1 - block.m0]);
  const Blocking& s = *block.blocking;
  const Scratch at(s, block.scratch);
  const Operand a = operand_a(block), b = operand_b(block);
  const int64_t n = block.n0, nn = block.n1 - block.n0, ld = s.n_block;
  const Panels columns = column_panels(block, n, nn);
  const bool split = g.k > s.k_step;
  const int64_t rows = block.m1 - block.m0, m_parts = split ? ceil_div(rows, s.m_step) : 1;
  constexpr int64_t kTileSums = kRows * kCols;
  Trickle next_a, next_b, next_c;
  for (int64_t part = 0; part < m_parts; ++part) {
    const Strips all(block.m0, rows);
    const int64_t begin = all.count * part / m_parts, end = all.count * (part + 1) / m_parts;
    const auto raw_a = [&](int64_t group, int64_t k0) {
      const int64_t first = all.first(group), last = all.first(smaller(group + s.strips, end));
      return runs_of(a, first, last - first, k0, smaller(s.k_step, g.k - k0));
    };
    int64_t k = 0;
    do {
      const int64_t kc = smaller(s.k_step, g.k - k), words = ceil_div(kc, kUnit);
      const bool last = k + kc >= g.k;
      pack_words(b, columns, k, kc, 0, at.b);
      // B is needed next for the next k step, for the next part, or for the thread's next block.
      const int64_t part_tiles = (end - begin) * columns.count;
      if (!last)
        next_b.set(runs_of(b, n, nn, k + kc, smaller(s.k_step, g.k - k - kc)), part_tiles);
      else if (part + 1 < m_parts)
        next_b.set(runs_of(b, n, nn, 0, s.k_step), part_tiles);
      else
        next_b.set(runs_of(b, block.next_n0, block.next_n1 - block.next_n0, 0,
                           smaller(s.k_step, g.k)),
                   part_tiles);
      for (int64_t group = begin; group < end; group += s.strips) {
        const int64_t group_end = smaller(group + s.strips, end);
        const Panels strips = all.panels(block, group, group_end);
        pack_words(a, strips, k, kc, kNoPrefetch, at.a);
        const int64_t group_tiles = (group_end - group) * columns.count;
        if (group_end < end)
          next_a.set(raw_a(group_end, k), group_tiles);
        else if (!last)
          next_a.set(raw_a(begin, k + kc), group_tiles);
        for (int64_t strip = group; strip < group_end; ++strip) {
          const int64_t i = all.first(strip), in_strip = all.first(strip + 1) - i;
          float* const carried = at.carried + (strip - begin) * columns.count * kTileSums;
          const float* const a_panel = at.a + (strip - group) * strips.stride;
          const bool go_on = g.resume && k == 0;
          if (go_on) {
            load_sums(block, at.strip, ld, i, n, in_strip, nn);
            const char* const c = static_cast<const char*>(block.c);
            next_c.set({c + ((i + in_strip) * g.c_row_stride + n) * 4, nn * 4, g.c_row_stride * 4,
                        strip + 1 < end ? kRows : 0},
                       columns.count);
          }
          for (int p = 0; p < columns.count; ++p) {
            const Sums kept{carried + p * kTileSums, kCols}, finished{at.strip + p * kCols, ld};
            const Sums from = k > 0 ? kept : go_on ? finished : Sums{};
            Stream near{finished.at, 0};
            if (go_on)
              near = next_c.stream(finished.at, words);
            else if (split)
              near = {kept.at + kTileSums, ceil_div(4 * kTileSums, words)};
            next_a.burst();
            tiles[in_strip](a_panel, at.b + p * columns.stride, from, last ? finished : kept, words,
                            near, next_b.stream(near.at, words));
          }
          if (last) finish(block, at.strip, ld, i, n, in_strip, nn);
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
  for (int64_t i = 0; i < repeats; ++i) tile(a, b, {}, {c, kCols}, kSteps, {c, 0}, {c, 0});
  return 2.0 * kUnit * kRows * kCols * kSteps * static_cast<double>(repeats);
}

}  // namespace
}  // namespace corten::gemm_detail
