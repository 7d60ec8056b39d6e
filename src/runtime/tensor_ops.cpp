// The public operations: promotion and checks, then the ops of ops/functions.h.
#include "runtime/tensor_ops.h"

#include <cmath>

#include "base/format.h"
#include "corten/random.h"
#include "ops/functions.h"
#include "ir/placement.h"
#include "passes/precision.h"
#include "runtime/tensor_impl.h"

namespace corten {

using ir::Value;
using ir::Values;
using ops::operator*;
using runtime::value_of;
using runtime::wrap;

namespace {

std::optional<DType>& autocast_dtype() {
  thread_local std::optional<DType> dtype;
  return dtype;
}
/// An operand of a product: in the dtype of the Autocast scope, if there is one.
Value low(const Tensor& t) {
  Value v = value_of(t);
  const bool cast = autocast_dtype() && (v.dtype() == DType::f32 || size_of(v.dtype()) == 2);
  return cast ? ops::cast(v, *autocast_dtype()) : v;
}

int category(DType dtype) { return dtype == DType::boolean ? 0 : is_floating(dtype) ? 2 : 1; }

/// torch.result_type: a 0-d tensor does not promote tensors with axes within its category.
DType result_type(const Value& a, const Value& b) {
  if ((a.rank() == 0) != (b.rank() == 0)) {
    const Value &big = a.rank() ? a : b, &small = a.rank() ? b : a;
    if (category(small.dtype()) <= category(big.dtype())) return big.dtype();
  }
  return promote(a.dtype(), b.dtype());
}
/// A number beside a tensor: integers keep integer tensors, fractions make them f32.
DType result_type(DType dtype, double number) {
  if (is_floating(dtype)) return dtype;
  if (number != std::floor(number) || std::abs(number) > 9e15) return DType::f32;
  return dtype == DType::boolean ? DType::i64 : dtype;
}

using Binary = Value (*)(Value, Value);
Tensor binary(Binary op, const Tensor& a, const Tensor& b, bool true_division = false) {
  Value x = value_of(a), y = value_of(b);
  DType dtype = result_type(x, y);
  if (true_division && !is_floating(dtype)) dtype = DType::f32;
  return wrap(op(ops::cast(x, dtype), ops::cast(y, dtype)));
}
Tensor binary(Binary op, const Tensor& a, double b, bool swapped = false, bool true_division = false) {
  Value x = value_of(a);
  DType dtype = result_type(x.dtype(), b);
  if (true_division && !is_floating(dtype)) dtype = DType::f32;
  x = ops::cast(x, dtype);
  Value y = ops::full_like(x, b);
  return wrap(swapped ? op(y, x) : op(x, y));
}
Value floating(const Tensor& t) {
  Value x = value_of(t);
  return is_floating(x.dtype()) ? x : ops::cast(x, DType::f32);
}
/// An operand of what Autocast keeps in f32.
Value wide(const Tensor& t) {
  Value x = floating(t);
  return autocast_dtype() ? ops::cast(x, compute_type(x.dtype())) : x;
}
using Unary = Value (*)(Value);
Tensor unary(Unary op, const Tensor& x) { return wrap(op(floating(x))); }
Tensor wide_unary(Unary op, const Tensor& x) { return wrap(op(wide(x))); }

}  // namespace

#define CORTEN_ARITHMETIC(symbol, op, division)                                                               \
  Tensor operator symbol(const Tensor& a, const Tensor& b) { return binary(ops::op, a, b, division); }        \
  Tensor operator symbol(const Tensor& a, double b) { return binary(ops::op, a, b, false, division); }        \
  Tensor operator symbol(double a, const Tensor& b) { return binary(ops::op, b, a, true, division); }
CORTEN_ARITHMETIC(+, add, false) CORTEN_ARITHMETIC(-, sub, false)
CORTEN_ARITHMETIC(*, mul, false) CORTEN_ARITHMETIC(/, div, true)
#undef CORTEN_ARITHMETIC
#define CORTEN_COMPARISON(symbol, op)                                                              \
  Tensor operator symbol(const Tensor& a, const Tensor& b) { return binary(ops::op, a, b); }       \
  Tensor operator symbol(const Tensor& a, double b) { return binary(ops::op, a, b); }
CORTEN_COMPARISON(==, eq) CORTEN_COMPARISON(!=, ne) CORTEN_COMPARISON(<, lt)
CORTEN_COMPARISON(<=, le) CORTEN_COMPARISON(>, gt) CORTEN_COMPARISON(>=, ge)
#undef CORTEN_COMPARISON

Tensor operator-(const Tensor& x) { return wrap(ops::neg(value_of(x))); }
Tensor logical_and(const Tensor& a, const Tensor& b) {
  return wrap(ops::logical_and(ops::cast(value_of(a), DType::boolean), ops::cast(value_of(b), DType::boolean)));
}
Tensor logical_or(const Tensor& a, const Tensor& b) {
  return wrap(ops::logical_or(ops::cast(value_of(a), DType::boolean), ops::cast(value_of(b), DType::boolean)));
}
Tensor logical_not(const Tensor& x) { return wrap(ops::logical_not(ops::cast(value_of(x), DType::boolean))); }
Tensor remainder_trunc(const Tensor& a, const Tensor& b) {
  if (is_floating(a.dtype()) || is_floating(b.dtype())) usage_error("[remainder_trunc] needs integers");
  return binary(ops::rem, a, b);
}
Tensor minimum(const Tensor& a, const Tensor& b) { return binary(ops::minimum, a, b); }
Tensor maximum(const Tensor& a, const Tensor& b) { return binary(ops::maximum, a, b); }
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  Value x = value_of(a), y = value_of(b);
  DType dtype = result_type(x, y);
  return wrap(ops::where(ops::cast(value_of(condition), DType::boolean), ops::cast(x, dtype), ops::cast(y, dtype)));
}
Tensor exp(const Tensor& x) { return wide_unary(ops::exp, x); }
Tensor log(const Tensor& x) { return wide_unary(ops::log, x); }
Tensor sqrt(const Tensor& x) { return unary(ops::sqrt, x); }
Tensor rsqrt(const Tensor& x) { return wide_unary(ops::rsqrt, x); }
Tensor tanh(const Tensor& x) { return unary(ops::tanh, x); }
Tensor erf(const Tensor& x) { return unary(ops::erf, x); }
Tensor sin(const Tensor& x) { return unary(ops::sin, x); }
Tensor cos(const Tensor& x) { return unary(ops::cos, x); }
Tensor abs(const Tensor& x) { return wrap(ops::abs(value_of(x))); }
Tensor sign(const Tensor& x) { return wrap(ops::sign(value_of(x))); }
Tensor floor(const Tensor& x) { return is_floating(x.dtype()) ? wrap(ops::floor(value_of(x))) : x; }
Tensor round(const Tensor& x) { return is_floating(x.dtype()) ? wrap(ops::round(value_of(x))) : x; }
Tensor square(const Tensor& x) { return x * x; }
Tensor pow(const Tensor& x, double exponent) {
  Value v = value_of(x);
  if (is_floating(v.dtype())) v = wide(x);
  if (exponent == std::floor(exponent) && std::abs(exponent) <= 64) {
    // By repeated squaring; a negative exponent inverts the result.
    int64_t n = static_cast<int64_t>(std::abs(exponent));
    if (exponent < 0) v = wide(x);
    Value result = ops::full_like(v, 1), base = v;
    for (bool first = true; n; n >>= 1) {
      if (n & 1) result = first ? base : result * base, first = false;
      if (n > 1) base = base * base;
    }
    return wrap(exponent < 0 ? ops::div(1, result) : result);
  }
  v = wide(x);
  if (exponent == 0.5) return wrap(ops::sqrt(v));
  return wrap(ops::exp(ops::log(v) * exponent));
}

