// Products of 8-bit floating-point matrices, and the linear layer that is made of them.
#include "ops/define.h"

namespace corten::ops {
namespace {

/// scale_a scale_b a b^T, with f32 sums: a [m, k] and b [n, k], so that both have rows of k as the tensor cores read them.
struct ScaledMatMul {
  static constexpr auto name = "scaled_matmul";
  static constexpr OpKind kind = OpKind::library;
  static constexpr int arity = 4;  // a, b, scale_a, scale_b
  static constexpr bool no_gradient = true;
  struct Attrs { DType out = DType::bf16; CORTEN_FIELDS(out) };
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    const Type &x = in[0], &y = in[1];
    const Type scale{DType::f32, {}};
    if (x.rank() != 2 || y.rank() != 2 || !is_float8(x.dtype) || !is_float8(y.dtype) || x.dims[1] != y.dims[1])
      usage_error("[scaled_matmul] {} and {} (transposed) do not multiply: matrices of f8_e4m3 or f8_e5m2 do", to_string(x), to_string(y));
    if (in[2] != scale || in[3] != scale)
      usage_error("[scaled_matmul] scales {} and {} are not f32[]", to_string(in[2]), to_string(in[3]));
    if (a.out != DType::f32 && a.out != DType::bf16 && a.out != DType::f16)
      usage_error("[scaled_matmul] a result of {}: choose f32, bf16 or f16", corten::name(a.out));
    return {Type{a.out, {x.dims[0], y.dims[0]}}};
  }
  /// Rows of 16 bytes.
  static bool accepts(const Attrs&, size_t index, const Dims&, const ir::Layout& layout) {
    return index > 1 || (layout.strides[1] == 1 && layout.strides[0] % 16 == 0 && layout.offset % 16 == 0);
  }
  /// bf16 holds every number of the 8-bit types, so that products are exact.
  static Values expand(const Attrs& a, const Values& in) {
    Value y = matmul(cast(in[0], DType::bf16), transpose(cast(in[1], DType::bf16), 0, 1), DType::f32);
    return {cast(y * ops::expand(in[2] * in[3], y.dims()), a.out)};
  }
};

}  // namespace

CORTEN_OP(ScaledMatMul)

namespace {

struct Scaled {
  Value values, inverse;  // x = values * inverse, nearly
};
/// x in the 8-bit range: its largest magnitude becomes the type's (one scale per tensor).
Scaled scaled(const Value& x, DType dtype) {
  const Value wide = cast(x, DType::f32);
  Value most = abs(wide);
  while (most.rank() > 0) most = max(most, {-1}, false);  // axis by axis: rows side by side
  Value scale = div(dtype == DType::f8_e4m3 ? 448.0 : 57344.0, maximum(most, full_like(most, 1e-12)));
  return {cast(wide * ops::expand(scale, wide.dims()), dtype), div(1.0, scale)};
}

/// linear() by 8-bit products, forward and backward: x, w in f8_e4m3, the result's gradient in f8_e5m2.
struct Float8Linear : Composite {
  static constexpr auto name = "float8_linear";
  static constexpr int arity = -1;  // x, w, bias or not
  struct Attrs { bool transposed = false; CORTEN_FIELDS(transposed) };
  static Value flat(const Value& x) { return reshape(x, {-1, x.dims().back()}); }
  static Value product(const Scaled& a, const Value& a_rows, const Scaled& b, const Value& b_rows, DType out) {
    return emit1(kScaledMatMul, {a_rows, b_rows, a.inverse, b.inverse}, ScaledMatMul::Attrs{out});
  }
  static Value turned(const Value& x) { return transpose(x, 0, 1); }
  static Values expand(const Attrs& a, const Values& in) {
    const DType dtype = in[0].dtype(), wide = compute_type(dtype);
    const Scaled x = scaled(flat(in[0]), DType::f8_e4m3), w = scaled(in[1], DType::f8_e4m3);
    Value y = product(x, x.values, w, a.transposed ? w.values : turned(w.values), in.size() > 2 ? wide : dtype);
    if (in.size() > 2) y = cast(y + ops::expand(cast(in[2], wide), y.dims()), dtype);
    Dims dims = in[0].dims();
    dims.back() = y.dims()[1];
    return {reshape(y, dims)};
  }
  static Values vjp(const Attrs& a, const Vjp& v) {
    const Value grad = flat(v.grads[0]);
    const Scaled g = scaled(grad, DType::f8_e5m2);
    Values out(v.inputs.size());
    if (v.needed[0]) {
      const Scaled w = scaled(v.inputs[1], DType::f8_e4m3);
      out[0] = reshape(product(g, g.values, w, a.transposed ? turned(w.values) : w.values, v.inputs[0].dtype()),
                       v.inputs[0].dims());
    }
    if (v.needed[1]) {
      const Scaled x = scaled(flat(v.inputs[0]), DType::f8_e4m3);
      const Value gt = turned(g.values), xt = turned(x.values);
      const DType dtype = v.inputs[1].dtype();
      out[1] = a.transposed ? product(g, gt, x, xt, dtype) : product(x, xt, g, gt, dtype);
    }
    if (v.inputs.size() > 2 && v.needed[2]) out[2] = sum(cast(grad, v.inputs[2].dtype()), {0}, false);
    return out;
  }
};

}  // namespace

CORTEN_OP(Float8Linear)

Value scaled_matmul(Value a, Value b, Value scale_a, Value scale_b, DType out_dtype) {
  if (a.rank() != 2 || b.rank() != 2)
    usage_error("[scaled_matmul] operands need two axes, got {} and {}", to_string(a.type()), to_string(b.type()));
  return emit1(kScaledMatMul, {a, transpose(b, 0, 1), scale_a, scale_b}, ScaledMatMul::Attrs{out_dtype});
}

std::pair<Value, Value> float8_scaled(Value x, DType dtype) {
  if (!is_float8(dtype) || !is_floating(x.dtype()) || x.dtype() == DType::f64 || is_float8(x.dtype()) || x.type().elements() == 0)
    usage_error("[float8_scaled] {} to {}: f32, bf16 and f16 go to f8_e4m3 or f8_e5m2, if there are any elements", to_string(x.type()),
                name(dtype));
  Scaled s = scaled(x, dtype);
  return {s.values, s.inverse};
}

Value float8_linear(Value x, Value w, Value bias, bool transposed) {
  const auto suits = [](const Value& v) { return compute_type(v.dtype()) == DType::f32 && !is_float8(v.dtype()); };
  if (x.rank() < 1 || w.rank() != 2 || x.dims().back() != w.dims()[transposed ? 1 : 0] || !suits(x) || !suits(w) ||
      x.type().elements() == 0 || (bias && (bias.dims() != Dims{w.dims()[transposed ? 0 : 1]} || !suits(bias))))
    usage_error("[float8_linear] input {}, weight {}{} and bias {} do not fit", to_string(x.type()), to_string(w.type()),
                transposed ? " (transposed)" : "", bias ? to_string(bias.type()) : "none");
  return emit1(kFloat8Linear, bias ? Values{x, w, bias} : Values{x, w}, Float8Linear::Attrs{transposed});
}

}  // namespace corten::ops
