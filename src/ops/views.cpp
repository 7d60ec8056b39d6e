// Views: the same elements in another arrangement. They cost nothing where strides can express them.
#include <algorithm>

#include "ops/define.h"
#include "ops/view_layout.h"

namespace corten::ops {
namespace {

struct View {
  static constexpr OpKind kind = OpKind::view;
  static constexpr int arity = 1;
};

struct Reshape : View {
  static constexpr auto name = "reshape";
  struct Attrs { Dims dims; CORTEN_FIELDS(dims) };
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    if (ir::product(a.dims) != in[0].elements())
      usage_error("[reshape] {} has {} elements, {} has {}", to_string(in[0]), in[0].elements(), ir::to_string(a.dims),
                  ir::product(a.dims));
    Type out = in[0];
    out.dims = a.dims;
    return {out};
  }
  static Values vjp(const Attrs&, const Vjp& v) { return {reshape(v.grads[0], v.inputs[0].dims())}; }
};

struct Permute : View {
  static constexpr auto name = "permute";
  struct Attrs { Dims axes; CORTEN_FIELDS(axes) };
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    Dims sorted = a.axes;
    std::sort(sorted.begin(), sorted.end());
    Type out = in[0];
    bool ok = static_cast<int64_t>(sorted.size()) == in[0].rank();
    for (size_t i = 0; ok && i < sorted.size(); ++i) ok = sorted[i] == static_cast<int64_t>(i);
    if (!ok) usage_error("[permute] {} is not an order of the axes of {}", ir::to_string(a.axes), to_string(in[0]));
    for (size_t i = 0; i < a.axes.size(); ++i) out.dims[i] = in[0].dims[a.axes[i]];
    return {out};
  }
  static Values vjp(const Attrs& a, const Vjp& v) {
    Dims inverse(a.axes.size());
    for (size_t i = 0; i < a.axes.size(); ++i) inverse[a.axes[i]] = static_cast<int64_t>(i);
    return {permute(v.grads[0], inverse)};
  }
};

struct Expand : View {
  static constexpr auto name = "expand";
  struct Attrs { Dims dims; CORTEN_FIELDS(dims) };
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    Type out = in[0];
    bool ok = in[0].dims.size() == a.dims.size();
    for (size_t i = 0; ok && i < a.dims.size(); ++i) ok = in[0].dims[i] == a.dims[i] || in[0].dims[i] == 1;
    if (!ok) usage_error("[expand] {} does not broadcast to {}", to_string(in[0]), ir::to_string(a.dims));
    out.dims = a.dims;
    return {out};
  }
  static Values vjp(const Attrs&, const Vjp& v) { return {sum_to(v.grads[0], v.inputs[0].dims())}; }
};

struct Slice : View {
  static constexpr auto name = "slice";
  struct Attrs { Dims starts, sizes; CORTEN_FIELDS(starts, sizes) };
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    Type out = in[0];
    bool ok = a.starts.size() == in[0].dims.size() && a.sizes.size() == in[0].dims.size();
    for (size_t i = 0; ok && i < a.starts.size(); ++i)
      ok = a.starts[i] >= 0 && a.sizes[i] >= 0 && a.starts[i] + a.sizes[i] <= in[0].dims[i];
    if (!ok)
      usage_error("[slice] starts {} with sizes {} lie outside of {}", ir::to_string(a.starts), ir::to_string(a.sizes),
                  to_string(in[0]));
    out.dims = a.sizes;
    return {out};
  }
  static Values vjp(const Attrs& a, const Vjp& v) {
    Dims high(a.starts.size());
    for (size_t i = 0; i < high.size(); ++i) high[i] = v.inputs[0].dims()[i] - a.starts[i] - a.sizes[i];
    return {pad(v.grads[0], a.starts, high, 0)};
  }
};

}  // namespace

CORTEN_OP(Reshape) CORTEN_OP(Permute) CORTEN_OP(Expand) CORTEN_OP(Slice)

