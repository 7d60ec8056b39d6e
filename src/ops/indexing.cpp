// Padding, gathers, scatters, constants and indices.
#include "ops/define.h"
#include "ops/view_layout.h"

namespace corten::ops {
namespace {

struct Pad {
  static constexpr auto name = "pad";
  static constexpr OpKind kind = OpKind::pad;
  static constexpr int arity = 1;
  struct Attrs { Dims low, high; double value = 0; CORTEN_FIELDS(low, high, value) };
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    Type out = in[0];
    bool ok = a.low.size() == out.dims.size() && a.high.size() == out.dims.size();
    for (size_t i = 0; ok && i < out.dims.size(); ++i) {
      ok = a.low[i] >= 0 && a.high[i] >= 0;
      out.dims[i] += a.low[i] + a.high[i];
    }
    if (!ok)
      usage_error("[pad] amounts {} and {} do not fit {}", ir::to_string(a.low), ir::to_string(a.high), to_string(in[0]));
    return {out};
  }
  static Values vjp(const Attrs& a, const Vjp& v) { return {slice(v.grads[0], a.low, v.inputs[0].dims())}; }
};

void check_index(std::string_view what, const Type& x, const Type& index, int64_t axis) {
  bool ok = index.dtype == DType::i64 && x.rank() == index.rank() && axis >= 0 && axis < x.rank();
  for (int64_t i = 0; ok && i < x.rank(); ++i) ok = i == axis || x.dims[i] == index.dims[i];
  if (!ok)
    usage_error("[{}] an index {} along axis {} does not fit {}: it must be i64 and equal in the other sizes", what,
                to_string(index), axis, to_string(x));
}

struct Gather {
  static constexpr auto name = "gather";
  static constexpr OpKind kind = OpKind::gather;
  static constexpr int arity = 2;
  struct Attrs { int64_t axis = 0; CORTEN_FIELDS(axis) };
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    check_index(name, in[0], in[1], a.axis);
    Type out = in[0];
    out.dims = in[1].dims;
    return {out};
  }
  static Values vjp(const Attrs& a, const Vjp& v) {
    return {scatter_gradient(v, 0, v.inputs[1], v.grads[0], a.axis), Value()};
  }
};

struct Scatter {
  static constexpr OpKind kind = OpKind::scatter;
  static constexpr int arity = 3;  // base, index, updates
  using Attrs = Gather::Attrs;
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    check_index("scatter", in[0], in[1], a.axis);
    if (in[2].dims != in[1].dims || in[2].dtype != in[0].dtype)
      usage_error("[scatter] updates {} do not fit the index {} and {}", to_string(in[2]), to_string(in[1]), to_string(in[0]));
    return {in[0]};
  }
};
struct ScatterAdd : Scatter {
  static constexpr auto name = "scatter_add";
  static Values vjp(const Attrs& a, const Vjp& v) {
    return {v.grads[0], Value(), v.needed[2] ? gather(v.grads[0], v.inputs[1], a.axis) : Value()};
  }
};
struct ScatterSet : Scatter {
  static constexpr auto name = "scatter_set";
  static Values vjp(const Attrs& a, const Vjp& v) {
    return {v.needed[0] ? scatter_set(v.grads[0], v.inputs[1], full_like(v.inputs[2], 0), a.axis) : Value(), Value(),
            v.needed[2] ? gather(v.grads[0], v.inputs[1], a.axis) : Value()};
  }
};

struct Full {
  static constexpr auto name = "full";
  static constexpr OpKind kind = OpKind::full;
  static constexpr int arity = 0;
  static constexpr bool no_gradient = true;
  struct Attrs { Dims dims; DType dtype = DType::f32; double value = 0; CORTEN_FIELDS(dims, dtype, value) };
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>&) { return {Type{a.dtype, a.dims}}; }
};

/// An affine function of the coordinates: sum of strides[d] * i_d, i64.
struct Iota {
  static constexpr auto name = "iota";
  static constexpr OpKind kind = OpKind::iota;
  static constexpr int arity = 0;
  static constexpr bool no_gradient = true;
  struct Attrs { Dims dims, strides; CORTEN_FIELDS(dims, strides) };
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>&) { return {Type{DType::i64, a.dims}}; }
};

}  // namespace

