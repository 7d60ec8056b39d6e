// Rotary position embedding (Su et al., 2021) in the layout of halves: element i of the last axis turns with element i + D/2.
#include "ops/define.h"

namespace corten::ops {
namespace {

struct Rotary : Composite {
  static constexpr auto name = "rotary";
  static constexpr int arity = 3;  // x [..., T, D], cos and sin, which broadcast to [..., T, D/2]
  struct Attrs { bool inverse = false; CORTEN_FIELDS(inverse) };
  static std::vector<Type> infer(const Attrs&, const std::vector<Type>& in) { return {in[0]}; }
  /// One pass over x: both halves as rows of two, each beside the other one, which is read by its index.
  static Values expand(const Attrs& a, const Values& in) {
    Dims halves = in[0].dims();
    const int64_t axis = in[0].rank() - 1;
    halves.back() /= 2;
    halves.insert(halves.end() - 1, 2);
    const auto beside = [](Value table) {
      Dims dims = table.dims();
      dims.insert(dims.end() - 1, 1);
      return reshape(table, dims);
    };
    Value x = reshape(in[0], halves), cosines = beside(in[1]), sines = beside(in[2]);
    Value half = iota({2}, 0);
    Value sign = cast(reshape(half, {2, 1}), sines.dtype()) * (a.inverse ? -2.0 : 2.0) + (a.inverse ? 1.0 : -1.0);
    Value other = cast(index_select(x, axis, sub(1.0, half)), cosines.dtype()) * (sines * sign);
    Value turned = cast(x, cosines.dtype()) * cosines + other;
    return {cast(reshape(turned, in[0].dims()), in[0].dtype())};
  }
  static Values vjp(const Attrs& a, const Vjp& v);
};

}  // namespace

CORTEN_OP(Rotary)

namespace {
Values Rotary::vjp(const Attrs& a, const Vjp& v) {
  if (v.needed[1] || v.needed[2]) return derived_vjp(kRotary, ir::make_attrs(a), v);
  return {emit1(kRotary, {v.grads[0], v.inputs[1], v.inputs[2]}, Attrs{!a.inverse}), Value(), Value()};
}
}  // namespace

Value rotary(Value x, Value cosines, Value sines) {
  const bool fits = x.rank() >= 2 && x.dims().back() % 2 == 0 && cosines.rank() == x.rank() && cosines.dims().back() * 2 == x.dims().back();
  bool broadcasts = fits && cosines.type() == sines.type() && is_floating(x.dtype()) &&
                    cosines.dtype() == compute_type(x.dtype());
  for (int64_t d = 0; broadcasts && d + 1 < x.rank(); ++d) broadcasts = cosines.dims()[d] == 1 || cosines.dims()[d] == x.dims()[d];
  if (!broadcasts)
    usage_error("[rotary] cosines {} and sines {} do not turn the halves of {}", to_string(cosines.type()), to_string(sines.type()), to_string(x.type()));
  return emit1(kRotary, {x, cosines, sines}, Rotary::Attrs{});
}

}  // namespace corten::ops