Value reshape(Value x, Dims dims) {
  int64_t unknown = -1, known = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == -1 && unknown < 0) unknown = static_cast<int64_t>(i);
    else if (dims[i] < 0) usage_error("[reshape] {} is not a shape", ir::to_string(dims));
    else known *= dims[i];
  }
  if (unknown >= 0) {
    if (known == 0 || x.type().elements() % known)
      usage_error("[reshape] {} does not fit {}", to_string(x.type()), ir::to_string(dims));
    dims[unknown] = x.type().elements() / known;
  }
  return x.dims() == dims ? x : emit1(kReshape, {x}, Reshape::Attrs{std::move(dims)});
}
Value permute(Value x, Dims axes) {
  for (int64_t& axis : axes) axis = ir::normalize_axis(axis, x.type(), "permute");
  if (std::is_sorted(axes.begin(), axes.end()) && static_cast<int64_t>(axes.size()) == x.rank() &&
      std::adjacent_find(axes.begin(), axes.end()) == axes.end())
    return x;
  return emit1(kPermute, {x}, Permute::Attrs{std::move(axes)});
}
Value transpose(Value x, int64_t a, int64_t b) {
  Dims axes(x.rank());
  for (size_t i = 0; i < axes.size(); ++i) axes[i] = static_cast<int64_t>(i);
  std::swap(axes[ir::normalize_axis(a, x.type(), "transpose")], axes[ir::normalize_axis(b, x.type(), "transpose")]);
  return permute(x, axes);
}
Value expand(Value x, const Dims& dims) {
  if (x.dims() == dims) return x;
  if (x.dims().size() > dims.size())
    usage_error("[expand] {} does not broadcast to {}", to_string(x.type()), ir::to_string(dims));
  Dims padded(dims.size() - x.dims().size(), 1);
  padded.insert(padded.end(), x.dims().begin(), x.dims().end());
  x = reshape(x, padded);
  return x.dims() == dims ? x : emit1(kExpand, {x}, Expand::Attrs{dims});
}
Value slice(Value x, Dims starts, Dims sizes) {
  if (sizes == x.dims()) return x;
  return emit1(kSlice, {x}, Slice::Attrs{std::move(starts), std::move(sizes)});
}
Value slice_axis(Value x, int64_t axis, int64_t start, int64_t size) {
  axis = ir::normalize_axis(axis, x.type(), "slice");
  Dims starts(x.rank(), 0), sizes = x.dims();
  starts[axis] = start;
  sizes[axis] = size;
  return slice(x, std::move(starts), std::move(sizes));
}

namespace {

std::optional<Dims> reshaped_strides(const Dims& dims, const Dims& strides, const Dims& to) {
  if (ir::product(dims) == 0) return ir::contiguous_strides(to);
  // `dims` has no unit axes. Runs of source axes that behave as one (outer stride = inner stride * inner size), innermost first, are matched with
  // runs of target axes of the same number of elements.
  Dims out(to.size(), 0);
  size_t target = to.size();
  for (size_t i = dims.size(); i-- > 0;) {
    int64_t run = dims[i], stride = strides[i];
    while (i > 0 && strides[i - 1] == strides[i] * dims[i]) --i, run *= dims[i];
    int64_t covered = 1;
    while (covered < run) {
      if (target == 0) return std::nullopt;
      --target;
      if (run % (covered * to[target]) != 0) return std::nullopt;
      out[target] = stride * covered;
      covered *= to[target];
    }
  }
  // What is left has size 1.
  return out;
}

}  // namespace

std::optional<ir::Layout> view_layout(const Op& op, const AttrsPtr& attrs, const Dims& dims, const ir::Layout& layout) {
  ir::Layout out{layout.offset, {}};
  if (&op == &kReshape) {
    // Unit axes carry no information: drop them before matching runs.
    Dims packed, packed_strides;
    for (size_t i = 0; i < dims.size(); ++i)
      if (dims[i] != 1) packed.push_back(dims[i]), packed_strides.push_back(layout.strides[i]);
    auto strides = reshaped_strides(packed, packed_strides, ir::get<Reshape::Attrs>(attrs).dims);
    if (!strides) return std::nullopt;
    out.strides = *strides;
  } else if (&op == &kPermute) {
    for (int64_t axis : ir::get<Permute::Attrs>(attrs).axes) out.strides.push_back(layout.strides[axis]);
  } else if (&op == &kExpand) {
    const Dims& to = ir::get<Expand::Attrs>(attrs).dims;
    for (size_t i = 0; i < to.size(); ++i) out.strides.push_back(dims[i] == 1 && to[i] != 1 ? 0 : layout.strides[i]);
  } else if (&op == &kSlice) {
    const Dims& starts = ir::get<Slice::Attrs>(attrs).starts;
    out.strides = layout.strides;
    for (size_t i = 0; i < starts.size(); ++i) out.offset += starts[i] * layout.strides[i];
  } else {
    return std::nullopt;
  }
  return out;
}

}  // namespace corten::ops
