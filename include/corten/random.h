// Random numbers that do not depend on threads, devices, fusion or recomputation.
//
// A number is a pure function (Philox-4x32-10) of (seed, step, site, virtual shard, element index). The site is the module
// path (RandomScope) and the ordinal of the call within the step. Training advances the step; nothing else changes it.
#pragma once

#include <string_view>

#include "corten/tensor.h"

namespace corten {

/// The default generator: two 0-d i64 tensors, which compiled functions read as state.
struct Generator {
  Tensor seed, step;
};
Generator& default_generator();
/// Sets the seed, the step to 0 and the call ordinals to 0.
void manual_seed(int64_t seed);
/// Ends a step: step + 1, ordinals 0. Optimizers call it.
void advance_generator();

/// Names the part of the program that draws numbers, e.g. "h.3.attn"; nested scopes join with ".".
class RandomScope {
 public:
  explicit RandomScope(std::string_view name);
  ~RandomScope();
  RandomScope(const RandomScope&) = delete;

 private:
  size_t previous_;  // length of the path before
};
/// Selects the virtual shard (micro-batch) of this thread for a scope; restarts the ordinals.
class ShardScope {
 public:
  explicit ShardScope(int64_t shard);
  ~ShardScope();
  ShardScope(const ShardScope&) = delete;

 private:
  int64_t previous_shard_, previous_ordinal_;
};

Tensor rand(Shape shape, const Device& device = {});   ///< f32 uniform in [0, 1); the same numbers on every device
Tensor randn(Shape shape, const Device& device = {});  ///< f32 normal
/// Zeroes elements with probability p and scales the rest by 1 / (1 - p).
Tensor dropout(const Tensor& x, double p, bool training = true);
/// Initial values: a function of (seed, name, element) only. f32.
Tensor normal_init(Shape shape, double mean, double std, int64_t seed, std::string_view name);
Tensor uniform_init(Shape shape, double low, double high, int64_t seed, std::string_view name);

}  // namespace corten
