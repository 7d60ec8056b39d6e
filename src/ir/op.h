// What an op is: one record per op, filled from the op's own struct (see ops/registry.cpp).
#pragma once

#include <functional>
#include <string_view>

#include "ir/value.h"

namespace corten::ir {

enum class OpKind : uint8_t {
  input,        // a graph's argument
  constant,     // captured data
  elementwise,  // body: scalar expression of equally shaped inputs
  reduce,       // over one axis, which stays with size 1
  view,         // same elements in another arrangement: reshape, permute, expand, slice
  pad, gather, scatter, iota, full,
  matmul,
  library,      // claimed by a kernel family that computes it whole
  composite,    // expand: other ops
};

/// Arguments of a gradient rule. `grads[i]` is null where output i does not influence the result.
struct Vjp {
  const Values& inputs;
  const Values& outputs;
  const Values& grads;
  const std::vector<bool>& needed;  // per input: is its gradient wanted
  /// The sum of the other gradients of input i that are known by now, or null. A rule that takes it returns that sum with its
  /// own gradient included: a scattered one then needs no zeros to start from.
  std::function<Value(size_t i)> take_sum;
};

struct Op {
  std::string_view name;
  OpKind kind = OpKind::elementwise;
  int arity = -1;  // -1: any number of inputs
  bool differentiable = false;
  /// Result types. Usage error for bad operands. Composites: derived from expand unless given.
  std::vector<Type> (*infer)(const AttrsPtr&, const std::vector<Type>&) = nullptr;
  /// Gradients of the inputs (null entries: none), in terms of ops. Composites: derived from expand unless given.
  Values (*vjp)(const AttrsPtr&, const Vjp&) = nullptr;
  /// Composites: the definition in terms of other ops. Library ops that are claimed composites: the same, which the
  /// reference evaluates.
  Values (*expand)(const AttrsPtr&, const Values&) = nullptr;
  /// Composites that a kernel family may compute whole: the results in terms of its library op; empty if the family
  /// does not take such operands. Depends on attributes and types only.
  Values (*claim)(const AttrsPtr&, const Values&) = nullptr;
  /// Element-wise ops: the value of one element. Arguments have scalar_type of the input's dtype; the result is rounded
  /// to the output's dtype by the caller.
  Expr (*body)(const AttrsPtr&, std::span<const Expr>) = nullptr;
  /// Library ops: whether the family reads operand `index` where its elements lie; else it is copied first.
  bool (*accepts)(const AttrsPtr&, size_t index, const Dims&, const Layout&) = nullptr;
  /// Library ops: the operand whose memory the result takes over; -1: none. scatter ops: 0.
  int in_place = -1;
  AttrsPtr (*parse_attrs)(std::string_view) = nullptr;
};

/// Result types of an op for given operands, checked for arity; derived types of composites are cached.
std::vector<Type> infer_types(const Op& op, const AttrsPtr& attrs, const std::vector<Type>& inputs);

/// Finds an op by name; null if unknown. Defined by ops/registry.cpp.
const Op* find_op(std::string_view name);
/// All ops in registry order.
std::span<const Op* const> all_ops();

}  // namespace corten::ir
