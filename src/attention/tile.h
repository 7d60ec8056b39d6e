// Products of small blocks in L1 and L2, and packing into them. Included by the families' files after their simd header.
//
// A unit is what one lane of a vector holds along the summed axis: one float, or a pair of bf16. All blocks are arrays
// of units, stored as floats:
//   rows        [row][units], for the operand that is broadcast; zero-padded to whole vectors
//   across      [panel][unit][kCols]: the other operand, columns contiguous, in panels of two vectors
#pragma once

#include <utility>

#include "attention/block.h"

namespace corten::attention_detail {
namespace {

constexpr int kW = Simd::kWidth;
constexpr int kRows = Simd::kTileRows;
constexpr int kCols = 2 * kW;

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
inline int64_t round_up(int64_t x, int64_t unit) { return ceil_div(x, unit) * unit; }

/// Units of one float. bf16 and f16 are widened.
struct Floats {
  static constexpr int kPair = 1;
  static Simd::F mac(Simd::F a, Simd::F b, Simd::F acc) { return Simd::fma(a, b, acc); }
};

// One register tile: C (+)= A B over k units, R rows by V vectors. kAcross: element (row, k) of A is a[k * lda + row],
// else a[row * lda + k]; B's panels are `panel` apart. With `scale`, C's rows are multiplied by scale[row] before the
// products are added; `first`: C starts at 0. With `most`, row i's lanes take part in the maxima most[i * kW ..].
template <class U, bool kAcross, int R, int V>
void tile(const float* a, int64_t lda, const float* b, int64_t panel, int64_t k, float* c, int64_t ldc, bool first,
          const float* scale, float* most) {
  Simd::F acc[R][V];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < V; ++j) acc[i][j] = first ? Simd::zero() : Simd::load(c + i * ldc + j * kW);
  if (scale)
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Simd::F factor = Simd::broadcast(scale[i]);
#pragma GCC unroll 4
      for (int j = 0; j < V; ++j) acc[i][j] = Simd::mul(acc[i][j], factor);
    }
  for (int64_t step = 0; step < k; ++step) {
    Simd::F row[V];
#pragma GCC unroll 4
    for (int j = 0; j < V; ++j) row[j] = Simd::load(b + j / 2 * panel + j % 2 * kW);
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Simd::F x = Simd::broadcast(kAcross ? a[i] : a[i * lda]);
#pragma GCC unroll 4
      for (int j = 0; j < V; ++j) acc[i][j] = U::mac(x, row[j], acc[i][j]);
    }
    a += kAcross ? lda : 1;
    b += kCols;
  }
  if (most)
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      Simd::F x = Simd::load(most + i * kW);
#pragma GCC unroll 4
      for (int j = 0; j < V; ++j) x = Simd::max(x, acc[i][j]);
      Simd::store(most + i * kW, x);
    }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < V; ++j) Simd::store(c + i * ldc + j * kW, acc[i][j]);
}

using Tile = void (*)(const float*, int64_t, const float*, int64_t, int64_t, float*, int64_t, bool, const float*, float*);

// Tiles of 1 to `kMost` rows and V vectors.
template <class U, bool kAcross, int V, int kMost>
struct Tiles {
  Tile by_rows[kMost];
  constexpr Tiles() : by_rows{} { set(std::make_integer_sequence<int, kMost>()); }
  template <int... R>
  constexpr void set(std::integer_sequence<int, R...>) {
    ((by_rows[R] = tile<U, kAcross, R + 1, V>), ...);
  }
};

// C (+)= A B for up to kRows rows and any number of vectors of columns. Few rows are multiplied with two panels at a time.
template <class U, bool kAcross>
void product(int64_t rows, int64_t vectors, const float* a, int64_t lda, const float* b, int64_t panel, int64_t k, float* c,
             int64_t ldc, bool first, const float* scale = nullptr, float* most = nullptr) {
  static constexpr Tiles<U, kAcross, 1, kRows> one;
  static constexpr Tiles<U, kAcross, 2, kRows> two;
  if constexpr (Simd::kLowRows > 0) {
    static constexpr Tiles<U, kAcross, 3, Simd::kLowRows> three;
    static constexpr Tiles<U, kAcross, 4, Simd::kLowRows> four;
    if (rows <= Simd::kLowRows)
      for (; vectors > 2; vectors -= 4, b += 2 * panel, c += 2 * kCols) {
        const Tile run = (vectors == 3 ? three.by_rows : four.by_rows)[rows - 1];
        run(a, lda, b, panel, k, c, ldc, first, scale, most);
      }
  }
  for (; vectors > 0; vectors -= 2, b += panel, c += kCols) {
    const Tile run = (vectors == 1 ? one.by_rows : two.by_rows)[rows - 1];
    run(a, lda, b, panel, k, c, ldc, first, scale, most);
  }
}

// Rows i0 .. i0 + rows in near-equal strips of at most kRows, each but the last a multiple of `unit`.
inline int64_t strip_rows(int64_t rows, int64_t unit) {
  return rows > 0 ? smaller(kRows / unit * unit, round_up(ceil_div(rows, ceil_div(rows, kRows)), unit)) : 1;
}

