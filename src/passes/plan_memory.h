// Memory planning: offsets in one arena for buffers whose lives are known.
#pragma once

#include <cstdint>
#include <vector>

namespace corten::passes {

/// A buffer that lives from step `first` to step `last`, both inclusive.
struct Interval {
  int64_t bytes = 0;
  int32_t first = 0, last = 0;
};

struct MemoryPlan {
  std::vector<int64_t> offsets;
  int64_t bytes = 0;        // of the arena: the peak
  int64_t lower_bound = 0;  // largest sum of live bytes at one step; bytes / lower_bound - 1 is the fragmentation
};

inline constexpr int64_t kAlignment = 64;

/// Best fit in several orders (by size, by size times life, by start), the best plan kept, and mended by placing what reaches
/// the top first. Without `reuse` every buffer
/// has a place of its own. Buffers whose lives overlap never overlap in space.
MemoryPlan plan_memory(const std::vector<Interval>& intervals, bool reuse);

}  // namespace corten::passes