CORTEN_OP(Pad) CORTEN_OP(Gather) CORTEN_OP(ScatterAdd) CORTEN_OP(ScatterSet) CORTEN_OP(Full) CORTEN_OP(Iota)

Value pad(Value x, Dims low, Dims high, double value) {
  if (ir::product(low) == 0 && low == Dims(low.size(), 0) && high == low) return x;
  return emit1(kPad, {x}, Pad::Attrs{std::move(low), std::move(high), value});
}
Value gather(Value x, Value index, int64_t axis) {
  return emit1(kGather, {x, index}, Gather::Attrs{ir::normalize_axis(axis, x.type(), "gather")});
}
Value scatter_add(Value base, Value index, Value updates, int64_t axis) {
  return emit1(kScatterAdd, {base, index, updates}, Gather::Attrs{ir::normalize_axis(axis, base.type(), "scatter_add")});
}
Value scatter_set(Value base, Value index, Value updates, int64_t axis) {
  return emit1(kScatterSet, {base, index, updates}, Gather::Attrs{ir::normalize_axis(axis, base.type(), "scatter_set")});
}
Value index_select(Value x, int64_t axis, Value index) {
  axis = ir::normalize_axis(axis, x.type(), "index_select");
  if (index.rank() != 1) usage_error("[index_select] the index must have one axis, got {}", to_string(index.type()));
  Dims shape(x.rank(), 1), full_shape = x.dims();
  shape[axis] = full_shape[axis] = index.dims()[0];
  return gather(x, expand(reshape(cast(index, DType::i64), shape), full_shape), axis);
}
const Dims& iota_strides(const AttrsPtr& attrs) { return ir::get<Iota::Attrs>(attrs).strides; }
double full_value(const AttrsPtr& attrs) { return ir::get<Full::Attrs>(attrs).value; }
Value full(Dims dims, DType dtype, double value) { return emit1(kFull, {}, Full::Attrs{std::move(dims), dtype, value}); }
Value iota(Dims dims, int64_t axis) {
  Dims strides(dims.size(), 0);
  strides.at(axis) = 1;
  return emit1(kIota, {}, Iota::Attrs{std::move(dims), std::move(strides)});
}
Value linear_index(Dims dims) {
  Dims strides = ir::contiguous_strides(dims);
  return emit1(kIota, {}, Iota::Attrs{std::move(dims), std::move(strides)});
}

Value concat(const Values& parts, int64_t axis) {
  if (parts.empty()) usage_error("[concat] there is nothing to join");
  axis = ir::normalize_axis(axis, parts[0].type(), "concat");
  Dims dims = parts[0].dims();
  dims[axis] = 0;
  for (const Value& part : parts) {
    Dims other = part.dims();
    bool ok = other.size() == dims.size() && part.dtype() == parts[0].dtype();
    for (size_t i = 0; ok && i < dims.size(); ++i) ok = static_cast<int64_t>(i) == axis || other[i] == dims[i];
    if (!ok)
      usage_error("[concat] {} and {} do not join along axis {}", to_string(parts[0].type()), to_string(part.type()), axis);
    dims[axis] += other[axis];
  }
  // Each part padded to the whole; the coordinate picks the part.
  Value out;
  int64_t start = 0;
  Value place = parts.size() > 1 ? iota(dims, axis) : Value();
  for (const Value& part : parts) {
    int64_t size = part.dims()[axis];
    Dims low(dims.size(), 0), high(dims.size(), 0);
    low[axis] = start;
    high[axis] = dims[axis] - start - size;
    Value padded = pad(part, low, high, 0);
    out = out ? where(lt(place, full_like(place, static_cast<double>(start))), out, padded) : padded;
    start += size;
  }
  return out;
}
Value stack(const Values& parts, int64_t axis) {
  if (parts.empty()) usage_error("[stack] there is nothing to join");
  Values expanded;
  int64_t rank = parts[0].rank() + 1, place = axis < 0 ? axis + rank : axis;
  if (place < 0 || place >= rank) usage_error("[stack] axis {} is out of range (rank {})", axis, rank);
  for (const Value& part : parts) {
    Dims dims = part.dims();
    dims.insert(dims.begin() + std::min<int64_t>(place, part.rank()), 1);
    expanded.push_back(reshape(part, dims));
  }
  return concat(expanded, place);
}

}  // namespace corten::ops
