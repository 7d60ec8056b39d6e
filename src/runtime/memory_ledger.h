// What a caching allocator writes down: counters, blocks in use, and the history of events. Not
// thread-safe: the allocator has a lock.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "corten/memory.h"
#include "ir/value.h"
#include "runtime/allocator.h"
#include "runtime/memory_counters.h"

namespace corten::runtime {

class MemoryLedger {
 public:
  /// Memory that was taken from the system or given back to it.
  void enter_segment(const void* segment, int64_t size, bool small);
  void leave_segment(const void* segment, int64_t size, bool small);
  /// A block that is in use from now on, for what this thread's AllocationLabel and source line
  /// say; and until now.
  void enter_block(const void* block, int64_t size, int64_t requested, bool small);
  void leave_block(const void* block);
  /// A request that could not be met.
  void out_of_memory(int64_t available, int64_t size);

  MemoryCounters counters;
  void reset_peaks();
  void reset_totals();

  void record(bool enabled, int64_t max_entries);
  std::vector<MemoryEvent> history() const;
  /// A block in use as snapshots show it, or a free one.
  MemoryBlock describe(const void* block, int64_t size) const;
  std::vector<LiveBlock> live() const;

 private:
  struct Block {
    int64_t size = 0, requested = 0;
    bool small = false;
    ir::Source source;
    std::string_view label;
  };
  /// Without the texts.
  struct Event {
    MemoryEvent::Action action = MemoryEvent::Action::alloc;
    const void* address = nullptr;
    int64_t size = 0, time_us = 0;
    ir::Source source;
    std::string_view label;
  };
  void event(MemoryEvent::Action action, const void* address, int64_t size);

  std::unordered_map<const void*, Block> live_;
  bool recording_ = false;
  std::vector<Event> history_;  // a ring once it is full
  size_t oldest_ = 0, max_entries_ = 0;
};

}  // namespace corten::runtime
