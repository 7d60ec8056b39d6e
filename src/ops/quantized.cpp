// Linear layers and embeddings whose weights are int8 or int4.
#include "ops/quantized.h"

#include "ops/define.h"

namespace corten::ops {
namespace {

/// The integers [n, k] that packed weights stand for, in `dtype`.
Value unpack(const QuantizedShape& s, const Value& packed, DType dtype) {
  const int64_t run = 4, panels = s.panels(), padded = s.padded_k();
  Value bytes =
      cast(reshape(packed, {panels, padded * s.bits / 8 / run, kPanelColumns, run}), DType::i32);
  if (s.bits == 4) {  // of each byte the low half, then the high one
    Value high = div(bytes, 16);
    bytes = stack({bytes - high * 16, high}, 2);
  } else {
    bytes = reshape(bytes, {panels, padded / run, 1, kPanelColumns, run});
  }
  Value rows = reshape(permute(bytes, {0, 3, 1, 2, 4}), {panels * kPanelColumns, padded});
  return cast(slice(rows, {0, 0}, {s.n, s.k}), dtype) - (s.bits == 8 ? 128.0 : 8.0);
}

/// The weights [n, k] as they count, in `dtype`.
Value dequantize(const QuantizedShape& s, const Value& packed, const Value& scale, DType dtype) {
  Value w = unpack(s, packed, dtype), factor = cast(reshape(scale, {-1}), dtype);
  if (s.bits == 8) return w * expand(reshape(slice(factor, {0}, {s.n}), {s.n, 1}), w.dims());
  // [panel][group][output] to [output][k]
  const int64_t rows = s.panels() * kPanelColumns;
  factor = reshape(permute(reshape(factor, {s.panels(), s.groups(), kPanelColumns}), {0, 2, 1}),
                   {rows, s.groups(), 1});
  factor = reshape(expand(factor, {rows, s.groups(), s.group}), {rows, s.padded_k()});
  return w * slice(factor, {0, 0}, {s.n, s.k});
}

void check_weights(std::string_view op, const QuantizedShape& s, const Type& weight,
                   const Type& scale) {
  check(s);
  if (weight.dtype != DType::u8 || weight.elements() != s.weight_bytes() ||
      scale.dtype != s.scale_dtype() || scale.elements() != s.scale_count())
    usage_error("[{}] weights {} with scales {} are not [{}, {}] of {} bits in groups of {}", op,
                to_string(weight), to_string(scale), s.n, s.k, s.bits, s.group);
}

/// x W^T + bias, where x is rounded to int8 row by row but for its outliers:
/// quant/quantized_product.h.
struct QuantizedLinear : Composite {
  static constexpr auto name = "quantized_linear";
  static constexpr int arity = -1;  // x, weight, scale, bias or not
  static constexpr bool no_gradient = true;
  using Attrs = QuantizedAttrs;
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    Type out = in[0];
    out.dims.back() = a.n;
    return {out};
  }
  static Values expand(const Attrs& a, const Values& in) {
    const QuantizedShape s = a.shape();
    Value x = cast(reshape(in[0], {-1, s.k}), compute_type(in[0].dtype()));
    const Value zero = full_like(x, 0);
    const auto of_rows = [&](const Value& v) { return ops::expand(v, x.dims()); };
    Value kept = x, outliers = zero;
    if (a.threshold > 0) {
      Value square = mean(x * x, {-1}, true);
      Value limit = where(gt(square, full_like(square, 0x1p-100)), sqrt(square) * a.threshold,
                          std::numeric_limits<double>::infinity());
      Value beyond = gt(abs(x), of_rows(limit));
      kept = where(beyond, zero, x);
      outliers = where(beyond, x, zero);
    }
    Value most = max(abs(kept), {-1}, true);
    Value inverse = where(gt(most, full_like(most, 0x1p-119)), div(127.0, most), 0);
    Value rounded = round(kept * of_rows(inverse)) * of_rows(div(most, 127.0)) + outliers;
    Value w = dequantize(s, in[1], in[2], rounded.dtype());
    Value y = matmul(rounded, transpose(w, 0, 1), rounded.dtype());
    if (in.size() > 3) y = y + ops::expand(cast(in[3], y.dtype()), y.dims());
    Dims dims = in[0].dims();
    dims.back() = s.n;
    return {cast(reshape(y, dims), in[0].dtype())};
  }
  static Values claim(const Attrs& a, const Values& in);
};

/// The same by the family src/quant, of rows [m, k].
struct ClaimedQuantizedLinear {
  static constexpr auto name = "quantized_product";
  static constexpr OpKind kind = OpKind::library;
  static constexpr int arity = -1;
  static constexpr bool no_gradient = true;
  using Attrs = QuantizedAttrs;
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    return QuantizedLinear::infer(a, in);
  }
  static bool accepts(const Attrs&, size_t index, const Dims& dims, const ir::Layout& layout) {
    if (index == 0) return layout.strides[1] == 1 || dims[1] == 1;
    return ir::is_contiguous(layout, dims);
  }
  static Values expand(const Attrs& a, const Values& in) { return QuantizedLinear::expand(a, in); }
};

}  // namespace

