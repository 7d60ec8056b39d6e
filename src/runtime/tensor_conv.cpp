// The public operations on images: promotion and checks, then the ops.
#include "base/format.h"
#include "corten/conv.h"
#include "ops/batch_norm.h"
#include "ops/convolution.h"
#include "ops/functions.h"
#include "ops/pooling.h"
#include "runtime/tensor_impl.h"

namespace corten {

using ir::Dims;
using ir::Value;
using runtime::value_of;
using runtime::wrap;

#define SOURCE ir::SourceScope source_scope(runtime::source(at))

namespace {

Dims pair(Size2 size) { return {size.rows, size.columns}; }
Value maybe(const Tensor& t) { return t.defined() ? value_of(t) : Value(); }

/// x in the dtype of an Autocast scope.
Value low(const Tensor& t) {
  Value v = value_of(t);
  const bool cast = is_autocast_enabled() && (v.dtype() == DType::f32 || size_of(v.dtype()) == 2);
  return cast ? ops::cast(v, get_autocast_dtype()) : v;
}

/// Calls f with a batch of images, which one image is made for it.
template <typename F>
Tensor batched(std::string_view what, const Value& x, int64_t rank, F&& f) {
  if (x.rank() == rank) return wrap(f(x));
  if (x.rank() != rank - 1) usage_error("[{}] needs {} or {} axes, got {}", what, rank - 1, rank, to_string(x.type()));
  Dims one = x.dims();
  one.insert(one.begin(), 1);
  Value y = f(ops::reshape(x, one));
  return wrap(ops::reshape(y, Dims(y.dims().begin() + 1, y.dims().end())));
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, Conv2dOptions o, At at) {
  SOURCE;
  return batched("conv2d", low(x), 4, [&](const Value& v) {
    return ops::conv2d(v, value_of(weight), maybe(bias), pair(o.stride), pair(o.padding), pair(o.dilation), o.groups);
  });
}

Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias, Conv1dOptions o, At at) {
  SOURCE;
  Value w = value_of(weight);
  if (w.rank() != 3) usage_error("[conv1d] the weight must be [out, in / groups, kernel], got {}", to_string(w.type()));
  // Rows of one.
  w = ops::reshape(w, {w.dims()[0], w.dims()[1], 1, w.dims()[2]});
  return batched("conv1d", low(x), 3, [&](const Value& v) {
    const Dims& d = v.dims();
    Value y = ops::conv2d(ops::reshape(v, {d[0], d[1], 1, d[2]}), w, maybe(bias), {1, o.stride}, {0, o.padding}, {1, o.dilation}, o.groups);
    return ops::reshape(y, {d[0], y.dims()[1], y.dims()[3]});
  });
}

Tensor max_pool2d(const Tensor& x, Size2 kernel, MaxPool2dOptions o, At at) {
  SOURCE;
  const ops::Pooling pooling{pair(kernel), pair(o.stride.value_or(kernel)), pair(o.padding), pair(o.dilation), o.ceil_mode};
  return batched("max_pool2d", value_of(x), 4, [&](const Value& v) { return ops::max_pool2d(v, pooling); });
}

Tensor avg_pool2d(const Tensor& x, Size2 kernel, AvgPool2dOptions o, At at) {
  SOURCE;
  const ops::Pooling pooling{pair(kernel), pair(o.stride.value_or(kernel)), pair(o.padding), {1, 1}, o.ceil_mode};
  return batched("avg_pool2d", value_of(x), 4,
                 [&](const Value& v) { return ops::avg_pool2d(v, pooling, o.count_include_pad, o.divisor_override); });
}

Tensor adaptive_avg_pool2d(const Tensor& x, Size2 out, At at) {
  SOURCE;
  return batched("adaptive_avg_pool2d", value_of(x), 4, [&](const Value& v) { return ops::adaptive_avg_pool2d(v, pair(out)); });
}

Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight, const Tensor& bias,
                  BatchNormOptions o, At at) {
  SOURCE;
  Value v = value_of(x);
  if (!o.training) {
    if (!running_mean.defined() || !running_var.defined()) usage_error("[batch_norm] evaluation needs running statistics");
    return wrap(ops::batch_norm_inference(v, value_of(running_mean), value_of(running_var), maybe(weight), maybe(bias), o.eps));
  }
  ir::Values out = ops::batch_norm_training(v, maybe(weight), maybe(bias), o.eps);
  const auto update = [&](const Tensor& running, const Value& batch, double factor) {
    if (!running.defined()) return;
    const NoGradGuard no_grad;
    Value old = value_of(running), now = ops::cast(batch.with_edge({}), old.dtype());
    if (old.dims() != now.dims()) usage_error("[batch_norm] running statistics {} do not fit {}", to_string(old.type()), to_string(v.type()));
    runtime::assign(running, ops::add(ops::mul(old, 1 - o.momentum), ops::mul(now, factor * o.momentum)), "batch_norm");
  };
  const double count = static_cast<double>(v.type().elements()) / static_cast<double>(v.dims()[1]);
  update(running_mean, out[1], 1);
  update(running_var, out[2], count / (count - 1));
  return wrap(out[0]);
}

}  // namespace corten
