// Pooling: composites over windows that are gathered along one axis and reduced before the other axis is.
#include "ops/pooling.h"

#include <algorithm>
#include <limits>

#include "ops/convolution.h"
#include "ops/define.h"

namespace corten::ops {
namespace {

struct PoolingAttrs {
  Dims kernel, stride, padding, dilation, out;  // rows, columns
  CORTEN_FIELDS(kernel, stride, padding, dilation, out)
  /// What is missing behind an axis of `size` elements for the last window.
  int64_t behind(int d, int64_t size) const {
    return std::max<int64_t>(0, (out[d] - 1) * stride[d] + dilation[d] * (kernel[d] - 1) + 1 - size - padding[d]);
  }
};

Type pooled(const PoolingAttrs& a, const Type& x) {
  Type out = x;
  out.dims[2] = a.out[0];
  out.dims[3] = a.out[1];
  return out;
}
Value padded(const PoolingAttrs& a, const Value& x, double value) {
  return pad(x, {0, 0, a.padding[0], a.padding[1]}, {0, 0, a.behind(0, x.dims()[2]), a.behind(1, x.dims()[3])}, value);
}
/// Axis `axis` of x as [kernel, out]: the windows' elements.
Value windows(const PoolingAttrs& a, const Value& x, int64_t axis, int d) {
  const Dims grid{a.kernel[d], a.out[d]};
  Value places = iota(grid, 0) * static_cast<double>(a.dilation[d]) + iota(grid, 1) * static_cast<double>(a.stride[d]);
  Dims dims = x.dims();
  dims[axis] = grid[0];
  dims.insert(dims.begin() + axis + 1, grid[1]);
  return reshape(index_select(x, axis, reshape(places, {grid[0] * grid[1]})), dims);
}

/// The place in the padded image, row-major, of the first largest element of each window: x, result to i64 [N, C, OH * OW].
struct MaxPoolPlaces : Composite {
  static constexpr auto name = "max_pool2d_places";
  static constexpr int arity = 2;
  static constexpr bool no_gradient = true;
  using Attrs = PoolingAttrs;
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    return {Type{DType::i64, {in[0].dims[0], in[0].dims[1], a.out[0] * a.out[1]}}};
  }
  static Values expand(const Attrs& a, const Values& in) {
    Value x = padded(a, in[0], -std::numeric_limits<double>::infinity());
    const int64_t columns = x.dims()[3];
    x = windows(a, windows(a, x, 2, 0), 4, 1);  // [N, C, KH, OH, KW, OW]
    const Dims& dims = x.dims();
    Value most = ops::expand(reshape(in[1], {dims[0], dims[1], 1, dims[3], 1, dims[5]}), dims);
    Value row = iota(dims, 2) * static_cast<double>(a.dilation[0]) + iota(dims, 3) * static_cast<double>(a.stride[0]);
    Value column = iota(dims, 4) * static_cast<double>(a.dilation[1]) + iota(dims, 5) * static_cast<double>(a.stride[1]);
    Value place = row * static_cast<double>(columns) + column;
    place = where(logical_or(eq(x, most), ne(x, x)), place, static_cast<double>(int64_t{1} << 62));
    place = reshape(min(min(place, {4}, true), {2}, true), in[1].dims());
    // Where all of a window is -infinity, padding is as large as its elements, the first of which it is then.
    const auto first = [&](int d) {
      const auto constant = [&](int64_t value) { return full(place.dims(), DType::i64, static_cast<double>(value)); };
      Value start = iota(place.dims(), 2 + d) * static_cast<double>(a.stride[d]);
      Value before = maximum(constant(a.padding[d]) - start, constant(0));
      Value taps = (before + static_cast<double>(a.dilation[d] - 1)) / constant(a.dilation[d]);
      return start + taps * static_cast<double>(a.dilation[d]);
    };
    if (a.padding[0] + a.padding[1] > 0)
      place = where(eq(in[1], full_like(in[1], -std::numeric_limits<double>::infinity())), first(0) * static_cast<double>(columns) + first(1), place);
    return {reshape(place, {dims[0], dims[1], dims[3] * dims[5]})};
  }
};

struct MaxPool2d : Composite {
  static constexpr auto name = "max_pool2d";
  static constexpr int arity = 1;
  using Attrs = PoolingAttrs;
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) { return {pooled(a, in[0])}; }
  static Values expand(const Attrs& a, const Values& in) {
    Value x = padded(a, in[0], -std::numeric_limits<double>::infinity());
    x = max(windows(a, x, 2, 0), {2}, false);
    return {max(windows(a, x, 3, 1), {3}, false)};
  }
  static Values vjp(const Attrs& a, const Vjp& v);
};

