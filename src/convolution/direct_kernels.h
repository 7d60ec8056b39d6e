// What direct convolutions (src/convolution/direct.h) are made of, for each instruction set.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "corten/dtype.h"

namespace corten::convolution_detail {

/// Sums over kernel elements ("taps") for a rectangle of results.
struct TapSums {
  const float* in = nullptr;           ///< f32, padded
  int64_t in_step = 0;                 ///< floats between what neighbouring rows of results read
  const int64_t* offsets = nullptr;    ///< of what each tap reads for the first result, in floats
  const float* weights = nullptr;      ///< of each tap
  int64_t taps = 0;
  /// > 0: taps are planes of this many rows of `grid_columns`, each of which reads in_step behind the former, so that neighbouring
  /// rows of results share what they read.
  int64_t grid_rows = 0, grid_columns = 0;
  int64_t rows = 0, columns = 0;       ///< of results; `in` may be read kOverread floats beyond them
  float bias = 0;                      ///< added to the sum, if has_bias
  bool has_bias = false;
  DType dtype = DType::f32;            ///< of out
  void* out = nullptr;
  int64_t out_step = 0;                ///< elements between rows
};
/// The same the other way round: sums over a rectangle for each tap.
struct WeightSums {
  const float* in = nullptr;
  int64_t in_step = 0;
  const int64_t* offsets = nullptr;
  int64_t taps = 0;
  const float* g = nullptr;            ///< f32 gradients of the results
  int64_t g_step = 0;                  ///< floats between rows
  int64_t rows = 0, columns = 0;
  float* lanes = nullptr;              ///< [taps, kLanes]: sums so far, by column modulo kLanes
};
constexpr int64_t kLanes = 16, kOverread = 64;

/// Part of a plane of elements, laid out as padded rows of floats. With `phases` > 1 columns c, c +
/// phases, c + 2 phases, ... of a row lie side by side, `pitch` floats behind those of c - 1.
struct PaddedRows {
  const void* plane = nullptr;
  DType dtype = DType::f32;
  int64_t row_stride = 0, height = 0, width = 0;  ///< of the plane, in elements
  int64_t first_row = 0, rows = 0;                ///< of the plane; those outside are zeros
  int64_t first_column = 0, columns = 0;
  int64_t phases = 1, pitch = 0;
  float* out = nullptr;                           ///< [rows, phases, pitch]
  float* scratch = nullptr;                       ///< [width], if there are phases of 16-bit elements
};

struct DirectKernels {
  /// Each result is one chain of fused multiply-adds from 0 on over ascending taps.
  void (*sum_taps)(const TapSums&);
  /// Each lane is one chain over ascending rows and columns, which goes on from its value.
  void (*sum_weights)(const WeightSums&);
  void (*pad_rows)(const PaddedRows&);
  void (*widen)(const uint16_t* from, DType dtype, int64_t count, float* to);
};
const DirectKernels& direct_kernels(Isa isa);

extern const DirectKernels kDirectKernelsAvx2, kDirectKernelsAvx512;

}  // namespace corten::convolution_detail
