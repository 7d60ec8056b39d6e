// Scaled dot-product attention (Vaswani et al., 2017): a composite, its gradient, and their claimed forms.
#include <cmath>

#include "ops/attention.h"
#include "ops/define.h"

namespace corten::ops {
namespace {

/// The weights after dropout.
Value dropped(const AttentionAttrs& a, const Value& weights, const Values& in) {
  return a.p > 0 ? dropout(weights, {in[a.operands() - 2], in[a.operands() - 1]}, a.site, a.p) : weights;
}

Type lse_type(const Type& q) {
  Type out = q;
  out.dims.pop_back();
  out.dtype = compute_type(q.dtype);
  return out;
}

/// q k^T scale with hidden elements -infinity, in the compute type.
Value scores(const AttentionAttrs& a, const Values& in) {
  DType wide = compute_type(in[0].dtype());
  Value s = matmul(in[0], transpose(in[1], -1, -2), wide) * a.scale;
  const double hidden = -std::numeric_limits<double>::infinity();
  if (a.causal) {
    int64_t rank = s.rank();
    s = where(le(iota(s.dims(), rank - 1), iota(s.dims(), rank - 2)), s, hidden);
  }
  if (a.masked) {
    Value mask = expand(in[3], s.dims());
    s = mask.dtype() == DType::boolean ? where(mask, s, hidden) : s + cast(mask, wide);
  }
  return s;
}
/// softmax of scores; 0 where a query sees nothing, as in PyTorch. Without a mask every query sees the first key.
Value weigh(const AttentionAttrs& a, Value s) {
  if (!a.masked) return softmax(s, -1);
  Value most = max(s, {-1}, true);
  Value sees = expand(ne(most, full_like(most, -std::numeric_limits<double>::infinity())), s.dims());
  return where(sees, softmax(where(sees, s, 0), -1), 0);
}

/// Results: out, and the log of the sum of exp of the scores of every query, from which the gradient computes the
/// weights again. The latter is for the gradient only: its own adjoint is not propagated.
struct Attention : Composite {
  static constexpr auto name = "scaled_dot_product_attention";
  static constexpr int arity = -1;
  using Attrs = AttentionAttrs;
  static std::vector<Type> infer(const Attrs&, const std::vector<Type>& in) {
    Type out = in[0];
    out.dims.back() = in[2].dims.back();
    return {out, lse_type(in[0])};
  }
  static Values expand(const Attrs& a, const Values& in) {
    Value s = scores(a, in);
    Value weights = dropped(a, cast(weigh(a, s), in[0].dtype()), in);
    return {matmul(weights, in[2], in[0].dtype()), logsumexp(s, -1, false)};
  }
  static Values vjp(const Attrs& a, const Vjp& v);
  static Values claim(const Attrs& a, const Values& in);
};

/// The gradient with respect to q, k and v. The definition is a function of q, k, v, mask and g alone; out and lse spare
/// the kernel family a pass.
struct AttentionGrad : Composite {
  static constexpr auto name = "scaled_dot_product_attention_grad";
  static constexpr int arity = -1;
  using Attrs = AttentionAttrs;
  static std::vector<Type> infer(const Attrs&, const std::vector<Type>& in) { return {in[0], in[1], in[2]}; }
  static Values expand(const Attrs& a, const Values& in) {
    const Value &q = in[0], &k = in[1], &v = in[2], &g = in[a.operands() + 2];
    const DType dtype = q.dtype(), wide = compute_type(dtype);
    Value weights = weigh(a, scores(a, in));
    Value dv = matmul(transpose(dropped(a, cast(weights, dtype), in), -1, -2), g, dtype);
    Value dw = dropped(a, matmul(g, transpose(v, -1, -2), wide), in);
    Value ds = cast(weights * (dw - sum(weights * dw, {-1}, true)) * a.scale, dtype);
    return {matmul(ds, k, dtype), matmul(transpose(ds, -1, -2), q, dtype), dv};
  }
  static Values claim(const Attrs& a, const Values& in);
};

/// [B, T, H, D] in memory for results [B, H, T, D]: the heads of a token side by side, as the next projection reads
/// them. Other ranks stay.
Dims by_token(const Dims& dims) {
  if (dims.size() != 4) return dims;
  return {dims[0], dims[2], dims[1], dims[3]};
}
Value by_head(const Value& x) { return x.rank() == 4 ? transpose(x, 1, 2) : x; }

/// Whether the family reads an operand of q, k, v, mask, seed, step where it lies.
bool reads(const AttentionAttrs& a, size_t index, const Dims& dims, const ir::Layout& layout) {
  if (index < 3) return dims.back() == 1 || layout.strides.back() == 1;
  if (index == 3 && a.masked) return dims.empty() || dims.back() == 1 || layout.strides.back() == 0 || layout.strides.back() == 1;
  return true;
}

/// Attention by the family src/attention: results as Attention's, out by_token.
struct ClaimedAttention {
  static constexpr auto name = "attention";
  static constexpr OpKind kind = OpKind::library;
  static constexpr int arity = -1;
  static constexpr bool no_gradient = true;
  using Attrs = AttentionAttrs;
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    std::vector<Type> out = Attention::infer(a, in);
    out[0].dims = by_token(out[0].dims);
    return out;
  }
  static bool accepts(const Attrs& a, size_t index, const Dims& dims, const ir::Layout& layout) {
    return reads(a, index, dims, layout);
  }
  static Values expand(const Attrs& a, const Values& in) {
    Values out = Attention::expand(a, in);
    return {by_head(out[0]), out[1]};
  }
};
/// Its gradient: results as AttentionGrad's, by_token.
struct ClaimedAttentionGrad {
  static constexpr auto name = "attention_grad";
  static constexpr OpKind kind = OpKind::library;
  static constexpr int arity = -1;
  static constexpr bool no_gradient = true;
  using Attrs = AttentionAttrs;
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    std::vector<Type> out = AttentionGrad::infer(a, in);
    for (Type& t : out) t.dims = by_token(t.dims);
    return out;
  }
  static bool accepts(const Attrs& a, size_t index, const Dims& dims, const ir::Layout& layout) {
    if (index < a.operands()) return reads(a, index, dims, layout);
    if (index == a.operands() + 1) return ir::is_contiguous(layout, dims);
    return dims.back() == 1 || layout.strides.back() == 1;
  }
  static Values expand(const Attrs& a, const Values& in) {
    Values out = AttentionGrad::expand(a, in);
    for (Value& v : out) v = by_head(v);
    return out;
  }
};

}  // namespace

