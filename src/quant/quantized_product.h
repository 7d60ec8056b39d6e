// Products with quantised weights: y = x W^T + bias, W int8 or int4, the activations x rounded to int8 row by row.
// docs/design/quantisation.md says what is rounded and why.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "corten/dtype.h"

namespace corten {

/// Outputs whose weights lie side by side.
inline constexpr int64_t kPanelColumns = 16;

/// Weights [n, k] of a linear layer as they lie in memory: unsigned bytes, by panels of 16 outputs, each panel by runs of 4
/// consecutive k of all its outputs.
///
///   8 bits: byte [panel][k / 4][output][k % 4] is the weight + 128; one f32 scale per output.
///   4 bits: byte [panel][k / 8][output][k % 4] holds the weights + 8 of k (low half) and of k + 4 (high half); one f16 scale
///           [panel][k / group][output] per `group` values of k.
///
/// What pads n to whole panels and k to padded_k() counts as weights of 0.
struct QuantizedShape {
  int bits = 8;
  int64_t group = 0;  ///< of 4 bits: 32, 64 or 128; of 8 bits: 0
  int64_t n = 0, k = 0;

  int64_t panels() const { return (n + kPanelColumns - 1) / kPanelColumns; }
  int64_t padded_k() const {
    const int64_t unit = group > 64 ? group : 64;
    return (k + unit - 1) / unit * unit;
  }
  int64_t groups() const { return bits == 4 ? padded_k() / group : 1; }
  int64_t panel_bytes() const { return kPanelColumns * padded_k() * bits / 8; }
  int64_t weight_bytes() const { return panels() * panel_bytes(); }
  int64_t scale_count() const { return panels() * groups() * kPanelColumns; }
  DType scale_dtype() const { return bits == 4 ? DType::f16 : DType::f32; }
};
/// Usage error for sizes and groups outside of the above.
void check(const QuantizedShape& shape);

/// A row of x, of mean square q, is taken apart: elements beyond threshold * sqrt(q) are outliers and are multiplied as they are,
/// in float32; the others as integers a = round(x * (127 / max|x|)) with the row's scale s = max|x| / 127. Then
///
///   8 bits: y = scale * fma(sum of a w, s, sum over outliers of x w)
///   4 bits: y = fma(sum over groups of scale * (sum of a w in the group), s, sum over outliers of x w scale)
///
/// with exact integer sums and one chain of fused multiply-adds per float sum, over ascending k; then + bias, then rounding. A row's
/// results depend on nothing but the row, and are the same bits on every kernel family. A row whose mean square is no finite number
/// gives NaN; one whose mean square is at most 2^-100 has no outliers.
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

/// Bytes of workspace that quantized_product() needs with `threads` threads. Usage error as quantized_product().
size_t quantized_workspace_bytes(const QuantizedArgs& args, int threads, std::optional<Isa> isa = {});

/// Computes the product on the pool's threads. `workspace`: quantized_workspace_bytes(args, pool.num_threads()) bytes at an
/// address divisible by 64; nothing is allocated. Usage error for shapes, dtypes and thresholds outside of the above.
void quantized_product(const QuantizedArgs& args, void* workspace, ThreadPool& pool, std::optional<Isa> isa = {});

}  // namespace corten