struct AvgPoolAttrs : PoolingAttrs {
  bool count_include_pad = true;
  int64_t divisor = 0;
  CORTEN_FIELDS(kernel, stride, padding, dilation, out, count_include_pad, divisor)
};

struct AvgPool2d : Composite {
  static constexpr auto name = "avg_pool2d";
  static constexpr int arity = 1;
  using Attrs = AvgPoolAttrs;
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) { return {pooled(a, in[0])}; }
  /// Elements of the windows along an axis of `size`, as [1, 1, OH, OW].
  static Value counts(const Attrs& a, int d, int64_t size, DType dtype) {
    const Dims dims{1, 1, a.out[0], a.out[1]};
    const auto constant = [&](int64_t value) { return full(dims, DType::i64, static_cast<double>(value)); };
    Value first = iota(dims, 2 + d) * static_cast<double>(a.stride[d]) - constant(a.padding[d]);
    Value last = minimum(first + static_cast<double>(a.kernel[d]), constant(size + a.padding[d]));
    if (!a.count_include_pad) first = maximum(first, constant(0)), last = minimum(last, constant(size));
    return cast(last - first, dtype);
  }
  static Values expand(const Attrs& a, const Values& in) {
    const DType wide = compute_type(in[0].dtype());
    Value x = padded(a, cast(in[0], wide), 0);
    x = sum(windows(a, x, 2, 0), {2}, false);
    x = sum(windows(a, x, 3, 1), {3}, false);
    const Dims& image = in[0].dims();
    Value divisor = a.divisor ? full({1, 1, a.out[0], a.out[1]}, wide, static_cast<double>(a.divisor))
                              : counts(a, 0, image[2], wide) * counts(a, 1, image[3], wide);
    return {cast(x / ops::expand(divisor, x.dims()), in[0].dtype())};
  }
};

struct AdaptiveAvgPool2d : Composite {
  static constexpr auto name = "adaptive_avg_pool2d";
  static constexpr int arity = 1;
  struct Attrs { Dims out; CORTEN_FIELDS(out) };
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    Type out = in[0];
    out.dims[2] = a.out[0];
    out.dims[3] = a.out[1];
    return {out};
  }
  static Value pool_axis(const Value& x, int64_t axis, int64_t out) {
    const int64_t size = x.dims()[axis];
    Dims dims = x.dims();
    if (size % out == 0) {
      dims[axis] = out;
      dims.insert(dims.begin() + axis + 1, size / out);
      return mean(reshape(x, dims), {axis + 1}, false);
    }
    // Windows differ in size: elements beyond a shorter one are left out.
    const int64_t longest = (size + out - 1) / out + 1;
    const Dims grid{longest, out};
    const auto constant = [&](int64_t value) { return full(grid, DType::i64, static_cast<double>(value)); };
    const auto below = [&](Value v) { return (v - rem(v, constant(out))) / constant(out); };
    Value i = iota(grid, 1), first = below(i * static_cast<double>(size));
    Value last = below((i + 1.0) * static_cast<double>(size) + static_cast<double>(out - 1));
    Value place = first + iota(grid, 0), inside = lt(place, last);
    dims[axis] = longest;
    dims.insert(dims.begin() + axis + 1, out);
    Dims line(dims.size(), 1);
    line[axis] = longest;
    line[axis + 1] = out;
    Value elements = reshape(index_select(x, axis, reshape(minimum(place, constant(size - 1)), {longest * out})), dims);
    Value total = sum(where(ops::expand(reshape(inside, line), dims), elements, 0.0), {axis}, false);
    Value count = reshape(slice_axis(cast(last - first, x.dtype()), 0, 0, 1), {out});
    line.erase(line.begin() + axis);
    return total / ops::expand(reshape(count, line), total.dims());
  }
  static Values expand(const Attrs& a, const Values& in) {
    Value x = cast(in[0], compute_type(in[0].dtype()));
    if (a.out == Dims{1, 1}) return {cast(mean(x, {2, 3}, true), in[0].dtype())};
    return {cast(pool_axis(pool_axis(x, 3, a.out[1]), 2, a.out[0]), in[0].dtype())};
  }
};

}  // namespace

