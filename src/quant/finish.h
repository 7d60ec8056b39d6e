// From the sums of a strip to y: outliers, scales, bias, rounding, storing. Included by the
// families' files after their simd header and weights_at(p, shift, mask, offset): of kWidth
// outputs, the values ((32 bits at p) >> shift & mask) - offset.
#pragma once

#include "quant/block.h"

namespace corten::quant_detail {
namespace {

using gemm_detail::Simd;

inline Simd::F load_as_f32(const void* p, DType dtype, int64_t at, int count) {
  if (dtype == DType::f32) return Simd::load(static_cast<const float*>(p) + at, count);
  return Simd::load16(static_cast<const uint16_t*>(p) + at, dtype, count);
}

// The sum over a row's outliers of x w, or of x (w scale) where there are groups.
inline Simd::F outlier_sum(const QuantizedArgs& g, const Rows& rows, int64_t row, int64_t panel,
                           int64_t column) {
  const QuantizedShape& s = g.shape;
  Simd::F sum = Simd::zero();
  const int32_t* const at = rows.outlier_k + row * rows.most_outliers;
  const float* const x = rows.outlier_x + row * rows.most_outliers;
  const uint8_t* const b = g.weight + panel * s.panel_bytes() + column * 4;
  for (int32_t i = 0; i < rows.outliers[row]; ++i) {
    const int64_t k = at[i];
    const int byte = 8 * static_cast<int>(k % 4);
    if (s.bits == 8) {
      sum = Simd::fma(Simd::broadcast(x[i]), weights_at(b + k / 4 * 64, byte, 0xff, 128), sum);
      continue;
    }
    const Simd::F w = weights_at(b + k / 8 * 64, byte + 4 * static_cast<int>(k / 4 % 2), 0xf, 8);
    const uint16_t* const scale = static_cast<const uint16_t*>(g.scale) +
                                  (panel * s.groups() + k / s.group) * kPanelColumns + column;
    sum = Simd::fma(Simd::broadcast(x[i]), Simd::mul(w, Simd::load16(scale, DType::f16)), sum);
  }
  return sum;
}

inline void finish(const Finish& f) {
  const QuantizedArgs& g = *f.args;
  constexpr int kW = Simd::kWidth;
  const int64_t first = f.panel * kPanelColumns;
  const int64_t columns =
      g.shape.n - first < f.panels * kPanelColumns ? g.shape.n - first : f.panels * kPanelColumns;
  for (int64_t i = 0; i < f.count; ++i) {
    const int64_t row = f.row + i;
    const Simd::F scale = Simd::broadcast(f.rows->scale[row]);
    for (int64_t j = 0; j < columns; j += kW) {
      const int count = columns - j < kW ? static_cast<int>(columns - j) : kW;
      const Simd::F outliers =
          f.rows->outliers[row] > 0
              ? outlier_sum(g, *f.rows, row, f.panel + j / kPanelColumns, j % kPanelColumns)
              : Simd::zero();
      Simd::F y = Simd::fma(Simd::load(f.tile + i * kTileColumns + j), scale, outliers);
      if (g.shape.bits == 8)
        y = Simd::mul(y, Simd::load(static_cast<const float*>(g.scale) + first + j));
      if (g.bias) y = Simd::add(y, load_as_f32(g.bias, g.bias_dtype, first + j, count));
      const int64_t at = row * g.y_row_stride + first + j;
      if (g.y_dtype == DType::f32)
        Simd::store(static_cast<float*>(g.y) + at, y, count);
      else
        Simd::store16(static_cast<uint16_t*>(g.y) + at, y, g.y_dtype, count);
    }
  }
}

}  // namespace
}  // namespace corten::quant_detail
