// Products of small blocks in L1 and L2, and packing into them. Included by the families' files after their simd header.
//
// A unit is what one lane of a vector holds along the summed axis: one float, or a pair of bf16. All blocks are arrays
// of units, stored as floats:
//   rows        [row][units], for the operand that is broadcast; zero-padded to whole vectors
//   across      [units][column]: the other operand, columns contiguous
#pragma once

#include "attention/block.h"

namespace corten::attention_detail {
namespace {

constexpr int kW = Simd::kWidth;
constexpr int kRows = 6;
constexpr int kTileVectors = Simd::kTileVectors;

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
// else a[row * lda + k]. With `scale`, C's rows are multiplied by scale[row] before the products are added; `first`:
// C starts at 0.
template <class U, bool kAcross, int R, int V>
void tile(const float* a, int64_t lda, const float* b, int64_t ldb, int64_t k, float* c, int64_t ldc, bool first,
          const float* scale) {
  Simd::F acc[R][V];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < V; ++j) acc[i][j] = first ? Simd::zero() : Simd::load(c + i * ldc + j * kW);
  if (scale)
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const Simd::F factor = Simd::broadcast(scale[i]);
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) acc[i][j] = Simd::mul(acc[i][j], factor);
    }
  for (int64_t step = 0; step < k; ++step) {
    Simd::F row[V];
#pragma GCC unroll 8
    for (int j = 0; j < V; ++j) row[j] = Simd::load(b + j * kW);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const Simd::F x = Simd::broadcast(kAcross ? a[i] : a[i * lda]);
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) acc[i][j] = U::mac(x, row[j], acc[i][j]);
    }
    a += kAcross ? lda : 1;
    b += ldb;
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < V; ++j) Simd::store(c + i * ldc + j * kW, acc[i][j]);
}

using Tile = void (*)(const float*, int64_t, const float*, int64_t, int64_t, float*, int64_t, bool, const float*);

template <class U, bool kAcross>
struct Tiles {
  template <int V>
  static constexpr Tile pick(int64_t rows) {
    constexpr Tile by_rows[kRows] = {tile<U, kAcross, 1, V>, tile<U, kAcross, 2, V>, tile<U, kAcross, 3, V>,
                                     tile<U, kAcross, 4, V>, tile<U, kAcross, 5, V>, tile<U, kAcross, 6, V>};
    return by_rows[rows - 1];
  }
  static Tile pick(int64_t rows, int64_t vectors) {
    if constexpr (kTileVectors >= 4) {
      if (vectors == 4) return pick<4>(rows);
      if (vectors == 3) return pick<3>(rows);
    }
    return vectors == 2 ? pick<2>(rows) : pick<1>(rows);
  }
};

// C (+)= A B for up to kRows rows and any number of vectors of columns.
template <class U, bool kAcross>
void product(int64_t rows, int64_t vectors, const float* a, int64_t lda, const float* b, int64_t ldb, int64_t k, float* c,
             int64_t ldc, bool first, const float* scale = nullptr) {
  for (int64_t v = 0; v < vectors; v += kTileVectors) {
    const Tile run = Tiles<U, kAcross>::pick(rows, smaller(kTileVectors, vectors - v));
    run(a, lda, b + v * kW, ldb, k, c + v * kW, ldc, first, scale);
  }
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
    for (int64_t u = 0; u < ld; u += kW) {
      if constexpr (U::kPair == 2)
        Simd::store(out + i * ld + u, U::load(static_cast<const uint16_t*>(row) + 2 * u, columns - 2 * u));
      else
        Simd::store(out + i * ld + u, load_as_float(row, dtype, u, columns - u));
    }
  }
  for (int64_t i = rows * ld; i < padded * ld; i += kW) Simd::store(out + i, Simd::zero());
}

// Rows of units, turned: out[unit][row], for `rows`, a multiple of the vector width, rows.
inline void turn(const float* rows_of_units, int64_t ld, int64_t rows, int64_t units, float* out, int64_t out_ld) {
  for (int64_t u = 0; u < units; u += kW)
    for (int64_t i = 0; i < rows; i += kW)
      Simd::transpose(rows_of_units + i * ld + u, ld, out + u * out_ld + i, out_ld);
}

// Rows of memory as units along the rows: out[row / kPair][columns], zero-padded to whole vectors and units.
template <class U>
void pack_across(const void* src, DType dtype, int64_t row_stride, int64_t rows, int64_t columns, float* out) {
  const int64_t ld = round_up(columns, kW);
  if constexpr (U::kPair == 2) {
    for (int64_t i = 0; i < rows; i += 2) {
      const auto* row = static_cast<const uint16_t*>(at(src, dtype, i * row_stride));
      const uint16_t* next = i + 1 < rows ? row + row_stride : nullptr;
      for (int64_t j = 0; j < ld; j += kW)
        Simd::store(out + i / 2 * ld + j, U::interleave(row + j, next ? next + j : nullptr, columns - j));
    }
  } else {
    pack_rows<U>(src, dtype, row_stride, rows, rows, columns, out);
  }
}

}  // namespace
}  // namespace corten::attention_detail
