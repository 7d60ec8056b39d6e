// Scaled dot-product attention (Vaswani et al., 2017).
#include <cmath>

#include "ops/define.h"

namespace corten::ops {
namespace {

struct Attention : Composite {
  static constexpr auto name = "scaled_dot_product_attention";
  static constexpr int arity = -1;  // q, k, v, mask if masked, seed and step if p > 0
  struct Attrs {
    bool causal = false, masked = false;
    double scale = 1, p = 0;
    int64_t site = 0;
    CORTEN_FIELDS(causal, masked, scale, p, site)
  };
  static Values expand(const Attrs& a, const Values& in) {
    const Value &q = in[0], &k = in[1], &v = in[2];
    DType wide = compute_type(q.dtype());
    Value scores = matmul(q, transpose(k, -1, -2), wide) * a.scale;
    const double hidden = -std::numeric_limits<double>::infinity();
    if (a.causal) {
      int64_t rank = scores.rank();
      scores = where(le(iota(scores.dims(), rank - 1), iota(scores.dims(), rank - 2)), scores, hidden);
    }
    if (a.masked) {
      Value mask = ops::expand(in[3], scores.dims());
      scores = mask.dtype() == DType::boolean ? where(mask, scores, hidden) : scores + cast(mask, wide);
    }
    Value weights = cast(softmax(scores, -1), q.dtype());
    if (a.p > 0) weights = dropout(weights, {in[in.size() - 2], in[in.size() - 1]}, a.site, a.p);
    return {matmul(weights, v, q.dtype())};
  }
};

}  // namespace

CORTEN_OP(Attention)

Value scaled_dot_product_attention(Value q, Value k, Value v, Value mask, bool causal, double scale, double p,
                                   Generator generator, int64_t site) {
  if (q.rank() < 2 || k.rank() != q.rank() || v.rank() != q.rank() || q.dims().back() != k.dims().back() ||
      k.dims()[k.rank() - 2] != v.dims()[v.rank() - 2] || q.dtype() != k.dtype() || q.dtype() != v.dtype())
    usage_error("[scaled_dot_product_attention] query {}, key {} and value {} do not fit", to_string(q.type()),
                to_string(k.type()), to_string(v.type()));
  Values in{q, k, v};
  if (mask) in.push_back(mask);
  if (p > 0) in.insert(in.end(), {generator.seed, generator.step});
  return emit1(kAttention, in, Attention::Attrs{causal, static_cast<bool>(mask), scale, p, site});
}

}  // namespace corten::ops
