// Ops that users define (corten/custom_op.h): their definitions, by name.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "ir/scalar.h"
#include "ops/functions.h"

namespace corten::ops {

/// What custom_op.h calls a definition, in terms of values.
struct CustomDefinition {
  std::string name;
  int inputs = 1;
  bool per_row = false;  // one result per row
  /// The body over the inputs' expressions. Row reductions are reduce nodes; param(kRowLength) is the row's length.
  std::function<ir::Expr(std::span<const ir::Expr>)> body;
  std::function<Value(const Values&)> reference;
  /// Gradients given inputs, result and its gradient; empty: the reference is differentiated.
  std::function<Values(const Values&, const Value&, const Value&)> gradient;
};
inline constexpr int kRowLength = 1 << 20;

/// Usage error if the name is taken.
void register_custom(CustomDefinition definition);
/// The op applied to values of one dtype and shape.
Value custom(const std::string& name, const Values& inputs);

}  // namespace corten::ops
