// Turns an op's struct into its record. An op is a struct with
//   name, kind, arity, Attrs          always
//   infer(attrs, types)               primitives other than element-wise; optional for composites (else derived)
//   body(attrs, args)                 element-wise ops; result(attrs, dtypes) if the result's dtype is not the operands'
//   expand(attrs, inputs)             composites, and library ops other than products
//   claim(attrs, inputs)              composites that a kernel family may compute whole
//   accepts(attrs, index, dims, layout)  library ops; in_place = index of the operand that is written over
//   vjp(attrs, Vjp)                   or `no_gradient = true`; composites may leave it out (else derived)
#pragma once

#include "base/format.h"
#include "ir/op.h"
#include "ops/functions.h"

namespace corten::ops {

using ir::Attrs;
using ir::AttrsPtr;
using ir::Expr;
using ir::Op;
using ir::OpKind;
using ir::Vjp;

struct Elementwise {
  static constexpr OpKind kind = OpKind::elementwise;
  using Attrs = ir::NoAttrs;
};
struct Composite {
  static constexpr OpKind kind = OpKind::composite;
  using Attrs = ir::NoAttrs;
};

/// scatter_add onto the gradient that input `i` has so far, or onto zeros.
inline Value scatter_gradient(const Vjp& v, size_t i, const Value& index, const Value& updates, int64_t axis) {
  const Value sum = v.take_sum ? v.take_sum(i) : Value();
  return scatter_add(sum ? sum : full_like(v.inputs[i], 0), index, updates, axis);
}

/// Gradient of a composite without a rule of its own: the composite "vjp", which differentiates the expansion.
Values derived_vjp(const Op& op, const AttrsPtr& attrs, const Vjp& vjp);

template <typename T>
std::vector<Type> infer_elementwise(const AttrsPtr& attrs, const std::vector<Type>& in) {
  Type out = in.empty() ? Type{} : in[0];
  for (const Type& t : in)
    if (t.dims != out.dims)
      usage_error("[{}] operands {} and {} differ in shape", T::name, to_string(out), to_string(t));
  if constexpr (requires(std::vector<DType> d) { T::result(ir::get<typename T::Attrs>(attrs), d); }) {
    std::vector<DType> dtypes;
    for (const Type& t : in) dtypes.push_back(t.dtype);
    out.dtype = T::result(ir::get<typename T::Attrs>(attrs), dtypes);
  } else {
    for (const Type& t : in)
      if (t.dtype != out.dtype)
        usage_error("[{}] operands {} and {} differ in dtype", T::name, to_string(out), to_string(t));
  }
  return {out};
}

template <typename T>
Op make_op() {
  using A = typename T::Attrs;
  constexpr bool has_vjp = requires(const A& a, const Vjp& v) { T::vjp(a, v); };
  constexpr bool no_gradient = requires { T::no_gradient; };
  static_assert(has_vjp || no_gradient || T::kind == OpKind::composite,
                "an op needs a vjp, or must say no_gradient");
  static_assert(!(has_vjp && no_gradient));
  Op op;
  op.name = T::name;
  op.kind = T::kind;
  op.arity = T::arity;
  op.differentiable = !no_gradient;
  op.parse_attrs = [](std::string_view text) { return ir::AttrsOf<A>::parse(text); };
  if constexpr (T::kind == OpKind::elementwise) {
    op.infer = infer_elementwise<T>;
    op.body = [](const AttrsPtr& a, std::span<const Expr> x) { return T::body(ir::get<A>(a), x); };
  } else if constexpr (T::kind == OpKind::composite) {
    if constexpr (requires(const A& a, const std::vector<Type>& t) { T::infer(a, t); })
      op.infer = [](const AttrsPtr& a, const std::vector<Type>& t) { return std::vector<Type>(T::infer(ir::get<A>(a), t)); };
  } else {
    op.infer = [](const AttrsPtr& a, const std::vector<Type>& t) { return std::vector<Type>(T::infer(ir::get<A>(a), t)); };
  }
  if constexpr (T::kind == OpKind::scatter) op.in_place = 0;
  if constexpr (requires { T::in_place; }) op.in_place = T::in_place;
  if constexpr (requires(const A& a, const Values& v) { T::expand(a, v); })
    op.expand = [](const AttrsPtr& a, const Values& in) { return Values(T::expand(ir::get<A>(a), in)); };
  if constexpr (requires(const A& a, const Values& v) { T::claim(a, v); })
    op.claim = [](const AttrsPtr& a, const Values& in) { return Values(T::claim(ir::get<A>(a), in)); };
  static_assert(T::kind != OpKind::composite || requires(const A& a, const Values& v) { T::expand(a, v); });
  if constexpr (T::kind == OpKind::library)
    op.accepts = [](const AttrsPtr& a, size_t index, const Dims& dims, const ir::Layout& layout) {
      return T::accepts(ir::get<A>(a), index, dims, layout);
    };
  if constexpr (has_vjp)
    op.vjp = [](const AttrsPtr& a, const Vjp& v) { return Values(T::vjp(ir::get<A>(a), v)); };
  return op;
}

/// Emits an op with one result.
template <typename A = ir::NoAttrs>
Value emit1(const Op& op, const Values& inputs, A attrs = {}) {
  return ir::emit(op, ir::make_attrs(std::move(attrs)), inputs)[0];
}

}  // namespace corten::ops

/// Defines the record of op struct T as k##T; the registry lists it.
#define CORTEN_OP(T) extern const ir::Op k##T; const ir::Op k##T = make_op<T>();
