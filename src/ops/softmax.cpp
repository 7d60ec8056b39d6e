// softmax and log_softmax over one axis.
#include "ops/define.h"

namespace corten::ops {
namespace {

/// Over the last axis, in the compute type: one division per row. Rows of -inf give NaN, as in PyTorch.
struct Softmax : Composite {
  static constexpr auto name = "softmax";
  static constexpr int arity = 1;
  static std::vector<Type> infer(const Attrs&, const std::vector<Type>& in) { return in; }
  static Values expand(const Attrs&, const Values& in) {
    Value x = cast(in[0], compute_type(in[0].dtype()));
    Value e = exp(x - max(x, {-1}, true));
    return {cast(e * div(1, sum(e, {-1}, true)), in[0].dtype())};
  }
  static Values vjp(const Attrs&, const Vjp& v);
};
/// y (g - sum(g y))
struct SoftmaxGrad : Composite {
  static constexpr auto name = "softmax_grad";
  static constexpr int arity = 2;  // y, g
  static std::vector<Type> infer(const Attrs&, const std::vector<Type>& in) { return {in[0]}; }
  static Values expand(const Attrs&, const Values& in) {
    DType wide = compute_type(in[0].dtype());
    Value y = cast(in[0], wide), g = cast(in[1], wide);
    return {cast(y * (g - sum(g * y, {-1}, true)), in[0].dtype())};
  }
};
struct LogSoftmax : Composite {
  static constexpr auto name = "log_softmax";
  static constexpr int arity = 1;
  static std::vector<Type> infer(const Attrs&, const std::vector<Type>& in) { return in; }
  static Values expand(const Attrs&, const Values& in) {
    Value x = cast(in[0], compute_type(in[0].dtype()));
    Value shifted = x - max(x, {-1}, true);
    return {cast(shifted - log(sum(exp(shifted), {-1}, true)), in[0].dtype())};
  }
  static Values vjp(const Attrs&, const Vjp& v) {  // g - exp(y) sum(g)
    DType wide = compute_type(v.outputs[0].dtype());
    Value y = cast(v.outputs[0], wide), g = cast(v.grads[0], wide);
    return {cast(g - exp(y) * sum(g, {-1}, true), v.outputs[0].dtype())};
  }
};

}  // namespace

CORTEN_OP(Softmax) CORTEN_OP(SoftmaxGrad) CORTEN_OP(LogSoftmax)

namespace {
Values Softmax::vjp(const Attrs&, const Vjp& v) { return {emit1(kSoftmaxGrad, {v.outputs[0], v.grads[0]})}; }

Value over_last(const Op& op, Value x, int64_t axis) {
  axis = ir::normalize_axis(axis, x.type(), op.name);
  if (axis == x.rank() - 1) return emit1(op, {x});
  return transpose(emit1(op, {transpose(x, axis, -1)}), axis, -1);
}
}  // namespace

Value softmax(Value x, int64_t axis) { return over_last(kSoftmax, x, axis); }
Value log_softmax(Value x, int64_t axis) { return over_last(kLogSoftmax, x, axis); }

}  // namespace corten::ops
