// Reductions: primitives over one axis, which stays with size 1; sums, means and the like over any axes.
#include <algorithm>

#include "ir/scalar.h"
#include "ops/define.h"
#include "ops/view_layout.h"

namespace corten::ops {
namespace {

struct Reduce {
  static constexpr OpKind kind = OpKind::reduce;
  static constexpr int arity = 1;
  struct Attrs { int64_t axis = 0; ir::Tree tree; CORTEN_FIELDS(axis, tree) };
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    Type out = in[0];
    if (a.axis < 0 || a.axis >= out.rank())
      usage_error("[reduce] axis {} is out of range for {} (rank {})", a.axis, to_string(out), out.rank());
    if (out.dtype == DType::boolean || out.dtype == DType::u8)
      usage_error("[reduce] {} is not a type to accumulate in: cast it to i64", to_string(out));
    out.dims[a.axis] = 1;
    return {out};
  }
};
struct ReduceSum : Reduce {
  static constexpr auto name = "reduce_sum";
  static Values vjp(const Attrs&, const Vjp& v) { return {expand(v.grads[0], v.inputs[0].dims())}; }
};
// The gradient of an extremum is shared evenly by the elements that attain it, as torch.amax.
struct Extremum : Reduce {
  static Values vjp(const Attrs& a, const Vjp& v) {
    Value hit = cast(eq(v.inputs[0], expand(v.outputs[0], v.inputs[0].dims())), v.inputs[0].dtype());
    return {hit * (v.grads[0] / sum(hit, {a.axis}, true))};
  }
};
struct ReduceMax : Extremum { static constexpr auto name = "reduce_max"; };
struct ReduceMin : Extremum { static constexpr auto name = "reduce_min"; };

}  // namespace

CORTEN_OP(ReduceSum) CORTEN_OP(ReduceMax) CORTEN_OP(ReduceMin)

namespace {

/// Reduces any axes: neighbouring reduced axes are merged into one (their row-major order is the order of the tree), the
/// last group first.
Value reduce(const Op& op, Value x, Dims axes, bool keepdim) {
  if (axes.empty())
    for (int64_t i = 0; i < x.rank(); ++i) axes.push_back(i);
  for (int64_t& axis : axes) axis = ir::normalize_axis(axis, x.type(), op.name);
  std::sort(axes.begin(), axes.end());
  if (std::adjacent_find(axes.begin(), axes.end()) != axes.end())
    usage_error("[{}] an axis appears twice in {}", op.name, ir::to_string(axes));
  Dims dims = x.dims(), kept = dims;
  for (int64_t axis : axes) kept[axis] = 1;
  DType dtype = x.dtype();
  // [first, last] of each run of reduced axes, with unit axes in between absorbed.
  std::vector<std::pair<int64_t, int64_t>> runs;
  for (int64_t axis : axes) {
    if (!runs.empty() && runs.back().second == axis - 1) runs.back().second = axis;
    else runs.emplace_back(axis, axis);
  }
  if (runs.size() > 1) x = cast(x, compute_type(dtype));
  while (!runs.empty()) {
    auto [first, last] = runs.back();
    runs.pop_back();
    Dims merged(dims.begin(), dims.begin() + first);
    int64_t n = 1;
    for (int64_t i = first; i <= last; ++i) n *= dims[i];
    merged.push_back(n);
    merged.insert(merged.end(), dims.begin() + last + 1, dims.end());
    x = reshape(x, merged);
    bool trailing = ir::product(Dims(dims.begin() + last + 1, dims.end())) == 1;
    if (trailing) x = reshape(x, Dims(merged.begin(), merged.begin() + first + 1));
    x = emit1(op, {x}, Reduce::Attrs{first, trailing ? ir::kRowTree : ir::kColumnTree});
    for (int64_t i = first; i <= last; ++i) dims[i] = 1;
    x = reshape(x, dims);
  }
  x = cast(x, dtype);
  if (keepdim) return x;
  Dims out;
  for (size_t i = 0; i < dims.size(); ++i)
    if (!std::binary_search(axes.begin(), axes.end(), static_cast<int64_t>(i))) out.push_back(kept[i]);
  return reshape(x, out);
}

}  // namespace

int64_t reduce_axis(const AttrsPtr& attrs) { return ir::get<Reduce::Attrs>(attrs).axis; }
ir::Tree reduce_tree(const AttrsPtr& attrs) { return ir::get<Reduce::Attrs>(attrs).tree; }

Value sum(Value x, Dims axes, bool keepdim) { return reduce(kReduceSum, x, std::move(axes), keepdim); }
Value max(Value x, Dims axes, bool keepdim) { return reduce(kReduceMax, x, std::move(axes), keepdim); }
Value min(Value x, Dims axes, bool keepdim) { return reduce(kReduceMin, x, std::move(axes), keepdim); }

Value mean(Value x, Dims axes, bool keepdim) {
  DType dtype = x.dtype();
  Value total = sum(cast(x, compute_type(dtype)), std::move(axes), keepdim);
  int64_t n = total.type().elements() ? x.type().elements() / total.type().elements() : 0;
  return cast(div(total, static_cast<double>(n)), dtype);
}

Value sum_to(Value x, const Dims& dims) {
  if (x.dims() == dims) return x;
  Dims axes;
  int64_t lead = x.rank() - static_cast<int64_t>(dims.size());
  for (int64_t i = 0; i < x.rank(); ++i)
    if (i < lead || (dims[i - lead] == 1 && x.dims()[i] != 1)) axes.push_back(i);
  return reshape(axes.empty() ? x : sum(x, axes, true), dims);
}

Value logsumexp(Value x, int64_t axis, bool keepdim) {
  DType dtype = x.dtype();
  x = cast(x, compute_type(dtype));
  axis = ir::normalize_axis(axis, x.type(), "logsumexp");
  Value m = max(x, {axis}, true);
  // A maximum of +-inf is not subtracted: inf - inf would be NaN.
  m = where(lt(abs(m), full_like(m, std::numeric_limits<double>::infinity())), m, 0.0);
  Value out = cast(log(sum(exp(x - m), {axis}, true)) + m, dtype);
  if (keepdim) return out;
  Dims dims = out.dims();
  dims.erase(dims.begin() + axis);
  return reshape(out, dims);
}

Value argmax(Value x, int64_t axis, bool keepdim) {
  axis = ir::normalize_axis(axis, x.type(), "argmax");
  if (x.dims()[axis] == 0) usage_error("[argmax] axis {} of {} has no elements", axis, to_string(x.type()));
  if (x.dtype() == DType::boolean || x.dtype() == DType::u8) x = cast(x, DType::i32);
  Value hit = eq(x, max(x, {axis}, true));
  hit = logical_or(hit, ne(x, x));  // the maximum is NaN as soon as one element is
  Value place = where(hit, iota(x.dims(), axis), static_cast<double>(int64_t{1} << 62));
  return min(place, {axis}, keepdim);
}

}  // namespace corten::ops
