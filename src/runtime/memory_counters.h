// The counters behind torch.cuda.memory_stats()'s keys.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string>

namespace corten::runtime {

struct MemoryStat {
  int64_t current = 0, peak = 0, allocated = 0, freed = 0;
  void add(int64_t amount) {
    current += amount;
    peak = std::max(peak, current);
    allocated += amount;
  }
  void remove(int64_t amount) {
    current -= amount;
    freed += amount;
  }
};

/// One stat for all blocks, one for those of the large pool, one for those of the small one.
struct PooledStat {
  MemoryStat all, large, small;
  void add(bool is_small, int64_t amount) {
    all.add(amount);
    (is_small ? small : large).add(amount);
  }
  void remove(bool is_small, int64_t amount) {
    all.remove(amount);
    (is_small ? small : large).remove(amount);
  }
};

inline constexpr int64_t kSmallPool = 1 << 20;  // blocks of the CPU below this size are of the small pool

/// Active blocks are those in use: nobody waits for another stream before a block is free. Inactive splits are free blocks of
/// segments that others are in use of; the CPU's allocator has none.
struct MemoryCounters {
  PooledStat allocation, segment, inactive_split, allocated_bytes, reserved_bytes, inactive_split_bytes, requested_bytes;
  int64_t num_alloc_retries = 0, num_ooms = 0, num_device_alloc = 0, num_device_free = 0;

  template <typename F>
  void each(F&& f) {
    for (PooledStat* stat : {&allocation, &segment, &inactive_split, &allocated_bytes, &reserved_bytes, &inactive_split_bytes,
                             &requested_bytes})
      for (MemoryStat* part : {&stat->all, &stat->large, &stat->small}) f(*part);
  }
};

/// torch.cuda.memory_summary()'s table of memory_stats().
std::string summary_table(const std::map<std::string, int64_t>& stats, bool abbreviated, int device = 0);

}  // namespace corten::runtime
