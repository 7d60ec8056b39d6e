#include "corten/quantize.h"

#include "base/format.h"
#include "base/quantized_shape.h"
#include "base/thread_pool.h"
#include "ops/functions.h"
#include "quant/pack_weights.h"
#include "runtime/allocator.h"
#include "runtime/tensor_impl.h"

namespace corten {
namespace {

constexpr int64_t kDefaultGroup = 32;

QuantizedShape shape_of(int64_t out, int64_t in, const Quantization& how) {
  return {static_cast<int>(how.bits),
          how.bits == 4 && how.group_size == 0 ? kDefaultGroup : how.group_size, out, in};
}
QuantizedShape shape_of(const QuantizedTensor& t) {
  return shape_of(t.out, t.in, t.how);
}

/// Of tensors with storage of their own.
char* data_of(const Tensor& tensor) {
  const ir::Value value = runtime::concrete_value(tensor, "quantize", At::current());
  return static_cast<char*>(value->buffer->data()) +
         value->layout.offset * static_cast<int64_t>(size_of(value.dtype()));
}

}  // namespace

void check_quantization(const Quantization& how) {
  if (how.bits != 8 && how.bits != 4) usage_error("[quantize] {} bits: use 8 or 4", how.bits);
  check(shape_of(1, 1, how));
  if (!(how.outlier_threshold == 0 || (how.outlier_threshold >= 1 && how.outlier_threshold < 1e6)))
    usage_error("[quantize] the outlier threshold {} is neither 0 (no outliers) nor at least 1",
                how.outlier_threshold);
}

QuantizedTensor make_quantized(int64_t out, int64_t in, const Quantization& how) {
  check_quantization(how);
  const QuantizedShape s = shape_of(out, in, how);
  check(s);
  QuantizedTensor t;
  t.out = out;
  t.in = in;
  t.how = how;
  t.how.group_size = s.group;
  t.weight = zeros({s.panels(), s.panel_bytes()}, DType::u8);
  t.scale = s.bits == 8 ? zeros({s.panels(), kPanelColumns}, s.scale_dtype())
                        : zeros({s.panels(), s.groups(), kPanelColumns}, s.scale_dtype());
  return t;
}

void quantize_into(const QuantizedTensor& to, const void* data, DType dtype, int64_t out_stride,
                   int64_t in_stride) {
  quantize_weights(shape_of(to), {data, dtype, out_stride, in_stride},
                   reinterpret_cast<uint8_t*>(data_of(to.weight)), data_of(to.scale),
                   default_thread_pool());
}

QuantizedTensor quantize(const Tensor& weight, const Quantization& how, bool transposed) {
  if (weight.dim() != 2)
    usage_error("[quantize] weights are matrices, not of {} axes", weight.dim());
  const int64_t rows = weight.size(0), columns = weight.size(1);
  QuantizedTensor t = make_quantized(transposed ? columns : rows, transposed ? rows : columns, how);
  const ir::Value value =
      runtime::concrete_value(weight, "quantize", At::current());  // kept while it is read
  const auto* data = static_cast<const char*>(value->buffer->data()) +
                     value->layout.offset * static_cast<int64_t>(size_of(value.dtype()));
  quantize_into(t, data, weight.dtype(), transposed ? 1 : columns, transposed ? columns : 1);
  return t;
}

Tensor dequantize(const QuantizedTensor& t) {
  Tensor out = zeros({t.out, t.in});
  dequantize_weights(shape_of(t), reinterpret_cast<const uint8_t*>(data_of(t.weight)),
                     data_of(t.scale), reinterpret_cast<float*>(data_of(out)),
                     default_thread_pool());
  return out;
}

Tensor quantized_linear(const Tensor& x, const QuantizedTensor& w, const Tensor& bias, At at) {
  ir::SourceScope scope(runtime::source(at));
  return runtime::wrap(ops::quantized_linear(runtime::value_of(x), runtime::value_of(w.weight),
                                             runtime::value_of(w.scale),
                                             bias.defined() ? runtime::value_of(bias) : ir::Value(),
                                             shape_of(w), w.how.outlier_threshold));
}

Tensor quantized_embedding(const Tensor& ids, const QuantizedTensor& w, DType dtype, At at) {
  ir::SourceScope scope(runtime::source(at));
  return runtime::wrap(ops::quantized_embedding(runtime::value_of(ids), runtime::value_of(w.weight),
                                                runtime::value_of(w.scale), shape_of(w), dtype));
}

}  // namespace corten
