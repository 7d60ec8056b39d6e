// Linear layers with int8 or int4 weights.
//
//   auto model = load_model("folder", {.load_in_8bit = true});   // corten/models.h
//   QuantizedTensor w = quantize(weight, {.bits = 4});
//   Tensor y = quantized_linear(x, w, bias);
//
// docs/design/quantisation.md says what is rounded, when, and why.
#pragma once

#include <cstdint>

#include "corten/tensor.h"

namespace corten {

/// How weights are quantised.
struct Quantization {
  int64_t bits =
      8;  ///< 8: int8, one scale per output. 4: int4, one scale per group_size inputs of an output
  int64_t group_size = 0;  ///< of 4 bits: 32, 64 or 128; 0: 32. None with 8 bits
  /// Activations beyond this many root mean squares of their token are multiplied as they are, the
  /// others as int8 (LLM.int8(), Dettmers et al., 2022). At least 1; 0: none are.
  double outlier_threshold = 6;
  bool operator==(const Quantization&) const = default;
};
/// Usage error for values outside of the above.
void check_quantization(const Quantization& how);
/// The names that transformers has for them.
inline Quantization load_in_8bit(double llm_int8_threshold = 6) {
  return {.bits = 8, .outlier_threshold = llm_int8_threshold};
}
inline Quantization load_in_4bit(int64_t group_size = 0) {
  return {.bits = 4, .group_size = group_size};
}

/// Weights [out, in] in the layout of the kernels.
struct QuantizedTensor {
  Tensor weight;  ///< u8 [panels, bytes]
  Tensor scale;   ///< 8 bits: f32 [panels, 16]; 4 bits: f16 [panels, groups, 16]
  int64_t out = 0, in = 0;
  Quantization how;
  bool defined() const { return weight.defined(); }
};

/// Room for weights [out, in]: zeros.
QuantizedTensor make_quantized(int64_t out, int64_t in, const Quantization& how);
/// Writes weights of elements [n * out_stride + k * in_stride] into it. Usage error if one is no
/// finite number.
void quantize_into(const QuantizedTensor& to, const void* data, DType dtype, int64_t out_stride,
                   int64_t in_stride);
/// Of a weight [out, in], or [in, out] if `transposed`: f32, bf16 or f16.
QuantizedTensor quantize(const Tensor& weight, const Quantization& how, bool transposed = false);
/// The weights [out, in] that it stands for, f32.
Tensor dequantize(const QuantizedTensor& tensor);

/// x [..., in] W^T + bias [out], in x's dtype. No gradient.
Tensor quantized_linear(const Tensor& x, const QuantizedTensor& weight, const Tensor& bias = {},
                        At at = At::current());
/// Rows of 8-bit weights named by integer ids [...]: [..., in], in `dtype`.
Tensor quantized_embedding(const Tensor& ids, const QuantizedTensor& weight, DType dtype,
                           At at = At::current());

}  // namespace corten
