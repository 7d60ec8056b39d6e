// Layer norm (Ba et al., 2016) and RMS norm (Zhang and Sennrich, 2019) over the last axis, computed in f32 (f64 for f64).
#include "ops/define.h"

namespace corten::ops {
namespace {

struct NormAttrs { double eps = 1e-5; CORTEN_FIELDS(eps) };

struct LayerNorm : Composite {
  static constexpr auto name = "layer_norm";
  static constexpr int arity = -1;  // x, weight, bias or not
  using Attrs = NormAttrs;
  static std::vector<Type> infer(const Attrs&, const std::vector<Type>& in) { return {in[0]}; }
  struct Parts { Value centred, rstd; };
  static Parts parts(const Value& x_in, double eps) {
    Value x = cast(x_in, compute_type(x_in.dtype()));
    Value centred = x - mean(x, {-1}, true);
    return {centred, rsqrt(mean(centred * centred, {-1}, true) + eps)};
  }
  static Values expand(const Attrs& a, const Values& in) {
    auto [centred, rstd] = parts(in[0], a.eps);
    Value y = centred * rstd * cast(in[1], centred.dtype());
    if (in.size() > 2) y = y + cast(in[2], centred.dtype());
    return {cast(y, in[0].dtype())};
  }
  static Values vjp(const Attrs& a, const Vjp& v);
};
/// Gradients of x, weight and bias: with n = centred * rstd and h = g * weight, dx = rstd (h - mean(h) - n mean(h n)).
struct LayerNormGrad : Composite {
  static constexpr auto name = "layer_norm_grad";
  static constexpr int arity = 3;  // x, weight, g
  using Attrs = NormAttrs;
  static Values expand(const Attrs& a, const Values& in) {
    auto [centred, rstd] = LayerNorm::parts(in[0], a.eps);
    Value g = cast(in[2], centred.dtype()), n = centred * rstd, h = g * cast(in[1], centred.dtype());
    Value dx = rstd * (h - mean(h, {-1}, true) - n * mean(h * n, {-1}, true));
    Dims last{in[1].dims()};
    return {cast(dx, in[0].dtype()), cast(sum_to(g * n, last), in[1].dtype()), cast(sum_to(g, last), in[1].dtype())};
  }
};
struct RmsNorm : Composite {
  static constexpr auto name = "rms_norm";
  static constexpr int arity = 2;
  using Attrs = NormAttrs;
  static std::vector<Type> infer(const Attrs&, const std::vector<Type>& in) { return {in[0]}; }
  static Values expand(const Attrs& a, const Values& in) {
    Value x = cast(in[0], compute_type(in[0].dtype()));
    Value y = x * rsqrt(mean(x * x, {-1}, true) + a.eps) * cast(in[1], x.dtype());
    return {cast(y, in[0].dtype())};
  }
};

}  // namespace

CORTEN_OP(LayerNorm) CORTEN_OP(LayerNormGrad) CORTEN_OP(RmsNorm)

namespace {
Values LayerNorm::vjp(const Attrs& a, const Vjp& v) {
  Values out = ir::emit(kLayerNormGrad, ir::make_attrs(a), {v.inputs[0], v.inputs[1], v.grads[0]});
  if (v.inputs.size() < 3) out.resize(2);
  else out[2] = cast(out[2], v.inputs[2].dtype());
  return out;
}

void check(std::string_view what, const Value& x, const Value& weight) {
  if (x.rank() < 1 || !is_floating(x.dtype()) || weight.dims() != Dims{x.dims().back()})
    usage_error("[{}] weight {} does not fit the last axis of {}", what, to_string(weight.type()), to_string(x.type()));
}
}  // namespace

Value layer_norm(Value x, Value weight, Value bias, double eps) {
  check("layer_norm", x, weight);
  if (bias) check("layer_norm", x, bias);
  return emit1(kLayerNorm, bias ? Values{x, weight, bias} : Values{x, weight}, NormAttrs{eps});
}
Value rms_norm(Value x, Value weight, double eps) {
  check("rms_norm", x, weight);
  return emit1(kRmsNorm, {x, weight}, NormAttrs{eps});
}

}  // namespace corten::ops
