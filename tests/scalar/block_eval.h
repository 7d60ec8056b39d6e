// Evaluates a scalar body over many f32 values, one vectorised loop per node.
#pragma once

#include <cstdint>
#include <vector>

#include "ir/scalar.h"

namespace corten::test {

inline constexpr int kBlock = 4096;

/// An f32 body of f32, i32 and boolean nodes without loads, whose parameter 0 is the argument.
class BlockEvaluator {
 public:
  BlockEvaluator(const ir::Body& body, int32_t root);
  /// Bits of the result for each of kBlock arguments; valid until the next call.
  const uint32_t* run(const uint32_t* bits);

 private:
  const ir::Body& body_;
  int32_t root_;
  std::vector<std::vector<uint32_t>> values_;  // by node; booleans are 0 or 1
};

}  // namespace corten::test