CORTEN_OP(MaxPoolPlaces) CORTEN_OP(MaxPool2d) CORTEN_OP(AvgPool2d) CORTEN_OP(AdaptiveAvgPool2d)

namespace {

Values MaxPool2d::vjp(const Attrs& a, const Vjp& v) {
  const Value &x = v.inputs[0], &g = v.grads[0];
  const Dims& image = x.dims();
  Value places = emit1(kMaxPoolPlaces, {x.with_edge({}), v.outputs[0].with_edge({})}, a);
  const int64_t rows = image[2] + a.padding[0] + a.behind(0, image[2]), columns = image[3] + a.padding[1] + a.behind(1, image[3]);
  Value sums = full({image[0], image[1], rows * columns}, compute_type(x.dtype()), 0);
  sums = scatter_add(sums, places, cast(reshape(g, places.dims()), sums.dtype()), 2);
  Value dx = slice(reshape(sums, {image[0], image[1], rows, columns}), {0, 0, a.padding[0], a.padding[1]}, image);
  return {cast(dx, x.dtype())};
}

/// Checks operands and gives the attributes with the size of the result.
PoolingAttrs check(std::string_view what, const Value& x, const Pooling& p) {
  if (x.rank() != 4 || !is_floating(x.dtype()) || x.dims()[2] * x.dims()[3] == 0)
    usage_error("[{}] needs floating-point images [images, channels, rows, columns] with pixels, got {}", what, to_string(x.type()));
  PoolingAttrs a{p.kernel, p.stride, p.padding, p.dilation, {}};
  for (int d : {0, 1}) {
    constexpr int64_t kMost = 1 << 30;
    if (p.kernel[d] < 1 || p.stride[d] < 1 || p.dilation[d] < 1 || p.kernel[d] > kMost || p.stride[d] > kMost || p.dilation[d] > kMost)
      usage_error("[{}] kernel {}, stride {} and dilation {} must be at least 1", what, ir::to_string(p.kernel), ir::to_string(p.stride),
                  ir::to_string(p.dilation));
    if (p.padding[d] < 0 || p.padding[d] > p.kernel[d] / 2)
      usage_error("[{}] padding {} must be between 0 and half of the kernel {}", what, ir::to_string(p.padding), ir::to_string(p.kernel));
    const int64_t size = x.dims()[2 + d], room = size + 2 * p.padding[d] - p.dilation[d] * (p.kernel[d] - 1) - 1;
    int64_t count = window_count(size, p.kernel[d], p.stride[d], p.padding[d], p.dilation[d]);
    if (p.ceil_mode) {
      count = room + p.stride[d] - 1 < 0 ? 0 : (room + p.stride[d] - 1) / p.stride[d] + 1;
      if ((count - 1) * p.stride[d] >= size + p.padding[d]) --count;
    }
    if (count < 1)
      usage_error("[{}] the kernel {} with dilation {} is larger than the input {} with padding {}", what, ir::to_string(p.kernel),
                  ir::to_string(p.dilation), to_string(x.type()), ir::to_string(p.padding));
    a.out.push_back(count);
  }
  return a;
}

}  // namespace

Value max_pool2d(Value x, const Pooling& pooling) { return emit1(kMaxPool2d, {x}, check("max_pool2d", x, pooling)); }
Value avg_pool2d(Value x, const Pooling& pooling, bool count_include_pad, std::optional<int64_t> divisor) {
  if (divisor && *divisor == 0) usage_error("[avg_pool2d] the divisor cannot be 0");
  AvgPoolAttrs attrs;
  static_cast<PoolingAttrs&>(attrs) = check("avg_pool2d", x, pooling);
  attrs.count_include_pad = count_include_pad;
  attrs.divisor = divisor.value_or(0);
  return emit1(kAvgPool2d, {x}, attrs);
}
Value adaptive_avg_pool2d(Value x, Dims out) {
  if (x.rank() != 4 || !is_floating(x.dtype()) || x.dims()[2] * x.dims()[3] == 0 || out.size() != 2 || out[0] < 1 || out[1] < 1)
    usage_error("[adaptive_avg_pool2d] {} (images, channels, rows, columns) cannot be pooled to {}", to_string(x.type()), ir::to_string(out));
  return emit1(kAdaptiveAvgPool2d, {x}, AdaptiveAvgPool2d::Attrs{std::move(out)});
}

}  // namespace corten::ops