inline const void* at(const void* p, DType dtype, int64_t i) {
  return static_cast<const char*>(p) + i * (dtype == DType::f32 ? 4 : 2);
}
inline void* row_of(const AttentionTensor& t, DType dtype, int64_t row) {
  return static_cast<char*>(t.data) + row * t.row_stride * (dtype == DType::f32 ? 4 : 2);
}
inline Simd::F load_as_float(const void* p, DType dtype, int64_t i, int64_t count) {
  if (dtype == DType::f32) return Simd::load(static_cast<const float*>(p) + i, count);
  return Simd::load16(static_cast<const uint16_t*>(p) + i, dtype, count);
}
inline void store_from_float(void* p, DType dtype, int64_t i, Simd::F x, int64_t count) {
  if (dtype == DType::f32) return Simd::store(static_cast<float*>(p) + i, x, count);
  Simd::store16(static_cast<uint16_t*>(p) + i, x, dtype, count);
}

// Rows far apart lie in pages of their own, which the processor does not fetch ahead.
constexpr int64_t kAhead = 8;
inline void prefetch_row(const void* p, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) _mm_prefetch(static_cast<const char*>(p) + i, _MM_HINT_T0);
}

// Rows that are read next, fetched into L2 a few at a time while something else is computed.
class Ahead {
 public:
  void start(const AttentionTensor& t, DType dtype, int64_t first, int64_t rows, int64_t columns) {
    const int64_t size = dtype == DType::f32 ? 4 : 2;
    at_ = static_cast<const char*>(t.data) + first * t.row_stride * size;
    stride_ = t.row_stride * size;
    rows_ = rows;
    bytes_ = columns * size;
  }
  void fetch(int64_t rows) {
    for (; rows > 0 && rows_ > 0; --rows, --rows_, at_ += stride_)
      for (int64_t i = 0; i < bytes_; i += 64) _mm_prefetch(at_ + i, _MM_HINT_T1);
  }

 private:
  const char* at_ = nullptr;
  int64_t stride_ = 0, rows_ = 0, bytes_ = 0;
};

// Units per row of a packed block with `columns` numbers along the row.
template <class U>
int64_t row_units(int64_t columns) {
  return round_up(ceil_div(columns, U::kPair), kW);
}

// `rows` rows of memory as rows of units, then rows of zeros up to `padded`.
template <class U>
void pack_rows(const void* src, DType dtype, int64_t row_stride, int64_t rows, int64_t padded, int64_t columns, float* out) {
  const int64_t ld = row_units<U>(columns);
  for (int64_t i = 0; i < rows; ++i) {
    const void* row = at(src, dtype, i * row_stride);
    prefetch_row(at(src, dtype, (i + kAhead) * row_stride), columns * (dtype == DType::f32 ? 4 : 2));
    for (int64_t u = 0; u < ld; u += kW) {
      if constexpr (U::kPair == 2)
        Simd::store(out + i * ld + u, U::load(static_cast<const uint16_t*>(row) + 2 * u, columns - 2 * u));
      else
        Simd::store(out + i * ld + u, load_as_float(row, dtype, u, columns - u));
    }
  }
  for (int64_t i = rows * ld; i < padded * ld; i += kW) Simd::store(out + i, Simd::zero());
}

// Rows of units, turned: panels of `units` units, column = row; for `rows`, a multiple of the vector width, rows.
inline void turn(const float* rows_of_units, int64_t rows, int64_t units, float* out) {
  for (int64_t i = 0; i < rows; i += kW)
    for (int64_t u = 0; u < units; u += kW)
      Simd::transpose(rows_of_units + i * units + u, units, out + i / kCols * units * kCols + u * kCols + i % kCols, kCols);
}

// Packed rows as what pack_across takes.
template <class U>
constexpr DType kPacked = U::kPair == 2 ? DType::bf16 : DType::f32;

// Floats in panels of `columns`.
inline int64_t panels_width(int64_t columns) { return round_up(columns, kCols); }

// Rows of memory as units along the rows, in panels of columns of `depth` units, zero-padded to whole vectors and units.
template <class U>
void pack_across(const void* src, DType dtype, int64_t row_stride, int64_t rows, int64_t columns, int64_t depth, float* out) {
  const int64_t width = round_up(columns, kW);
  if constexpr (U::kPair == 2) {
    const auto* row = static_cast<const uint16_t*>(src);
    for (int64_t i = 0; i < rows; i += 2, row += 2 * row_stride) {
      prefetch_row(row + kAhead * row_stride, 2 * columns);
      prefetch_row(row + (kAhead + 1) * row_stride, 2 * columns);
      const uint16_t* next = i + 1 < rows ? row + row_stride : nullptr;
      float* to = out + i / 2 * kCols;
      int64_t j = 0;
      for (; next && j + kCols <= columns; j += kCols) U::interleave(row + j, next + j, to + j * depth);
      for (; j < width; j += kW)
        Simd::store(to + j / kCols * kCols * depth + j % kCols,
                    U::interleave_part(row + j, next ? next + j : nullptr, columns - j));
    }
  } else {
    for (int64_t i = 0; i < rows; ++i) {
      const void* row = at(src, dtype, i * row_stride);
      prefetch_row(at(src, dtype, (i + kAhead) * row_stride), columns * (dtype == DType::f32 ? 4 : 2));
      for (int64_t j = 0; j < width; j += kW)
        Simd::store(out + j / kCols * kCols * depth + i * kCols + j % kCols, load_as_float(row, dtype, j, columns - j));
    }
  }
}

}  // namespace
}  // namespace corten::attention_detail
