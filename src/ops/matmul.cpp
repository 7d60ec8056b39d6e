// Matrix products.
#include "ops/define.h"

namespace corten::ops {
namespace {

struct MatMul {
  static constexpr auto name = "matmul";
  static constexpr OpKind kind = OpKind::matmul;
  static constexpr int arity = 2;
  struct Attrs { DType out = DType::f32; CORTEN_FIELDS(out) };
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    const Type &x = in[0], &y = in[1];
    if (is_float8(x.dtype)) usage_error("[matmul] {} and {}: 8-bit floats multiply by scaled_matmul()", to_string(x), to_string(y));
    bool ok = x.rank() >= 2 && x.rank() == y.rank() && x.dtype == y.dtype && is_floating(x.dtype) &&
              x.dims[x.rank() - 1] == y.dims[y.rank() - 2];
    for (int64_t i = 0; ok && i + 2 < x.rank(); ++i) ok = x.dims[i] == y.dims[i];
    if (!ok) usage_error("[matmul] {} and {} do not multiply", to_string(x), to_string(y));
    Type out = x;
    out.dims[out.rank() - 1] = y.dims[y.rank() - 1];
    out.dtype = a.out;
    return {out};
  }
  static Values vjp(const Attrs&, const Vjp& v) {
    const Value &a = v.inputs[0], &b = v.inputs[1];
    Value g = cast(v.grads[0], a.dtype());
    return {v.needed[0] ? matmul(g, transpose(b, -1, -2), a.dtype()) : Value(),
            v.needed[1] ? matmul(transpose(a, -1, -2), g, b.dtype()) : Value()};
  }
};

/// Operands as the GEMM family multiplies them: an f32 one beside a bf16 one counts as the bf16 that it rounds to.
std::vector<Type> as_multiplied(Type a, Type b) {
  if (a.dtype == DType::f32 && b.dtype == DType::bf16) a.dtype = DType::bf16;
  if (b.dtype == DType::f32 && a.dtype == DType::bf16) b.dtype = DType::bf16;
  return {std::move(a), std::move(b)};
}

/// A product claimed by the GEMM family, with its epilogue: bias [n] (f32, optional), then rounding to `out`.
struct Gemm {
  static constexpr auto name = "gemm";
  static constexpr OpKind kind = OpKind::library;
  static constexpr int arity = -1;  // a, b, bias or not
  static constexpr bool no_gradient = true;
  using Attrs = MatMul::Attrs;
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    if (in.size() > 2 && (in[2].dtype != compute_type(in[0].dtype) || in[2].dims != Dims{in[1].dims.back()}))
      usage_error("[gemm] bias {} does not fit {}", to_string(in[2]), to_string(in[1]));
    return MatMul::infer(a, as_multiplied(in[0], in[1]));
  }
  static bool accepts(const Attrs&, size_t index, const Dims& dims, const ir::Layout& layout) {
    const size_t rank = dims.size();
    if (index == 2) return layout.strides[0] == 1;
    return rank <= 5 && (layout.strides[rank - 1] == 1 || layout.strides[rank - 2] == 1 || dims[rank - 1] == 1 || dims[rank - 2] == 1);
  }
};

/// C + A B by going on with the chains whose sums so far are C, in C's memory: the bits of one product over both k. Products
/// in float32 and float64 only, in multiples of 32 k before the last.
struct GemmContinue {
  static constexpr auto name = "gemm_continue";
  static constexpr OpKind kind = OpKind::library;
  static constexpr int arity = 3;  // a, b, c
  static constexpr int in_place = 2;
  static constexpr bool no_gradient = true;
  using Attrs = ir::NoAttrs;
  static std::vector<Type> infer(const Attrs&, const std::vector<Type>& in) {
    std::vector<Type> out = MatMul::infer({in[2].dtype}, as_multiplied(in[0], in[1]));
    if (out[0] != in[2] || in[2].dtype != compute_type(in[0].dtype))
      usage_error("[gemm_continue] sums {} do not fit {} and {}", to_string(in[2]), to_string(in[0]), to_string(in[1]));
    return out;
  }
  static bool accepts(const Attrs&, size_t index, const Dims& dims, const ir::Layout& layout) {
    return index == 2 ? layout.offset == 0 && ir::is_contiguous(layout, dims) : Gemm::accepts({}, index, dims, layout);
  }
};

