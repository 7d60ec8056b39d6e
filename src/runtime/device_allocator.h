// Memory of a GPU for tensors: segments of it, split into blocks that are kept for reuse, with the
// size classes of PyTorch's caching allocator, so that its statistics and snapshots mean the same
// here.
//
// A block is free when its last tensor goes, and may be given away at once: all work of a device is
// done in the order in which it was asked for, so that whoever gets the block writes it behind
// those that still read it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "cuda/plugin.h"
#include "runtime/memory_ledger.h"

namespace corten::runtime {

class DeviceAllocator : public std::enable_shared_from_this<DeviceAllocator> {
 public:
  /// The device must live until close().
  DeviceAllocator(cuda::Device& device, ir::Placement placement);
  DeviceAllocator(const DeviceAllocator&) = delete;

  /// At least `bytes`, aligned to 512, contents undefined. When the device has no more, what is
  /// cached is given back to it first. Resource error with what was asked for, what is in use, and
  /// what would help, the most likely first.
  ir::BufferPtr allocate(int64_t bytes);
  /// Gives segments without a block in use back to the device. Waits for it.
  void empty_cache();
  /// Gives all memory back: the device goes. Buffers that live longer have none.
  void close();

  MemoryCounters counters();
  int64_t in_use();
  void reset_peaks();
  void reset_totals();
  void record(bool enabled, int64_t max_entries);
  MemorySnapshot snapshot();

  static constexpr int64_t kBlock = 512;             // sizes are multiples of it
  static constexpr int64_t kSmall = 1 << 20;         // blocks up to this size are of the small pool
  static constexpr int64_t kSmallSegment = 2 << 20;  // of which segments are this large
  static constexpr int64_t kMiddle = 10 << 20;  // larger blocks have segments of their own size,
  static constexpr int64_t kLargeSegment =
      20 << 20;  // others of the large pool share segments of this one
  static constexpr int64_t kSegmentStep = 2 << 20;  // which own sizes are rounded up to

 private:
  /// A part of a segment; its neighbours there are the entries beside it in blocks_.
  struct Block {
    int64_t size = 0;
    uint64_t segment = 0;  // address
    bool small = false, used = false;
  };
  using Blocks = std::map<uint64_t, Block>;             // by address
  using Free = std::set<std::pair<int64_t, uint64_t>>;  // {size, address}: the smallest that fits,
                                                        // the first of these

  Blocks::iterator find(int64_t size, bool small);
  void give(uint64_t address);
  Free& free(const Block& block) { return block.small ? free_small_ : free_large_; }
  bool whole(Blocks::const_iterator block) const;
  void enter_free(Blocks::iterator block);
  void leave_free(Blocks::iterator block);
  bool joined(Blocks::const_iterator a, Blocks::const_iterator b) const;
  void release_cached();
  [[noreturn]] void out_of_memory(int64_t asked, int64_t segment, const std::string& status);

  std::mutex mutex_;
  cuda::Device* device_;  // null once it went
  const ir::Placement placement_;
  Blocks blocks_;
  std::map<uint64_t, int64_t> segments_;  // sizes by address
  Free free_small_, free_large_;
  MemoryLedger ledger_;
};

}  // namespace corten::runtime