#define SOURCE ir::SourceScope source_scope(runtime::source(at))

Tensor sum(const Tensor& x, std::vector<int64_t> axes, bool keepdim, At at) {
  SOURCE;
  Value v = value_of(x);
  return wrap(ops::sum(is_floating(v.dtype()) ? wide(x) : ops::cast(v, DType::i64), std::move(axes), keepdim));
}
Tensor mean(const Tensor& x, std::vector<int64_t> axes, bool keepdim, At at) {
  SOURCE;
  return wrap(ops::mean(wide(x), std::move(axes), keepdim));
}
namespace {
Tensor extremum(Value (*op)(Value, ir::Dims, bool), const Tensor& x, std::vector<int64_t> axes, bool keepdim) {
  Value v = value_of(x);
  DType dtype = v.dtype();
  if (v.type().elements() == 0) usage_error("[amax] {} has no elements", to_string(v.type()));
  if (dtype == DType::boolean || dtype == DType::u8) v = ops::cast(v, DType::i32);
  return wrap(ops::cast(op(v, std::move(axes), keepdim), dtype));
}
}  // namespace
Tensor amax(const Tensor& x, std::vector<int64_t> axes, bool keepdim, At at) {
  SOURCE;
  return extremum(ops::max, x, std::move(axes), keepdim);
}
Tensor amin(const Tensor& x, std::vector<int64_t> axes, bool keepdim, At at) {
  SOURCE;
  return extremum(ops::min, x, std::move(axes), keepdim);
}
Tensor argmax(const Tensor& x, int64_t axis, bool keepdim, At at) {
  SOURCE;
  const Value v = value_of(x);
  const ir::PlacementScope place(v);
  return wrap(ops::argmax(v, axis, keepdim));
}
Tensor logsumexp(const Tensor& x, int64_t axis, bool keepdim, At at) {
  SOURCE;
  return wrap(ops::logsumexp(wide(x), axis, keepdim));
}
Tensor Tensor::sum(std::vector<int64_t> axes, bool keepdim, At at) const { return corten::sum(*this, std::move(axes), keepdim, at); }
Tensor Tensor::mean(std::vector<int64_t> axes, bool keepdim, At at) const { return corten::mean(*this, std::move(axes), keepdim, at); }
Tensor Tensor::amax(std::vector<int64_t> axes, bool keepdim, At at) const { return corten::amax(*this, std::move(axes), keepdim, at); }
Tensor Tensor::argmax(int64_t axis, bool keepdim, At at) const { return corten::argmax(*this, axis, keepdim, at); }
Tensor Tensor::matmul(const Tensor& other, At at) const { return corten::matmul(*this, other, {}, at); }

