#include "ops/batch_norm.h"

#include "ops/define.h"

namespace corten::ops {
namespace {

struct BatchNormAttrs { double eps = 1e-5; CORTEN_FIELDS(eps) };

/// All axes but that of the channels.
Dims sample_axes(const Value& x) {
  Dims axes{0};
  for (int64_t i = 2; i < x.rank(); ++i) axes.push_back(i);
  return axes;
}
/// [C] over x's shape, in x's dtype.
Value per_channel(const Value& v, const Value& x) {
  Dims dims(x.rank(), 1);
  dims[1] = x.dims()[1];
  return expand(reshape(cast(v, x.dtype()), dims), x.dims());
}
Value channel_mean(const Value& x) { return mean(x, sample_axes(x), false); }
Value channel_sum(const Value& x) { return sum(x, sample_axes(x), false); }

/// x, weight, bias to y, mean, variance.
struct BatchNorm : Composite {
  static constexpr auto name = "batch_norm";
  static constexpr int arity = 3;
  using Attrs = BatchNormAttrs;
  static std::vector<Type> infer(const Attrs&, const std::vector<Type>& in) {
    const Type channels{compute_type(in[0].dtype), {in[0].dims[1]}};
    return {in[0], channels, channels};
  }
  static Values expand(const Attrs& a, const Values& in) {
    Value x = cast(in[0], compute_type(in[0].dtype())), mean = channel_mean(x);
    Value centred = x - per_channel(mean, x), variance = channel_mean(centred * centred);
    Value y = centred * per_channel(rsqrt(variance + a.eps), x) * per_channel(in[1], x) + per_channel(in[2], x);
    return {cast(y, in[0].dtype()), mean, variance};
  }
  static Values vjp(const Attrs& a, const Vjp& v);
};
/// x, weight, mean, variance and the gradient g of y to those of x, weight and bias: with n the normalised x and h = g weight,
/// dx = rstd (h - mean(h) - n mean(h n)).
struct BatchNormGrad : Composite {
  static constexpr auto name = "batch_norm_grad";
  static constexpr int arity = 5;
  using Attrs = BatchNormAttrs;
  static Values expand(const Attrs& a, const Values& in) {
    Value x = cast(in[0], compute_type(in[0].dtype())), g = cast(in[4], x.dtype());
    Value rstd = rsqrt(in[3] + a.eps), n = (x - per_channel(in[2], x)) * per_channel(rstd, x);
    Value dw = channel_sum(g * n), db = channel_sum(g);
    const double count = static_cast<double>(x.type().elements()) / static_cast<double>(x.dims()[1]);
    Value inner = g - per_channel(db / count, x) - n * per_channel(dw / count, x);
    Value dx = inner * per_channel(rstd * cast(in[1], x.dtype()), x);
    return {cast(dx, in[0].dtype()), cast(dw, in[1].dtype()), cast(db, in[1].dtype())};
  }
};

/// x, mean, variance, weight, bias.
struct BatchNormInference : Composite {
  static constexpr auto name = "batch_norm_inference";
  static constexpr int arity = 5;
  using Attrs = BatchNormAttrs;
  static std::vector<Type> infer(const Attrs&, const std::vector<Type>& in) { return {in[0]}; }
  static Values expand(const Attrs& a, const Values& in) {
    Value x = cast(in[0], compute_type(in[0].dtype())), rstd = rsqrt(cast(in[2], x.dtype()) + a.eps);
    Value y = (x - per_channel(in[1], x)) * per_channel(rstd, x) * per_channel(in[3], x) + per_channel(in[4], x);
    return {cast(y, in[0].dtype())};
  }
};

}  // namespace

CORTEN_OP(BatchNorm) CORTEN_OP(BatchNormGrad) CORTEN_OP(BatchNormInference)

namespace {

Values BatchNorm::vjp(const Attrs& a, const Vjp& v) {
  const Value &x = v.inputs[0], &mean = v.outputs[1], &variance = v.outputs[2];
  Values out(3);
  if (v.grads[0]) {
    out = ir::emit(kBatchNormGrad, ir::make_attrs(a), {x, v.inputs[1], mean, variance, v.grads[0]});
    out[2] = cast(out[2], v.inputs[2].dtype());
  }
  // The statistics' own gradients.
  Value wide = cast(x, mean.dtype()), dx;
  const double count = static_cast<double>(x.type().elements()) / static_cast<double>(x.dims()[1]);
  if (v.grads[1]) dx = per_channel(v.grads[1] / count, wide);
  if (v.grads[2]) {
    Value part = (wide - per_channel(mean, wide)) * per_channel(v.grads[2] * (2 / count), wide);
    dx = dx ? dx + part : part;
  }
  if (dx) out[0] = out[0] ? out[0] + cast(dx, x.dtype()) : cast(dx, x.dtype());
  return out;
}

/// A parameter or statistic [C], or what stands for a missing one.
Value channels_of(std::string_view what, const Value& x, const Value& v, double missing) {
  const Dims dims{x.dims()[1]};
  if (!v) return full(dims, compute_type(x.dtype()), missing);
  if (v.dims() != dims || !is_floating(v.dtype()))
    usage_error("[batch_norm] {} {} does not fit the channels of {}", what, to_string(v.type()), to_string(x.type()));
  return v;
}
void check(const Value& x) {
  if (x.rank() < 2 || !is_floating(x.dtype()))
    usage_error("[batch_norm] needs a floating-point tensor [samples, channels, ...], got {}", to_string(x.type()));
}

}  // namespace

Values batch_norm_training(Value x, Value weight, Value bias, double eps) {
  check(x);
  const int64_t channels = x.dims()[1];
  if (channels == 0 || x.type().elements() / channels < 2)
    usage_error("[batch_norm] training needs more than one value per channel, got {}", to_string(x.type()));
  return ir::emit(kBatchNorm, ir::make_attrs(BatchNormAttrs{eps}),
                  {x, channels_of("weight", x, weight, 1), channels_of("bias", x, bias, 0)});
}
Value batch_norm_inference(Value x, Value mean, Value variance, Value weight, Value bias, double eps) {
  check(x);
  return emit1(kBatchNormInference,
               {x, channels_of("running mean", x, mean, 0), channels_of("running variance", x, variance, 1),
                channels_of("weight", x, weight, 1), channels_of("bias", x, bias, 0)},
               BatchNormAttrs{eps});
}

}  // namespace corten::ops
