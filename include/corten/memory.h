// Memory statistics and history under the names of torch.cuda: of the caching allocators that serve tensors and arenas.
//
// Device "cpu" is the memory of this process: there every block is a segment of its own and is never split; blocks below 1 MiB
// are counted as the small pool. A GPU's segments are split into blocks, as PyTorch does it; what was not used yet of a GPU
// that nobody has opened is 0, and asking does not open it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "corten/device.h"

namespace corten {

/// A line of source code behind an allocation.
struct MemoryFrame {
  std::string filename;
  int64_t line = 0;
  std::string name;
};

struct MemoryBlock {
  int64_t address = 0, size = 0, requested_size = 0;  ///< bytes
  bool active = true;                                 ///< state "active_allocated", else "inactive"
  std::vector<MemoryFrame> frames;
};

/// A piece of memory taken from the system or a GPU; its blocks tile it.
struct MemorySegment {
  int64_t address = 0, total_size = 0;
  bool large = true;
  int device = 0;
  std::vector<MemoryBlock> blocks;
  int64_t allocated_size() const;
  int64_t requested_size() const;
};

/// An event of the history.
struct MemoryEvent {
  enum class Action : uint8_t { alloc, free_requested, free_completed, segment_alloc, segment_free, oom, snapshot };
  Action action = Action::alloc;
  int64_t address = 0, size = 0;
  int64_t time_us = 0;
  std::vector<MemoryFrame> frames;
  std::string category;       ///< "parameter", "activation", ...; may be empty
  std::string user_metadata;  ///< shown by viewers; may be empty
};

struct MemorySnapshot {
  std::vector<MemorySegment> segments;
  std::vector<MemoryEvent> trace;
  int device = 0;
  /// A pickle (protocol 2) that pytorch.org/memory_viz and torch.cuda._memory_viz read.
  std::string to_pickle() const;
};

/// Statistics by torch.cuda.memory_stats()'s keys, sorted: "allocated_bytes.all.peak", "num_ooms", ...
std::vector<std::pair<std::string, int64_t>> memory_stats(const Device& device = {});
/// The same as a JSON object.
std::string memory_stats_json(const Device& device = {});
/// torch.cuda.memory_summary()'s table.
std::string memory_summary(const Device& device = {}, bool abbreviated = false);

int64_t memory_allocated(const Device& device = {});      ///< bytes of blocks in use
int64_t max_memory_allocated(const Device& device = {});  ///< the most since the start or reset_peak_memory_stats()
int64_t memory_reserved(const Device& device = {});       ///< bytes taken from the system or GPU, cached blocks included
int64_t max_memory_reserved(const Device& device = {});
/// Starts the peaks anew from the present values.
void reset_peak_memory_stats(const Device& device = {});
/// Starts the totals ("allocated" and "freed") and the counts of events anew.
void reset_accumulated_memory_stats(const Device& device = {});
/// Gives cached blocks back to the system; a GPU is waited for.
void empty_cache(const Device& device = {});

/// From now on keeps the last `max_entries` events and where each block in use was asked for. Costs about a microsecond per
/// event, on every device. Off: forgets them. Usage error unless max_entries is positive.
void record_memory_history(bool enabled = true, int64_t max_entries = 1'000'000);
/// Blocks as they are, and the history as far as it is kept.
MemorySnapshot memory_snapshot(const Device& device = {});
/// Writes memory_snapshot(device).to_pickle() to a file (atomically). Resource error if it cannot be written.
void dump_snapshot(const std::string& path, const Device& device = {});

}  // namespace corten
