// Custom ops as users define them, on tensors and Scalars.
#include "corten/custom_op.h"

#include <cmath>

#include "base/format.h"
#include "ops/custom.h"
#include "runtime/tensor_impl.h"

namespace corten {

using ir::Expr;
using ir::ScalarOp;
using ir::Value;
using ir::Values;

namespace {

Expr expr(const Scalar& x) { return {static_cast<ir::Body*>(x.node().body), x.node().id}; }
Scalar scalar_of(Expr e) { return Scalar(Scalar::Node{e.body, e.id}); }
bool constant(const Scalar& x) { return x.node().body == nullptr; }

/// The operands of an operation, numbers as constants of the others' type.
std::vector<Expr> operands(std::string_view what, std::initializer_list<Scalar> xs) {
  Expr like;
  for (const Scalar& x : xs)
    if (!constant(x)) like = expr(x);
  if (!like.body) usage_error("[custom op] {} of numbers only: compute it outside of the body", what);
  std::vector<Expr> out;
  for (const Scalar& x : xs) {
    out.push_back(constant(x) ? ir::literal(like, x.value()) : expr(x));
    if (out.back().body != like.body) usage_error("[custom op] {} of expressions of different bodies", what);
    if (out.back().type() != out.front().type())
      usage_error("[custom op] {} of {} and {}", what, name(out.front().type()), name(out.back().type()));
  }
  return out;
}
std::vector<Expr> numbers(std::string_view what, std::initializer_list<Scalar> xs) {
  std::vector<Expr> out = operands(what, xs);
  if (!is_floating(out[0].type())) usage_error("[custom op] {} needs numbers, not truth values", what);
  return out;
}
std::vector<Expr> booleans(std::string_view what, std::initializer_list<Scalar> xs) {
  std::vector<Expr> out = operands(what, xs);
  if (out[0].type() != DType::boolean) usage_error("[custom op] {} needs truth values, not numbers", what);
  return out;
}
Scalar unary(std::string_view what, ScalarOp op, const Scalar& x) { return scalar_of(ir::unary(op, numbers(what, {x})[0])); }
Scalar row(std::string_view what, ScalarOp op, const Scalar& x) {
  const Expr e = numbers(what, {x})[0];
  return scalar_of(e.body->reduce(op, e, ir::kRowTree));
}

}  // namespace

#define CORTEN_BINARY(symbol)                                    \
  Scalar operator symbol(Scalar a, Scalar b) {                   \
    const std::vector<Expr> x = numbers(#symbol, {a, b});        \
    return scalar_of(x[0] symbol x[1]);                          \
  }
CORTEN_BINARY(+) CORTEN_BINARY(-) CORTEN_BINARY(*) CORTEN_BINARY(/) CORTEN_BINARY(==) CORTEN_BINARY(!=) CORTEN_BINARY(<)
CORTEN_BINARY(<=) CORTEN_BINARY(>) CORTEN_BINARY(>=)
#undef CORTEN_BINARY
Scalar operator&(Scalar a, Scalar b) {
  const std::vector<Expr> x = booleans("&", {a, b});
  return scalar_of(x[0] & x[1]);
}
Scalar operator|(Scalar a, Scalar b) {
  const std::vector<Expr> x = booleans("|", {a, b});
  return scalar_of(x[0] | x[1]);
}
Scalar operator!(Scalar x) { return scalar_of(!booleans("!", {x})[0]); }
Scalar operator-(Scalar x) { return constant(x) ? Scalar(-x.value()) : unary("-", ScalarOp::neg, x); }
Scalar min(Scalar a, Scalar b) {
  const std::vector<Expr> x = numbers("min", {a, b});
  return scalar_of(ir::min(x[0], x[1]));
}
Scalar max(Scalar a, Scalar b) {
  const std::vector<Expr> x = numbers("max", {a, b});
  return scalar_of(ir::max(x[0], x[1]));
}
Scalar fma(Scalar a, Scalar b, Scalar c) {
  const std::vector<Expr> x = numbers("fma", {a, b, c});
  return scalar_of(ir::fma(x[0], x[1], x[2]));
}
Scalar select(Scalar condition, Scalar a, Scalar b) {
  if (constant(condition)) usage_error("[custom op] select needs a truth value, not a number");
  const Expr c = booleans("select", {condition})[0];
  // Two numbers have no type of their own: that of the inputs.
  if (constant(a) && constant(b)) {
    const DType type = c.body->node(0).type;
    return scalar_of(ir::select(c, c.body->constant(type, a.value()), c.body->constant(type, b.value())));
  }
  const std::vector<Expr> x = operands("select", {a, b});
  return scalar_of(ir::select(c, x[0], x[1]));
}
#define CORTEN_UNARY(function, op) \
  Scalar function(Scalar x) { return unary(#function, ScalarOp::op, x); }
CORTEN_UNARY(abs, abs) CORTEN_UNARY(sqrt, sqrt) CORTEN_UNARY(rsqrt, rsqrt) CORTEN_UNARY(exp, exp) CORTEN_UNARY(log, log)
CORTEN_UNARY(tanh, tanh) CORTEN_UNARY(erf, erf) CORTEN_UNARY(sin, sin) CORTEN_UNARY(cos, cos) CORTEN_UNARY(floor, floor)
CORTEN_UNARY(round, rint)
#undef CORTEN_UNARY
Scalar row_sum(Scalar x) { return row("row_sum", ScalarOp::reduce_sum, x); }
Scalar row_max(Scalar x) { return row("row_max", ScalarOp::reduce_max, x); }
Scalar row_min(Scalar x) { return row("row_min", ScalarOp::reduce_min, x); }
Scalar row_mean(Scalar x) {
  const Expr sum = expr(row("row_mean", ScalarOp::reduce_sum, x));
  return scalar_of(sum / sum.body->param(sum.type(), ops::kRowLength));
}

namespace {

/// Tensors around values that an op's definition works on; they may belong to a graph that no trace is recording.
std::vector<Tensor> wrap_all(const Values& values) {
  std::vector<Tensor> out;
  for (const Value& v : values) out.push_back(v ? runtime::wrap(v) : Tensor());
  return out;
}

}  // namespace

CustomOp::CustomOp(CustomOpDefinition definition) : definition_(std::make_shared<const CustomOpDefinition>(std::move(definition))) {
  const CustomOpDefinition& d = *definition_;
  if (d.name.empty()) usage_error("[custom op] the op has no name");
  if (d.inputs < 1) usage_error("[custom op] \"{}\" has {} inputs", d.name, d.inputs);
  if (!d.body || !d.expand) usage_error("[custom op] \"{}\" lacks its {}", d.name, d.body ? "expand" : "body");
  auto shared = definition_;
  ops::CustomDefinition op;
  op.name = d.name;
  op.inputs = d.inputs;
  op.per_row = d.form == CustomForm::row_values;
  op.body = [shared](std::span<const Expr> x) {
    std::vector<Scalar> in;
    for (Expr e : x) in.push_back(scalar_of(e));
    Scalar out = shared->body(in);
    if (constant(out)) usage_error("[{}] the body is a number and uses no input", shared->name);
    if (shared->form == CustomForm::elementwise)
      for (const ir::ScalarNode& n : x[0].body->nodes())
        if (n.op == ScalarOp::reduce_sum || n.op == ScalarOp::reduce_max || n.op == ScalarOp::reduce_min)
          usage_error("[{}] an element-wise body reduces over the row: set form = CustomForm::rows", shared->name);
    return expr(out);
  };
  op.reference = [shared](const Values& in) {
    runtime::DefinitionScope scope;
    return runtime::value_of(shared->expand(wrap_all(in)));
  };
  if (d.gradient)
    op.gradient = [shared](const Values& in, const Value& result, const Value& gradient) {
      runtime::DefinitionScope scope;
      Values out;
      for (const Tensor& t : shared->gradient(wrap_all(in), runtime::wrap(result), runtime::wrap(gradient)))
        out.push_back(t.defined() ? runtime::value_of(t) : Value());
      return out;
    };
  ops::register_custom(std::move(op));
}

Tensor CustomOp::operator()(const std::vector<Tensor>& inputs, At at) const {
  const CustomOpDefinition& d = *definition_;
  ir::SourceScope source(runtime::source(at));
  if (inputs.size() != static_cast<size_t>(d.inputs)) usage_error("[{}] takes {} inputs, got {}", d.name, d.inputs, inputs.size());
  Values in;
  ir::Dims dims;
  DType dtype = DType::boolean;
  for (const Tensor& t : inputs) {
    in.push_back(runtime::value_of(t));
    dims = ir::broadcast(dims, in.back().dims());
    dtype = promote(dtype, in.back().dtype());
  }
  if (!is_floating(dtype)) dtype = DType::f32;
  if (dims.empty() && d.form != CustomForm::elementwise) usage_error("[{}] works on rows, but no input has an axis", d.name);
  for (Value& v : in) v = ops::expand(ops::cast(v, dtype), dims);
  return runtime::wrap(ops::custom(d.name, in));
}

}  // namespace corten
