// From float weights to the quantised ones of quantized_product.h and back.
#pragma once

#include "base/thread_pool.h"
#include "quant/quantized_product.h"

namespace corten {

/// Weights as they are: element (output n, k) is data[n * n_stride + k * k_stride].
struct FloatWeights {
  const void* data = nullptr;
  DType dtype = DType::f32;  ///< f32, bf16 or f16
  int64_t n_stride = 0, k_stride = 1;
};

/// 8 bits: scale = max|w| / 127 of each output, rounded to nearest. 4 bits: per group, the f16
/// scale of the least square error among max|w| / d for several d and their least-squares
/// corrections. Usage error for shapes as quantized_product(), and for weights that are no finite
/// numbers.
void quantize_weights(const QuantizedShape& shape, const FloatWeights& from, uint8_t* weight,
                      void* scale, ThreadPool& pool);

/// The float32 values that quantised weights stand for: out [n, k].
void dequantize_weights(const QuantizedShape& shape, const uint8_t* weight, const void* scale,
                        float* out, ThreadPool& pool);

}  // namespace corten
