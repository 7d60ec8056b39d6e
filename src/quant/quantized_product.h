// Products with quantised weights: y = x W^T + bias, W int8 or int4, the activations x rounded to
// int8 row by row. docs/design/quantisation.md says what is rounded and why.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/cpu.h"
#include "base/quantized_shape.h"
#include "base/thread_pool.h"
#include "corten/dtype.h"

namespace corten {

/// A row of x, of mean square q, is taken apart: elements beyond threshold * sqrt(q) are outliers
/// and are multiplied as they are, in float32; the others as integers a = round(x * (127 / max|x|))
/// with the row's scale s = max|x| / 127. Then
///
///   8 bits: y = scale * fma(sum of a w, s, sum over outliers of x w)
///   4 bits: y = fma(sum over groups of scale * (sum of a w in the group), s, sum over outliers of
///   x w scale)
///
/// with exact integer sums and one chain of fused multiply-adds per float sum, over ascending k;
/// then + bias, then rounding. A row's results depend on nothing but the row, and are the same bits
/// on every kernel family. A row whose mean square is no finite number gives NaN; one whose mean
/// square is at most 2^-100 has no outliers.
struct QuantizedArgs {
  QuantizedShape shape;
  float threshold = 6;  ///< 0: no outliers; else at least 1
  int64_t m = 0;
  const void* x = nullptr;  ///< [m, k], columns contiguous: f32, bf16 or f16
  int64_t x_row_stride = 0;
  const uint8_t* weight = nullptr;
  const void* scale = nullptr;
  const void* bias = nullptr;  ///< [n] or null
  void* y = nullptr;           ///< [m, n], columns contiguous
  int64_t y_row_stride = 0;
  DType x_dtype = DType::f32, bias_dtype = DType::f32, y_dtype = DType::f32;
};

/// Bytes of workspace that quantized_product() needs with `threads` threads. Usage error as
/// quantized_product().
size_t quantized_workspace_bytes(const QuantizedArgs& args, int threads,
                                 std::optional<Isa> isa = {});

/// Computes the product on the pool's threads. `workspace`: quantized_workspace_bytes(args,
/// pool.num_threads()) bytes at an address divisible by 64; nothing is allocated. Usage error for
/// shapes, dtypes and thresholds outside of the above.
void quantized_product(const QuantizedArgs& args, void* workspace, ThreadPool& pool,
                       std::optional<Isa> isa = {});

}  // namespace corten
