// Optimizer steps as ops, and the gradient norm.
#include <cmath>

#include "ops/define.h"

namespace corten::ops {
namespace {

/// Decoupled weight decay (Loshchilov and Hutter, 2019), in PyTorch's order:
///   p <- p - lr wd p;  m <- m + (1 - b1)(g - m);  v <- b2 v + (1 - b2) g^2;
///   p <- p - (lr / (1 - b1^t)) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
struct AdamW : Composite {
  static constexpr auto name = "adamw";
  static constexpr int arity = 6;  // p, g, m, v, lr (f32 []), step (i64 [], counted from 1)
  static constexpr bool no_gradient = true;
  struct Attrs {
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.01;
    CORTEN_FIELDS(beta1, beta2, eps, weight_decay)
  };
  static std::vector<Type> infer(const Attrs&, const std::vector<Type>& in) { return {in[0], in[2], in[3]}; }
  static Values expand(const Attrs& a, const Values& in) {
    const Value& lr = in[4];
    DType wide = compute_type(in[0].dtype());
    Value p = cast(in[0], wide), g = cast(in[1], wide), m = cast(in[2], wide), v = cast(in[3], wide);
    Value t = cast(in[5], DType::f64);
    auto correction = [&](double beta) { return sub(1, exp(t * std::log(beta))); };  // 1 - beta^t in f64
    Value step_size = cast(cast(lr, DType::f64) / correction(a.beta1), wide);
    Value root = cast(sqrt(correction(a.beta2)), wide);
    const Value decay = a.weight_decay != 0 ? sub(1, cast(lr, wide) * a.weight_decay) : Value();
    m = m + (g - m) * (1 - a.beta1);
    v = v * a.beta2 + g * g * (1 - a.beta2);
    const Value change = step_size * (m / (sqrt(v) / root + a.eps));
    // Last, so that it joins the kernel of the gradient, whatever that is made of.
    if (decay) p = p * decay;
    p = p - change;
    return {cast(p, in[0].dtype()), cast(m, in[2].dtype()), cast(v, in[3].dtype())};
  }
};

/// torch.optim.SGD: g <- g + wd p; b <- momentum b + (1 - dampening) g (b = g in step 1); p <- p - lr b, or
/// p - lr (g + momentum b) with Nesterov.
struct Sgd : Composite {
  static constexpr auto name = "sgd";
  static constexpr int arity = 5;  // p, g, b, lr, step
  static constexpr bool no_gradient = true;
  struct Attrs {
    double momentum = 0, dampening = 0, weight_decay = 0;
    bool nesterov = false;
    CORTEN_FIELDS(momentum, dampening, weight_decay, nesterov)
  };
  static std::vector<Type> infer(const Attrs&, const std::vector<Type>& in) { return {in[0], in[2]}; }
  static Values expand(const Attrs& a, const Values& in) {
    DType wide = compute_type(in[0].dtype());
    Value p = cast(in[0], wide), g = cast(in[1], wide), b = cast(in[2], wide), lr = cast(in[3], wide);
    if (a.weight_decay != 0) g = g + p * a.weight_decay;
    Value direction = g;
    if (a.momentum != 0) {
      Value first = eq(in[4], full_like(in[4], 1));
      b = where(first, g, b * a.momentum + g * (1 - a.dampening));
      direction = a.nesterov ? g + b * a.momentum : b;
    }
    return {cast(p - lr * direction, in[0].dtype()), cast(b, in[2].dtype())};
  }
};

struct GlobalNorm : Composite {
  static constexpr auto name = "global_norm";
  static constexpr int arity = -1;
  static constexpr bool no_gradient = true;
  static std::vector<Type> infer(const Attrs&, const std::vector<Type>&) { return {Type{DType::f32, {}}}; }
  static Values expand(const Attrs&, const Values& in) {
    Values parts;
    for (const Value& x : in) {
      Value wide = cast(reshape(x, {-1}), DType::f64);
      parts.push_back(sum(wide * wide, {0}, false));
    }
    // All parts first: their sum is one kernel then, and they do not wait for each other.
    Value total;
    for (const Value& part : parts) total = total ? total + part : part;
    return {cast(total ? sqrt(total) : full({}, DType::f64, 0), DType::f32)};
  }
};

}  // namespace

CORTEN_OP(AdamW) CORTEN_OP(Sgd) CORTEN_OP(GlobalNorm)

Values adamw(Value p, Value g, Value m, Value v, Value lr, Value step, double beta1, double beta2, double eps,
             double weight_decay) {
  return ir::emit(kAdamW, ir::make_attrs(AdamW::Attrs{beta1, beta2, eps, weight_decay}), {p, g, m, v, lr, step});
}
Values sgd(Value p, Value g, Value momentum_buffer, Value lr, Value step, double momentum, double dampening,
           double weight_decay, bool nesterov) {
  return ir::emit(kSgd, ir::make_attrs(Sgd::Attrs{momentum, dampening, weight_decay, nesterov}),
                  {p, g, momentum_buffer, lr, step});
}
Value global_norm(const Values& xs) { return emit1(kGlobalNorm, xs); }

}  // namespace corten::ops
