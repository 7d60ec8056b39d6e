// Random numbers and dropout: pure functions of (seed, step, site, element index).
#include "ops/define.h"

namespace corten::ops {
namespace {

struct SiteAttrs { Dims dims; int64_t site = 0; CORTEN_FIELDS(dims, site) };

Value uniform(const Values& generator, int64_t site, const Dims& dims, int64_t word = 0) {
  return uniform01(philox(expand(generator[0], dims), expand(generator[1], dims), full(dims, DType::i64, static_cast<double>(site)),
                          linear_index(dims), word));
}

struct RandomUniform : Composite {
  static constexpr auto name = "random_uniform";
  static constexpr int arity = 2;  // seed, step
  static constexpr bool no_gradient = true;
  using Attrs = SiteAttrs;
  static Values expand(const Attrs& a, const Values& in) { return {uniform(in, a.site, a.dims)}; }
};
/// Box and Muller (1958): mean + std sqrt(-2 log(1 - u)) cos(2 pi w), u and w from two words of one draw.
struct RandomNormal : Composite {
  static constexpr auto name = "random_normal";
  static constexpr int arity = 2;
  static constexpr bool no_gradient = true;
  struct Attrs { Dims dims; int64_t site = 0; double mean = 0, std = 1; CORTEN_FIELDS(dims, site, mean, std) };
  static Values expand(const Attrs& a, const Values& in) {
    Value u = uniform(in, a.site, a.dims), w = uniform(in, a.site, a.dims, 1);
    return {sqrt(log(sub(1, u)) * -2) * cos(w * 6.283185307179586) * a.std + a.mean};
  }
};
/// x / (1 - p) where a uniform number is >= p, else 0 (Srivastava et al., 2014). The mask is never stored: the gradient
/// draws it again.
struct Dropout : Composite {
  static constexpr auto name = "dropout";
  static constexpr int arity = 3;  // x, seed, step
  struct Attrs { double p = 0; int64_t site = 0; CORTEN_FIELDS(p, site) };
  static std::vector<Type> infer(const Attrs&, const std::vector<Type>& in) { return {in[0]}; }
  static Values expand(const Attrs& a, const Values& in) {
    Value u = uniform({in[1], in[2]}, a.site, in[0].dims());
    Value x = cast(in[0], compute_type(in[0].dtype()));
    Value kept = x * (a.p < 1 ? 1 / (1 - a.p) : 0.0);
    return {cast(where(lt(u, full_like(u, a.p)), full_like(kept, 0), kept), in[0].dtype())};
  }
  static Values vjp(const Attrs& a, const Vjp& v);
};

}  // namespace

CORTEN_OP(RandomUniform) CORTEN_OP(RandomNormal) CORTEN_OP(Dropout)

namespace {
Values Dropout::vjp(const Attrs& a, const Vjp& v) {
  return {emit1(kDropout, {v.grads[0], v.inputs[1], v.inputs[2]}, a), Value(), Value()};
}
}  // namespace

Value random_uniform(Generator g, int64_t site, Dims dims) {
  return emit1(kRandomUniform, {g.seed, g.step}, SiteAttrs{std::move(dims), site});
}
Value random_normal(Generator g, int64_t site, Dims dims, double mean, double std) {
  return emit1(kRandomNormal, {g.seed, g.step}, RandomNormal::Attrs{std::move(dims), site, mean, std});
}
Value dropout(Value x, Generator g, int64_t site, double p) {
  if (!(p >= 0 && p <= 1)) usage_error("[dropout] the probability {} is not between 0 and 1", p);
  if (p == 0) return x;
  return emit1(kDropout, {x, g.seed, g.step}, Dropout::Attrs{p, site});
}

}  // namespace corten::ops