namespace {
Values promoted(const std::vector<Tensor>& parts) {
  Values values;
  DType dtype = DType::boolean;
  for (const Tensor& part : parts) {
    values.push_back(value_of(part));
    dtype = promote(dtype, values.back().dtype());
  }
  for (Value& v : values) v = ops::cast(v, dtype);
  return values;
}
}  // namespace
Tensor concat(const std::vector<Tensor>& parts, int64_t axis, At at) {
  SOURCE;
  const Values values = promoted(parts);
  const ir::PlacementScope place(values.empty() ? Value() : values[0]);
  return wrap(ops::concat(values, axis));
}
Tensor stack(const std::vector<Tensor>& parts, int64_t axis, At at) {
  SOURCE;
  const Values values = promoted(parts);
  const ir::PlacementScope place(values.empty() ? Value() : values[0]);
  return wrap(ops::stack(values, axis));
}
Tensor pad(const Tensor& x, std::vector<int64_t> low, std::vector<int64_t> high, double value, At at) {
  SOURCE;
  return wrap(ops::pad(value_of(x), std::move(low), std::move(high), value));
}
namespace {
Value index_value(const Tensor& index) {
  Value v = value_of(index);
  if (is_floating(v.dtype()) || v.dtype() == DType::boolean) usage_error("an index must be of an integer type, got {}", to_string(v.type()));
  return ops::cast(v, DType::i64);
}
/// torch.gather allows the index to be smaller than x in the other axes: the part that it covers is used.
Value covered(const Value& x, const Value& index, int64_t axis) {
  ir::Dims sizes = index.dims();
  if (sizes.size() != x.dims().size()) usage_error("an index {} and {} differ in rank", to_string(index.type()), to_string(x.type()));
  sizes[axis] = x.dims()[axis];
  return ops::slice(x, ir::Dims(sizes.size(), 0), sizes);
}
}  // namespace
Tensor gather(const Tensor& x, int64_t axis, const Tensor& index, At at) {
  SOURCE;
  Value v = value_of(x), i = index_value(index);
  axis = ir::normalize_axis(axis, v.type(), "gather");
  return wrap(ops::gather(covered(v, i, axis), i, axis));
}
Tensor index_select(const Tensor& x, int64_t axis, const Tensor& index, At at) {
  SOURCE;
  return wrap(ops::index_select(value_of(x), axis, index_value(index)));
}
namespace {
using Scatter = Value (*)(Value, Value, Value, int64_t);
/// The result has the base's dtype, in an Autocast scope the wider one of base and updates.
Tensor scattered(Scatter op, const Tensor& base, int64_t axis, const Tensor& index, const Tensor& updates) {
  Value b = value_of(base), u = value_of(updates);
  if (autocast_dtype()) b = ops::cast(b, promote(b.dtype(), u.dtype()));
  return wrap(op(b, index_value(index), ops::cast(u, b.dtype()), axis));
}
}  // namespace
Tensor scatter_add(const Tensor& base, int64_t axis, const Tensor& index, const Tensor& updates, At at) {
  SOURCE;
  return scattered(ops::scatter_add, base, axis, index, updates);
}
Tensor scatter(const Tensor& base, int64_t axis, const Tensor& index, const Tensor& updates, At at) {
  SOURCE;
  return scattered(ops::scatter_set, base, axis, index, updates);
}