CORTEN_OP(QuantizedLinear)
CORTEN_OP(ClaimedQuantizedLinear)

namespace {

Values QuantizedLinear::claim(const Attrs& a, const Values& in) {
  if (in[0].dtype() == DType::f64) return {};
  Values operands = in;
  operands[0] = reshape(in[0], {-1, a.k});
  Dims dims = in[0].dims();
  dims.back() = a.n;
  return {reshape(emit1(kClaimedQuantizedLinear, operands, a), dims)};
}

}  // namespace

Value quantized_linear(Value x, Value weight, Value scale, Value bias, const QuantizedShape& shape,
                       double threshold) {
  check_weights("quantized_linear", shape, weight.type(), scale.type());
  if (x.rank() < 1 || !is_floating(x.dtype()) || x.dims().back() != shape.k ||
      (bias &&
       (bias.dims() != Dims{shape.n} || !is_floating(bias.dtype()) || bias.dtype() == DType::f64)))
    usage_error("[quantized_linear] input {} and bias {} do not fit weights [{}, {}]",
                to_string(x.type()), bias ? to_string(bias.type()) : "none", shape.n, shape.k);
  if (!(threshold == 0 || (threshold >= 1 && threshold < 1e6)))
    usage_error(
        "[quantized_linear] the outlier threshold {} is neither 0 (no outliers) nor at least 1",
        threshold);
  Values in{x, weight, scale};
  if (bias) in.push_back(bias);
  return emit1(kQuantizedLinear, in,
               QuantizedAttrs{shape.bits, shape.group, shape.n, shape.k, threshold});
}

Value quantized_embedding(Value ids, Value weight, Value scale, const QuantizedShape& s,
                          DType dtype) {
  check_weights("quantized_embedding", s, weight.type(), scale.type());
  if (s.bits != 8)
    usage_error("[quantized_embedding] the rows of embeddings have 8 bits, not {}", s.bits);
  if (is_floating(ids.dtype()))
    usage_error("[quantized_embedding] ids are integers, got {}", to_string(ids.type()));
  const int64_t count = ids.type().elements(), run = 4, runs = s.padded_k() / run;
  Dims dims = ids.dims();
  dims.push_back(s.k);
  Value id = reshape(cast(ids, DType::i64), {count});
  // Ids outside of the table are noticed by the look-up of scales.
  Value row_scale = index_select(slice(reshape(scale, {-1}), {0}, {s.n}), 0, id);
  Value inside =
      logical_and(ge(id, full_like(id, 0)), lt(id, full_like(id, static_cast<double>(s.n))));
  Value safe = where(inside, id, 0);
  Value column = rem(safe, full_like(safe, static_cast<double>(kPanelColumns)));
  Value panel = div(safe, static_cast<double>(kPanelColumns));
  Value panels = reshape(index_select(reshape(weight, {s.panels(), s.panel_bytes()}), 0, panel),
                         {count, runs, kPanelColumns, run});
  Value index = expand(reshape(column, {count, 1, 1, 1}), {count, runs, 1, run});
  Value row = slice(reshape(gather(panels, index, 2), {count, s.padded_k()}), {0, 0}, {count, s.k});
  Value w = (cast(row, DType::f32) - 128.0) * expand(reshape(row_scale, {count, 1}), {count, s.k});
  return cast(reshape(w, dims), dtype);
}

}  // namespace corten::ops
