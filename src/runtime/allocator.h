// Memory of the host for tensors: counted, aligned, cached for reuse. That of GPUs: device_allocator.h.
#pragma once

#include <string_view>

#include "ir/value.h"
#include "runtime/memory_counters.h"

namespace corten {
struct MemorySnapshot;
}

namespace corten::runtime {

struct MemoryStats {
  int64_t allocated_bytes = 0, peak_allocated_bytes = 0;  // in use by tensors and arenas
  int64_t reserved_bytes = 0, peak_reserved_bytes = 0;    // taken from the system, cached blocks included
  int64_t allocations = 0;                                // since start
};

/// A buffer of at least `bytes`, aligned to 64 bytes (large ones to huge pages), contents undefined. Resource error saying
/// what was asked for, what is in use and what the machine has, before the system's out-of-memory killer is involved.
ir::BufferPtr allocate(int64_t bytes);
/// The same, all bytes zero. Large ones take no memory before they are touched.
ir::BufferPtr allocate_zeros(int64_t bytes);
/// Gives cached blocks back to the system.
void empty_cache();
MemoryStats memory_stats();
MemoryCounters memory_counters();
int64_t memory_in_use();  // bytes of blocks in use
void reset_peak_memory_stats();
void reset_accumulated_memory_stats();

/// Names what this thread allocates in a scope, for the history: "softmax", "arena". The text must outlive all histories.
class AllocationLabel {
 public:
  explicit AllocationLabel(std::string_view label);
  ~AllocationLabel();
  AllocationLabel(const AllocationLabel&) = delete;

 private:
  std::string_view previous_;
};

/// A block in use, for leak reports: where and for what it was asked.
struct LiveBlock {
  const void* address = nullptr;
  int64_t bytes = 0;
  ir::Source source;
  std::string_view label;
};
std::vector<LiveBlock> live_blocks();
/// The history of this allocator, and its blocks: see corten/memory.h.
void record_cpu_history(bool enabled, int64_t max_entries);
MemorySnapshot cpu_snapshot();

/// Memory that the machine can still give: MemAvailable, or the rest of the control group's limit if that is less.
int64_t available_memory();
/// Bytes of blocks and arenas that will be taken from that once they are touched.
int64_t untouched_memory();

/// A reserved address range whose pages are taken when first touched.
class Arena {
 public:
  explicit Arena(int64_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  char* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  /// Bytes of pages that are really in memory.
  int64_t touched_bytes() const;

 private:
  char* data_ = nullptr;
  int64_t bytes_ = 0, mapped_ = 0;
};

}  // namespace corten::runtime