Tensor matmul(const Tensor& a, const Tensor& b, std::optional<DType> out_dtype, At at) {
  SOURCE;
  Value x = low(a), y = low(b);
  // A matrix of parameters is handed over as it is, so that its gradient is f32: linear's rule.
  if (autocast_dtype() && !out_dtype && b.dtype() == DType::f32 && b.requires_grad() && y.rank() == 2 && x.rank() >= 2 &&
      x.dims().back() == y.dims()[0])
    return wrap(ops::linear(x, value_of(b), Value(), false));
  if (x.rank() == 0 || y.rank() == 0) usage_error("[matmul] {} and {} do not multiply: an operand has no axes", to_string(x.type()), to_string(y.type()));
  DType dtype = promote(x.dtype(), y.dtype());
  if (!is_floating(dtype)) usage_error("[matmul] {} and {}: products of integers are not supported; convert to a floating type", to_string(x.type()), to_string(y.type()));
  x = ops::cast(x, dtype);
  y = ops::cast(y, dtype);
  // One-dimensional operands become a row and a column, and their axis goes away afterwards.
  const bool row = x.rank() == 1, column = y.rank() == 1;
  if (row) x = ops::reshape(x, {1, x.dims()[0]});
  if (column) y = ops::reshape(y, {y.dims()[0], 1});
  Value out = ops::matmul(x, y, out_dtype);
  ir::Dims dims = out.dims();
  if (column) dims.pop_back();
  if (row) dims.erase(dims.end() - (column ? 1 : 2));
  return wrap(ops::reshape(out, dims));
}
namespace {
Tensor affine(const Tensor& x, const Tensor& weight, const Tensor& bias, bool transposed) {
  Value in = low(x);
  return wrap(ops::linear(in, value_of(weight), bias.defined() ? value_of(bias) : Value(), transposed));
}
}  // namespace
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, At at) {
  SOURCE;
  return affine(x, weight, bias, true);
}
Tensor conv1d_linear(const Tensor& x, const Tensor& weight, const Tensor& bias, At at) {
  SOURCE;
  return affine(x, weight, bias, false);
}

