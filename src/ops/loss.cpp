// Token embedding and cross entropy.
#include <limits>

#include "ops/define.h"

namespace corten::ops {
namespace {

struct Embedding : Composite {
  static constexpr auto name = "embedding";
  static constexpr int arity = 2;  // ids, weight
  static Value index(const Values& in) {  // i64 [ids, dim]
    int64_t n = in[0].type().elements();
    return ops::expand(reshape(cast(in[0], DType::i64), {n, 1}), {n, in[1].dims()[1]});
  }
  static Dims dims(const Values& in) {
    Dims out = in[0].dims();
    out.push_back(in[1].dims()[1]);
    return out;
  }
  static Values expand(const Attrs&, const Values& in) { return {reshape(gather(in[1], index(in), 0), dims(in))}; }
  static Values vjp(const Attrs&, const Vjp& v) {
    Value ids = index(v.inputs);
    return {Value(), scatter_gradient(v, 1, ids, reshape(v.grads[0], ids.dims()), 0)};
  }
};

struct LossAttrs {
  int64_t ignore_index = -100;
  double label_smoothing = 0;
  CORTEN_FIELDS(ignore_index, label_smoothing)
};
// The target's logit is picked by comparing the coordinate, so that everything is one pass over a row.
Value one_hot(const Value& x, const Value& targets) {
  return eq(iota(x.dims(), x.rank() - 1), expand(targets, x.dims()));
}
Value column(const Value& targets) {
  Dims dims = targets.dims();
  dims.push_back(1);
  return reshape(targets, dims);
}

/// (1 - s) (lse - x_t) + s (lse - mean(x)) per row, with s = label_smoothing (Szegedy et al., 2016). NaN where the target is no
/// class.
struct CrossEntropy : Composite {
  static constexpr auto name = "cross_entropy";
  static constexpr int arity = 2;  // logits [..., classes], targets [...]
  using Attrs = LossAttrs;
  static Values expand(const Attrs& a, const Values& in) {
    Value x = cast(in[0], compute_type(in[0].dtype())), t = column(in[1]);
    Value picked = sum(where(one_hot(x, t), x, 0.0), {-1}, true);
    Value lse = logsumexp(x, -1, true);
    Value loss = lse - picked;
    if (a.label_smoothing != 0)
      loss = loss * (1 - a.label_smoothing) + (lse - mean(x, {-1}, true)) * a.label_smoothing;
    // What a compiled step cannot refuse is not passed over in silence.
    const auto classes = static_cast<double>(x.dims().back());
    loss = where(logical_or(lt(t, full_like(t, 0)), le(full_like(t, classes), t)),
                 full_like(loss, std::numeric_limits<double>::quiet_NaN()), loss);
    loss = where(eq(t, full_like(t, static_cast<double>(a.ignore_index))), full_like(loss, 0), loss);
    return {reshape(loss, in[1].dims())};
  }
  static Values vjp(const Attrs& a, const Vjp& v);
};
/// g (softmax(x) - (1 - s) onehot - s / classes), 0 in ignored rows.
struct CrossEntropyGrad : Composite {
  static constexpr auto name = "cross_entropy_grad";
  static constexpr int arity = 3;  // logits, targets, g
  using Attrs = LossAttrs;
  static std::vector<Type> infer(const Attrs&, const std::vector<Type>& in) { return {in[0]}; }
  static Values expand(const Attrs& a, const Values& in) {
    Value x = cast(in[0], compute_type(in[0].dtype())), t = column(in[1]), g = column(cast(in[2], x.dtype()));
    Value e = exp(x - max(x, {-1}, true));
    g = where(eq(t, full_like(t, static_cast<double>(a.ignore_index))), full_like(g, 0), g);
    Value p = e * div(1, sum(e, {-1}, true));
    if (a.label_smoothing != 0) p = p - a.label_smoothing / static_cast<double>(x.dims().back());
    Value d = where(one_hot(x, t), p - (1 - a.label_smoothing), p);
    return {cast(d * g, in[0].dtype())};
  }
};

}  // namespace

CORTEN_OP(Embedding) CORTEN_OP(CrossEntropy) CORTEN_OP(CrossEntropyGrad)

namespace {
Values CrossEntropy::vjp(const Attrs& a, const Vjp& v) {
  return {emit1(kCrossEntropyGrad, {v.inputs[0], v.inputs[1], v.grads[0]}, a), Value()};
}
}  // namespace

Value embedding(Value ids, Value weight) {
  if (weight.rank() != 2 || is_floating(ids.dtype()) || ids.dtype() == DType::boolean)
    usage_error("[embedding] needs integer ids and a weight [vocab, dim], got {} and {}", to_string(ids.type()),
                to_string(weight.type()));
  return emit1(kEmbedding, {ids, weight});
}
Value cross_entropy(Value logits, Value targets, int64_t ignore_index, double label_smoothing) {
  Dims rows = logits.dims();
  if (!rows.empty()) rows.pop_back();
  if (logits.rank() < 1 || targets.dims() != rows || is_floating(targets.dtype()))
    usage_error("[cross_entropy] logits {} need integer targets of shape {}, got {}", to_string(logits.type()),
                ir::to_string(rows), to_string(targets.type()));
  return emit1(kCrossEntropy, {logits, cast(targets, DType::i64)}, LossAttrs{ignore_index, label_smoothing});
}

}  // namespace corten::ops
