#include "quant/pack_weights.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "base/format.h"
#include "base/half.h"
#include "quant/pack_panel.h"

namespace corten {
namespace {

float element(const FloatWeights& w, int64_t at) {
  switch (w.dtype) {
    case DType::f32:
      return static_cast<const float*>(w.data)[at];
    case DType::bf16:
      return from_bf16(static_cast<const uint16_t*>(w.data)[at]);
    default:
      return from_f16(static_cast<const uint16_t*>(w.data)[at]);
  }
}

}  // namespace

void quantize_weights(const QuantizedShape& shape, const FloatWeights& from, uint8_t* weight,
                      void* scale, ThreadPool& pool) {
  check(shape);
  if (from.dtype != DType::f32 && from.dtype != DType::bf16 && from.dtype != DType::f16)
    usage_error("[quantize] weights are f32, bf16 or f16, not {}", name(from.dtype));
  const int64_t padded = shape.padded_k(), threads = pool.num_threads();
  const auto row_size = static_cast<size_t>(kPanelColumns * padded);
  std::vector<float> buffers(static_cast<size_t>(threads) * row_size);
  std::atomic<bool> finite{true};
  pool.parallel_for(shape.panels(), [&](int64_t panel, int worker) {
    float* const w = buffers.data() + static_cast<size_t>(worker) * row_size;
    std::fill_n(w, row_size, 0.0f);
    const int64_t first = panel * kPanelColumns, columns = std::min(kPanelColumns, shape.n - first);
    // The longer runs of memory inside.
    if (from.k_stride == 1) {
      for (int64_t j = 0; j < columns; ++j)
        for (int64_t k = 0; k < shape.k; ++k)
          w[j * padded + k] = element(from, (first + j) * from.n_stride + k);
    } else {
      for (int64_t k = 0; k < shape.k; ++k)
        for (int64_t j = 0; j < columns; ++j)
          w[j * padded + k] = element(from, (first + j) * from.n_stride + k * from.k_stride);
    }
    uint8_t* const out = weight + panel * shape.panel_bytes();
    const bool good =
        shape.bits == 8
            ? quant_detail::pack_panel8(w, padded, out, static_cast<float*>(scale) + first)
            : quant_detail::pack_panel4(
                  w, padded, shape.group, out,
                  static_cast<uint16_t*>(scale) + panel * shape.groups() * kPanelColumns);
    if (!good) finite = false;
  });
  if (!finite)
    usage_error(
        "[quantize] the weights [{}, {}] hold values that are no finite numbers of the scale's "
        "range",
        shape.n, shape.k);
}

void dequantize_weights(const QuantizedShape& shape, const uint8_t* weight, const void* scale,
                        float* out, ThreadPool& pool) {
  check(shape);
  pool.parallel_for(shape.n, [&](int64_t n, int) {
    const int64_t panel = n / kPanelColumns, column = n % kPanelColumns;
    const uint8_t* const b = weight + panel * shape.panel_bytes() + column * 4;
    for (int64_t k = 0; k < shape.k; ++k) {
      float& value = out[n * shape.k + k];
      if (shape.bits == 8) {
        value =
            static_cast<float>(b[k / 4 * 64 + k % 4] - 128) * static_cast<const float*>(scale)[n];
        continue;
      }
      const int q = b[k / 8 * 64 + k % 4] >> (k / 4 % 2 * 4) & 15;
      const int64_t at = (panel * shape.groups() + k / shape.group) * kPanelColumns + column;
      value = static_cast<float>(q - 8) * from_f16(static_cast<const uint16_t*>(scale)[at]);
    }
  });
}

}  // namespace corten