CORTEN_OP(Attention) CORTEN_OP(AttentionGrad) CORTEN_OP(ClaimedAttention) CORTEN_OP(ClaimedAttentionGrad)

namespace {

Values Attention::vjp(const Attrs& a, const Vjp& v) {
  if (a.masked && v.needed[3]) return derived_vjp(kAttention, ir::make_attrs(a), v);
  Values in = v.inputs;
  // Second derivatives pass through q, k, v and g: see AttentionGrad.
  for (const Value& result : v.outputs) in.push_back(result.with_edge({}));
  in.push_back(v.grads[0]);
  Values out = ir::emit(kAttentionGrad, ir::make_attrs(a), in);
  out.resize(v.inputs.size());
  return out;
}

/// Whether the family computes such operands.
bool claimable(const AttentionAttrs& a, const Values& in) {
  const Value &q = in[0], &k = in[1], &v = in[2];
  return compute_type(q.dtype()) == DType::f32 && q.rank() <= 5 && q.dims().back() >= 1 && q.dims().back() <= 256 &&
         v.dims().back() == q.dims().back() && k.dims()[k.rank() - 2] >= 1 &&
         std::equal(q.dims().begin(), q.dims().end() - 2, k.dims().begin()) &&
         std::equal(q.dims().begin(), q.dims().end() - 2, v.dims().begin()) &&
         (!a.masked || in[3].dtype() == DType::boolean || is_floating(in[3].dtype()));
}
/// Additive masks are f32 for the family; the expansion converts them likewise.
Values claimed_operands(const AttentionAttrs& a, Values in) {
  if (a.masked && in[3].dtype() != DType::boolean) in[3] = cast(in[3], DType::f32);
  return in;
}
Values Attention::claim(const Attrs& a, const Values& in) {
  if (!claimable(a, in)) return {};
  Values out = ir::emit(kClaimedAttention, ir::make_attrs(a), claimed_operands(a, in));
  return {by_head(out[0]), out[1]};
}
Values AttentionGrad::claim(const Attrs& a, const Values& in) {
  if (!claimable(a, in)) return {};
  Values out = ir::emit(kClaimedAttentionGrad, ir::make_attrs(a), claimed_operands(a, in));
  for (Value& v : out) v = by_head(v);
  return out;
}

}  // namespace

Value scaled_dot_product_attention(Value q, Value k, Value v, Value mask, bool causal, double scale, double p,
                                   Generator generator, int64_t site) {
  if (q.rank() < 2 || k.rank() != q.rank() || v.rank() != q.rank() || q.dims().back() != k.dims().back() ||
      k.dims()[k.rank() - 2] != v.dims()[v.rank() - 2] || q.dtype() != k.dtype() || q.dtype() != v.dtype())
    usage_error("[scaled_dot_product_attention] query {}, key {} and value {} do not fit", to_string(q.type()),
                to_string(k.type()), to_string(v.type()));
  Dims batch(q.dims().begin(), q.dims().end() - 2);
  for (const Value& x : {k, v}) batch = ir::broadcast(batch, Dims(x.dims().begin(), x.dims().end() - 2));
  auto widen = [&](const Value& x) {
    Dims dims = batch;
    dims.insert(dims.end(), x.dims().end() - 2, x.dims().end());
    return expand(x, dims);
  };
  Values in{widen(q), widen(k), widen(v)};
  if (mask) {
    Dims all = batch;
    all.insert(all.end(), {q.dims()[q.rank() - 2], k.dims()[k.rank() - 2]});
    const size_t shift = all.size() - mask.dims().size();
    bool fits = mask.dims().size() <= all.size();
    for (size_t d = 0; fits && d < mask.dims().size(); ++d) fits = mask.dims()[d] == 1 || mask.dims()[d] == all[shift + d];
    if (!fits)
      usage_error("[scaled_dot_product_attention] the mask {} does not broadcast to the weights [{}]", to_string(mask.type()),
                  fmt::join(all, ","));
    in.push_back(mask);
  }
  if (p > 0) in.insert(in.end(), {generator.seed, generator.step});
  return ir::emit(kAttention, ir::make_attrs(AttentionAttrs{causal, static_cast<bool>(mask), scale, p, site}), in)[0];
}

}  // namespace corten::ops
