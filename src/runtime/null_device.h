// The null device: tensors that have a type and no values, for planning what does not fit this machine.
//
// In a NullDeviceScope ops infer the types of their results and compute nothing. Outside of it, an eager op with an operand
// of the null device gives a result there too. Such tensors can be state of a compiled function, which is then planned as
// usual; running it, or reading a value, is a Usage error.
#pragma once

#include "ir/value.h"

namespace corten::runtime {

/// Types only.
class NullBuilder : public ir::Builder {
 public:
  ir::Values add(const ir::Op& op, ir::AttrsPtr attrs, const ir::Values& inputs) override;
};
NullBuilder& null_builder();

class NullDeviceScope {
 public:
  NullDeviceScope() : builder_(null_builder()) {}

 private:
  ir::BuilderScope builder_;
};

bool on_null_device(const ir::Value& value);

}  // namespace corten::runtime
