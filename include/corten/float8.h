// Training with products of 8-bit floats, whose tensor cores are twice as fast as those of bf16: on NVIDIA GPUs of
// compute capability 8.9 and later. Elsewhere the same numbers are multiplied in bf16, which holds them all.
//
//   auto model = AutoModelForCausalLM::from_config("folder");
//   nn::convert_to_float8_training(*model);  // corten/nn.h
//
// The recipe is torchao's with tensorwise scales (docs/design/mixed-precision.md).
#pragma once

#include "corten/ops.h"

namespace corten {

/// x = values * scale, nearly.
struct Float8Tensor {
  Tensor values;  ///< f8_e4m3 or f8_e5m2
  Tensor scale;   ///< f32 []
};
/// One scale for the whole tensor, so that its largest magnitude becomes the type's: 448 or 57344. x: f32, bf16 or f16 with
/// at least one element. No gradient.
Float8Tensor to_float8(const Tensor& x, DType dtype = DType::f8_e4m3, At at = At::current());

/// scale_a scale_b a b with f32 sums, rounded to `out_dtype` (f32, bf16, f16): a [m, k], b [k, n] of 8-bit floats, scales f32 [].
/// As torch._scaled_mm. No gradient. Tensor cores take products with k and n in multiples of 16 and at most one f8_e5m2 operand;
/// others are computed in bf16. They are fastest with row-major a and column-major b, which others are copied to.
Tensor scaled_matmul(const Tensor& a, const Tensor& b, const Tensor& scale_a, const Tensor& scale_b,
                     DType out_dtype = DType::bf16, At at = At::current());

/// x [..., in], weight [out, in], bias [out] or undefined, in x's dtype (in that of an Autocast scope, as linear()): x and weight are
/// multiplied as f8_e4m3. Differentiable: the result's gradient is multiplied as f8_e5m2, weight and bias may be f32
/// masters, whose gradients are f32 then.
Tensor float8_linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, At at = At::current());
/// The same with weight [in, out].
Tensor conv1d_float8_linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, At at = At::current());

}  // namespace corten
