// The public operations on 8-bit floats.
#include "base/format.h"
#include "corten/float8.h"
#include "ops/functions.h"
#include "runtime/tensor_impl.h"

namespace corten {

using ir::Value;
using runtime::value_of;
using runtime::wrap;

#define SOURCE ir::SourceScope source_scope(runtime::source(at))

namespace {

Tensor affine(const Tensor& x, const Tensor& weight, const Tensor& bias, bool transposed) {
  Value in = value_of(x);
  if (is_autocast_enabled() && (in.dtype() == DType::f32 || size_of(in.dtype()) == 2)) in = ops::cast(in, get_autocast_dtype());
  return wrap(ops::float8_linear(in, value_of(weight), bias.defined() ? value_of(bias) : Value(), transposed));
}

}  // namespace

Float8Tensor to_float8(const Tensor& x, DType dtype, At at) {
  SOURCE;
  const NoGradGuard no_grad;
  auto [values, scale] = ops::float8_scaled(value_of(x), dtype);
  return {wrap(values), wrap(scale)};
}

Tensor scaled_matmul(const Tensor& a, const Tensor& b, const Tensor& scale_a, const Tensor& scale_b, DType out_dtype, At at) {
  SOURCE;
  return wrap(ops::scaled_matmul(value_of(a), value_of(b), value_of(scale_a), value_of(scale_b), out_dtype));
}

Tensor float8_linear(const Tensor& x, const Tensor& weight, const Tensor& bias, At at) {
  SOURCE;
  return affine(x, weight, bias, true);
}
Tensor conv1d_float8_linear(const Tensor& x, const Tensor& weight, const Tensor& bias, At at) {
  SOURCE;
  return affine(x, weight, bias, false);
}

}  // namespace corten
