// Where ops run whose operands do not say: those without operands, and those of numbers only.
#pragma once

#include "ir/value.h"

namespace corten::ir {

/// Of this thread's innermost scope; the CPU outside of all.
Placement current_placement();

class PlacementScope {
 public:
  explicit PlacementScope(Placement placement);
  /// Where a value lies; where the scope around it says for one that is being traced.
  explicit PlacementScope(const Value& value);
  ~PlacementScope();
  PlacementScope(const PlacementScope&) = delete;

 private:
  Placement previous_;
};

/// Of a value in memory. That of a value of a graph is the CPU's.
Placement placement_of(const Value& value);
/// "cpu", "cuda:1".
std::string to_string(Placement placement);

}  // namespace corten::ir