/// x W + bias with the weight's gradient in the weight's own dtype (float32 for masters).
struct Linear : Composite {
  static constexpr auto name = "linear";
  static constexpr int arity = -1;  // x, w, bias or not
  struct Attrs { bool transposed = false; CORTEN_FIELDS(transposed) };
  static Value flat(const Value& x) { return reshape(x, {-1, x.dims().back()}); }
  static Value weight(const Attrs& a, const Values& in) {
    Value w = cast(in[1], in[0].dtype());
    return a.transposed ? transpose(w, 0, 1) : w;
  }
  static Values expand(const Attrs& a, const Values& in) {
    const Value& x = in[0];
    Value w = weight(a, in);
    Dims dims = x.dims();
    dims.back() = w.dims()[1];
    DType wide = compute_type(x.dtype());
    Value y = matmul(flat(x), w, in.size() > 2 ? wide : x.dtype());
    if (in.size() > 2) y = cast(y + cast(in[2], wide), x.dtype());
    return {reshape(y, dims)};
  }
  static Values vjp(const Attrs& a, const Vjp& v) {
    const Value &x = v.inputs[0], &w = v.inputs[1];
    Value g = flat(v.grads[0]), rows = flat(x);
    Values out(v.inputs.size());
    if (v.needed[0])
      out[0] = reshape(matmul(g, transpose(weight(a, v.inputs), 0, 1), x.dtype()), x.dims());
    if (v.needed[1])
      out[1] = a.transposed ? matmul(transpose(g, 0, 1), rows, w.dtype()) : matmul(transpose(rows, 0, 1), g, w.dtype());
    if (v.inputs.size() > 2 && v.needed[2]) out[2] = sum(cast(g, v.inputs[2].dtype()), {0}, false);
    return out;
  }
};

}  // namespace

CORTEN_OP(MatMul) CORTEN_OP(Gemm) CORTEN_OP(GemmContinue) CORTEN_OP(Linear)

Value matmul(Value a, Value b, std::optional<DType> out_dtype) {
  if (a.rank() < 2 || b.rank() < 2)
    usage_error("[matmul] operands need at least two axes, got {} and {}", to_string(a.type()), to_string(b.type()));
  Dims batch = ir::broadcast(Dims(a.dims().begin(), a.dims().end() - 2), Dims(b.dims().begin(), b.dims().end() - 2));
  auto widen = [&](const Value& x) {
    Dims dims = batch;
    dims.insert(dims.end(), x.dims().end() - 2, x.dims().end());
    return expand(x, dims);
  };
  // Products of f64 are f64, others are not: beyond that, the result is converted.
  const DType out = out_dtype.value_or(a.dtype());
  const DType made = (a.dtype() == DType::f64) == (out == DType::f64) ? out : compute_type(a.dtype());
  return cast(emit1(kMatMul, {widen(a), widen(b)}, MatMul::Attrs{made}), out);
}
Value gemm(Value a, Value b, Value bias, DType out_dtype) {
  return emit1(kGemm, bias ? Values{a, b, bias} : Values{a, b}, MatMul::Attrs{out_dtype});
}
Value gemm_continue(Value a, Value b, Value c) { return emit1(kGemmContinue, {a, b, c}); }
Value linear(Value x, Value w, Value bias, bool transposed) {
  if (x.rank() < 1 || w.rank() != 2 || x.dims().back() != w.dims()[transposed ? 1 : 0] ||
      (bias && (bias.rank() != 1 || bias.dims()[0] != w.dims()[transposed ? 0 : 1])))
    usage_error("[linear] input {}, weight {}{} and bias {} do not fit", to_string(x.type()), to_string(w.type()),
                transposed ? " (transposed)" : "", bias ? to_string(bias.type()) : "none");
  return emit1(kLinear, bias ? Values{x, w, bias} : Values{x, w}, Linear::Attrs{transposed});
}

}  // namespace corten::ops
