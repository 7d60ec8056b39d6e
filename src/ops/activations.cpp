// Activations.
#include "ops/define.h"

namespace corten::ops {
namespace {

/// A composite of one operand that computes in the compute type and rounds once.
template <typename Self>
struct Activation : Composite {
  static constexpr int arity = 1;
  static std::vector<Type> infer(const Attrs&, const std::vector<Type>& in) { return in; }
  static Values expand(const Attrs&, const Values& in) {
    return {cast(Self::f(cast(in[0], compute_type(in[0].dtype()))), in[0].dtype())};
  }
};

struct Sigmoid : Activation<Sigmoid> {
  static constexpr auto name = "sigmoid";
  static Value f(Value x) { return div(1, exp(neg(x)) + 1); }
  static Values vjp(const Attrs&, const Vjp& v) {
    const Value& y = v.outputs[0];
    return {v.grads[0] * (y * sub(1, y))};
  }
};
struct Relu : Activation<Relu> {
  static constexpr auto name = "relu";
  static Value f(Value x) { return where(lt(x, full_like(x, 0)), full_like(x, 0), x); }  // keeps NaN
  static Values vjp(const Attrs&, const Vjp& v) {
    return {where(gt(v.inputs[0], full_like(v.inputs[0], 0)), v.grads[0], 0.0)};
  }
};
struct Silu : Activation<Silu> {
  static constexpr auto name = "silu";
  static Value f(Value x) { return x * sigmoid(x); }
};
struct Gelu : Activation<Gelu> {
  static constexpr auto name = "gelu";
  static Value f(Value x) { return x * 0.5 * (erf(x * 0.70710678118654752) + 1); }  // 1/sqrt(2)
};
struct GeluTanh : Activation<GeluTanh> {
  static constexpr auto name = "gelu_tanh";
  // 0.5 x (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3): no cancellation in the negative tail.
  // 2 sqrt(2/pi) = 1.5957691216057308; times 0.044715: 0.07135481627159.
  static Value f(Value x) { return x * sigmoid(x * (x * x * 0.07135481627159 + 1.5957691216057308)); }
};

}  // namespace

CORTEN_OP(Sigmoid) CORTEN_OP(Relu) CORTEN_OP(Silu) CORTEN_OP(Gelu) CORTEN_OP(GeluTanh)

Value sigmoid(Value x) { return emit1(kSigmoid, {x}); }
Value relu(Value x) { return emit1(kRelu, {x}); }
Value silu(Value x) { return emit1(kSilu, {x}); }
Value gelu(Value x) { return emit1(kGelu, {x}); }
Value gelu_tanh(Value x) { return emit1(kGeluTanh, {x}); }

}  // namespace corten::ops