Tensor relu(const Tensor& x) { return wrap(ops::relu(value_of(x))); }
Tensor gelu(const Tensor& x, bool tanh_approximation) { return unary(tanh_approximation ? ops::gelu_tanh : ops::gelu, x); }
Tensor silu(const Tensor& x) { return unary(ops::silu, x); }
Tensor sigmoid(const Tensor& x) { return unary(ops::sigmoid, x); }
Tensor softmax(const Tensor& x, int64_t axis, At at) {
  SOURCE;
  return wrap(ops::softmax(wide(x), axis));
}
Tensor log_softmax(const Tensor& x, int64_t axis, At at) {
  SOURCE;
  return wrap(ops::log_softmax(wide(x), axis));
}
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps, At at) {
  SOURCE;
  return wrap(ops::layer_norm(wide(x), value_of(weight), bias.defined() ? value_of(bias) : Value(), eps));
}
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, At at) {
  SOURCE;
  return wrap(ops::rms_norm(wide(x), value_of(weight), eps));
}
Tensor rotary(const Tensor& x, const Tensor& cosines, const Tensor& sines, At at) {
  SOURCE;
  const DType wide = compute_type(x.dtype());
  return wrap(ops::rotary(value_of(x), value_of(cosines.to(wide)), value_of(sines.to(wide))));
}
Tensor embedding(const Tensor& ids, const Tensor& weight, At at) {
  SOURCE;
  return wrap(ops::embedding(value_of(ids), value_of(weight)));
}
Tensor cross_entropy(const Tensor& logits, const Tensor& targets, Reduction reduction, int64_t ignore_index, double label_smoothing, At at) {
  SOURCE;
  Value t = value_of(targets);
  // Of another device nobody waits for the targets.
  if (t.concrete() && !targets.is_cuda() && !is_floating(t.dtype()) && logits.dim() > 0)
    for (int64_t target : targets.to(DType::i64).to_vector<int64_t>())
      if (target != ignore_index && (target < 0 || target >= logits.size(-1)))
        usage_error("[cross_entropy] the target {} is none of {} classes (and not ignore_index = {})", target, logits.size(-1), ignore_index);
  Value losses = ops::cross_entropy(floating(logits), t, ignore_index, label_smoothing);
  if (reduction == Reduction::none) return wrap(losses);
  Value total = ops::sum(losses, {}, false);
  if (reduction == Reduction::sum) return wrap(total);
  t = ops::cast(t, DType::i64);
  Value counted = ops::cast(ops::ne(t, ops::full_like(t, static_cast<double>(ignore_index))), DType::i64);
  return wrap(ops::div(total, ops::cast(ops::sum(counted, {}, false), total.dtype())));
}
Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask, AttentionOptions options, At at) {
  SOURCE;
  Value query = low(q);
  double scale = options.scale != 0 ? options.scale : 1 / std::sqrt(static_cast<double>(query.dims().back()));
  ops::Generator generator;
  int64_t site = 0;
  if (options.dropout_p > 0) {
    Generator& g = default_generator();
    const ir::Placement place = ir::placement_of(query);
    generator = {runtime::number_for(value_of(g.seed), place), runtime::number_for(value_of(g.step), place)};
    site = runtime::next_site();
  }
  return wrap(ops::scaled_dot_product_attention(query, low(k), low(v), mask.defined() ? value_of(mask) : Value(), options.causal, scale,
                                                options.dropout_p, generator, site));
}

Autocast::Autocast(DType dtype, bool enabled) : previous_(autocast_dtype()) {
  if (dtype != DType::bf16 && dtype != DType::f16 && dtype != DType::f32)
    usage_error("[Autocast] {} is not a type to compute in: use bf16, f16 or f32", name(dtype));
  autocast_dtype() = enabled && dtype != DType::f32 ? std::optional(dtype) : std::nullopt;
}
Autocast::~Autocast() { autocast_dtype() = previous_; }
bool is_autocast_enabled() { return autocast_dtype().has_value(); }
DType get_autocast_dtype() { return autocast_dtype().value_or(DType::f32); }

void set_float32_matmul_precision(std::string_view precision) { passes::set_matmul_precision(precision); }
std::string_view get_float32_matmul_precision() { return passes::matmul_precision(); }

namespace {
std::vector<Tensor> wrap_all(const Values& values) {
  std::vector<Tensor> out;
  for (const Value& v : values) out.push_back(wrap(v));
  return out;
}
}  // namespace
std::vector<Tensor> adamw_update(const Tensor& p, const Tensor& g, const Tensor& m, const Tensor& v, const Tensor& lr, const Tensor& step,
                                 double beta1, double beta2, double eps, double weight_decay) {
  return wrap_all(ops::adamw(value_of(p), value_of(g), value_of(m), value_of(v), value_of(lr), value_of(step), beta1, beta2, eps, weight_decay));
}
std::vector<Tensor> sgd_update(const Tensor& p, const Tensor& g, const Tensor& buffer, const Tensor& lr, const Tensor& step, double momentum,
                               double dampening, double weight_decay, bool nesterov) {
  return wrap_all(ops::sgd(value_of(p), value_of(g), value_of(buffer), value_of(lr), value_of(step), momentum, dampening, weight_decay, nesterov));
}
Tensor global_norm(const std::vector<Tensor>& tensors) {
  Values values;
  for (const Tensor& t : tensors) values.push_back(value_of(t));
  return wrap(ops::global_norm(values));
}

}  // namespace corten
