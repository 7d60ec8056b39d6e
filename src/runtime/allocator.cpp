#include "runtime/allocator.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "base/format.h"
#include "base/strings.h"
#include "base/thread_pool.h"
#include "corten/memory.h"

namespace corten::runtime {
namespace {

constexpr int64_t kPage = 4096, kHuge = 2 << 20;
constexpr int64_t kMapped = 65536;  // blocks from this size on are mapped, and zero when they are fresh
constexpr int64_t kCacheLimit = int64_t{256} << 20;  // bytes kept for reuse

int64_t read_number(const char* path) {
  std::ifstream file(path);
  std::string word;
  if (!(file >> word) || word.find_first_not_of("0123456789") != word.npos) return -1;
  return std::stoll(word);
}

int64_t rounded(int64_t bytes) {
  if (bytes < kMapped) return (std::max<int64_t>(bytes, 1) + 63) / 64 * 64;
  if (bytes < kHuge) return (bytes + kPage - 1) / kPage * kPage;
  // Steps of an eighth of the size keep reuse likely and waste small.
  int64_t step = kPage;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

thread_local std::string_view t_label;

int64_t now_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// What is remembered of a block in use.
struct Block {
  int64_t size = 0, requested = 0;
  ir::Source source;
  std::string_view label;
};

/// One event of the history, without the texts.
struct Event {
  MemoryEvent::Action action = MemoryEvent::Action::alloc;
  const void* address = nullptr;
  int64_t size = 0, time_us = 0;
  ir::Source source;
  std::string_view label;
};

std::vector<MemoryFrame> frames(const ir::Source& source, std::string_view label) {
  if (!source.file && label.empty()) return {};
  return {{source.file ? source.file : "", source.line, std::string(label)}};
}

class Cache {
 public:
  struct Taken {
    void* block = nullptr;
    bool fresh = false;  // from the system just now
  };
  Taken take(int64_t size, int64_t requested) {
    std::lock_guard lock(mutex_);
    Taken out;
    if (auto found = free_.find(size); found != free_.end()) {
      out.block = found->second;
      free_.erase(found);
      cached_ -= size;
    } else {
      out = {fresh(size), true};
      enter_segment(out.block, size);
    }
    enter_block(out.block, size, requested);
    return out;
  }
  void give(void* block, int64_t size) {
    std::lock_guard lock(mutex_);
    leave_block(block);
    if (cached_ + size <= kCacheLimit) {
      free_.emplace(size, block);
      cached_ += size;
      return;
    }
    release(block, size);
  }
  void clear() {
    std::lock_guard lock(mutex_);
    clear_locked();
  }
  MemoryCounters counters() {
    std::lock_guard lock(mutex_);
    return counters_;
  }
  int64_t in_use() {
    std::lock_guard lock(mutex_);
    return counters_.allocated_bytes.all.current;
  }
  int64_t untouched() {
    std::lock_guard lock(mutex_);
    return untouched_locked();
  }
  void reset_peaks() {
    std::lock_guard lock(mutex_);
    counters_.each([](MemoryStat& s) { s.peak = s.current; });
  }
  void reset_totals() {
    std::lock_guard lock(mutex_);
    counters_.each([](MemoryStat& s) { s.allocated = s.freed = 0; });
    counters_.num_alloc_retries = counters_.num_ooms = counters_.num_device_alloc = counters_.num_device_free = 0;
  }
  /// Memory that was mapped elsewhere: one segment, all of it in use.
  void enter(void* block, int64_t size) {
    std::lock_guard lock(mutex_);
    enter_segment(block, size);
    enter_block(block, size, size);
  }
  void leave(void* block, int64_t size) {
    std::lock_guard lock(mutex_);
    leave_block(block);
    leave_segment(block, size);
  }

  void record(bool enabled, int64_t max_entries) {
    std::lock_guard lock(mutex_);
    recording_ = enabled;
    history_.clear();
    oldest_ = 0;
    max_entries_ = static_cast<size_t>(max_entries);
  }
  MemorySnapshot snapshot() {
    std::lock_guard lock(mutex_);
    MemorySnapshot out;
    auto segment = [&](const void* address, int64_t size, MemoryBlock block) {
      block.address = reinterpret_cast<int64_t>(address);
      block.size = size;
      MemorySegment s{.address = block.address, .total_size = size, .large = size >= kSmallPool};
      s.blocks.push_back(std::move(block));
      out.segments.push_back(std::move(s));
    };
    for (const auto& [address, b] : live_)
      segment(address, b.size, {.requested_size = b.requested, .active = true, .frames = frames(b.source, b.label)});
    for (const auto& [size, address] : free_) segment(address, size, {.active = false});
    std::sort(out.segments.begin(), out.segments.end(), [](const auto& a, const auto& b) { return a.address < b.address; });
    for (size_t i = 0; i < history_.size(); ++i) {
      const Event& e = history_[(oldest_ + i) % history_.size()];
      out.trace.push_back({.action = e.action, .address = reinterpret_cast<int64_t>(e.address), .size = e.size, .time_us = e.time_us,
                           .frames = frames(e.source, e.label), .user_metadata = std::string(e.label)});
    }
    return out;
  }
  std::vector<LiveBlock> live() {
    std::lock_guard lock(mutex_);
    std::vector<LiveBlock> out;
    for (const auto& [address, b] : live_) out.push_back({address, b.size, b.source, b.label});
    return out;
  }

 private:
  void enter_segment(const void* block, int64_t size) {
    ++counters_.num_device_alloc;
    counters_.segment.add(size < kSmallPool, 1);
    counters_.reserved_bytes.add(size < kSmallPool, size);
    event(MemoryEvent::Action::segment_alloc, block, size);
  }
  void leave_segment(const void* block, int64_t size) {
    ++counters_.num_device_free;
    counters_.segment.remove(size < kSmallPool, 1);
    counters_.reserved_bytes.remove(size < kSmallPool, size);
    event(MemoryEvent::Action::segment_free, block, size);
  }
  void enter_block(const void* block, int64_t size, int64_t requested) {
    const bool small = size < kSmallPool;
    counters_.allocation.add(small, 1);
    counters_.allocated_bytes.add(small, size);
    counters_.requested_bytes.add(small, requested);
    live_[block] = {size, requested, ir::current_source(), t_label};
    event(MemoryEvent::Action::alloc, block, size);
  }
  void leave_block(const void* address) {
    auto found = live_.find(address);
    const Block block = found->second;
    live_.erase(found);
    const bool small = block.size < kSmallPool;
    counters_.allocation.remove(small, 1);
    counters_.allocated_bytes.remove(small, block.size);
    counters_.requested_bytes.remove(small, block.requested);
    if (!recording_) return;
    event(MemoryEvent::Action::free_requested, address, block.size);
    event(MemoryEvent::Action::free_completed, address, block.size);
  }
  void event(MemoryEvent::Action action, const void* address, int64_t size) {
    if (!recording_) return;
    Event e{action, address, size, now_us(), ir::current_source(), t_label};
    if (history_.size() < max_entries_) {
      history_.push_back(e);
    } else {
      history_[oldest_] = e;
      oldest_ = (oldest_ + 1) % history_.size();
    }
  }

  void clear_locked() {
    for (auto& [size, block] : free_) release(block, size);
    free_.clear();
    cached_ = 0;
  }
  /// Memory from the system; when there is none, cached blocks go first.
  void* fresh(int64_t size) {
    if (void* block = try_fresh(size)) return block;
    if (cached_ > 0) {
      ++counters_.num_alloc_retries;
      clear_locked();
      if (void* block = try_fresh(size)) return block;
    }
    ++counters_.num_ooms;
    event(MemoryEvent::Action::oom, reinterpret_cast<const void*>(std::max<int64_t>(available_memory(), 0)), size);
    resource_error("out of memory: {} were asked for, {} are available; tensors hold {} (peak {})", format_bytes(size),
                   format_bytes(std::max<int64_t>(available_memory(), 0)), format_bytes(counters_.allocated_bytes.all.current),
                   format_bytes(counters_.allocated_bytes.all.peak));
  }
  int64_t untouched_locked() const {
    std::ifstream status("/proc/self/statm");
    int64_t total = 0, resident = 0, shared = 0;
    if (!(status >> total >> resident >> shared)) return 0;
    return std::max<int64_t>(counters_.reserved_bytes.all.current - (resident - shared) * kPage, 0);
  }
  void* try_fresh(int64_t size) {
    if (size < kMapped) return std::aligned_alloc(64, size);
    // Large requests are checked against what the machine has: the system would promise more and kill the process later.
    if (size >= (int64_t{64} << 20)) {
      int64_t available = available_memory();
      if (available >= 0 && size > available - untouched_locked()) return nullptr;
    }
    void* block = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return nullptr;
    if (size >= kHuge) madvise(block, size, MADV_HUGEPAGE);
    return block;
  }
  void release(void* block, int64_t size) {
    leave_segment(block, size);
    if (size < kMapped) std::free(block);
    else munmap(block, size);
  }

  std::mutex mutex_;
  std::multimap<int64_t, void*> free_;
  std::unordered_map<const void*, Block> live_;
  int64_t cached_ = 0;
  MemoryCounters counters_;
  bool recording_ = false;
  std::vector<Event> history_;  // a ring once it is full
  size_t oldest_ = 0, max_entries_ = 0;
};

Cache& cache() {
  static auto* instance = new Cache;  // outlives every static tensor
  return *instance;
}

}  // namespace

int64_t available_memory() {
  std::ifstream info("/proc/meminfo");
  std::string key, unit;
  int64_t kib = 0, available = -1;
  while (info >> key >> kib >> unit)
    if (key == "MemAvailable:") available = kib * 1024;
  int64_t limit = read_number("/sys/fs/cgroup/memory.max"), used = read_number("/sys/fs/cgroup/memory.current");
  if (limit >= 0 && used >= 0) available = available < 0 ? limit - used : std::min(available, limit - used);
  return available;
}

ir::BufferPtr allocate(int64_t bytes) {
  int64_t size = rounded(bytes);
  void* data = cache().take(size, bytes).block;
  return std::make_shared<ir::Buffer>(data, bytes, [size](void* block) { cache().give(block, size); });
}
ir::BufferPtr allocate_zeros(int64_t bytes) {
  int64_t size = rounded(bytes);
  const auto [data, fresh] = cache().take(size, bytes);
  auto buffer = std::make_shared<ir::Buffer>(data, bytes, [size](void* block) { cache().give(block, size); });
  if (fresh && size >= kMapped) return buffer;
  constexpr int64_t kPiece = 1 << 20;
  default_thread_pool().parallel_for((bytes + kPiece - 1) / kPiece, [&, to = static_cast<char*>(data)](int64_t i, int) {
    std::memset(to + i * kPiece, 0, std::min(kPiece, bytes - i * kPiece));
  });
  return buffer;
}
void empty_cache() { cache().clear(); }
MemoryCounters memory_counters() { return cache().counters(); }
int64_t memory_in_use() { return cache().in_use(); }
int64_t untouched_memory() { return cache().untouched(); }
MemoryStats memory_stats() {
  const MemoryCounters c = memory_counters();
  return {c.allocated_bytes.all.current, c.allocated_bytes.all.peak, c.reserved_bytes.all.current, c.reserved_bytes.all.peak,
          c.allocation.all.allocated};
}
void reset_peak_memory_stats() { cache().reset_peaks(); }
void reset_accumulated_memory_stats() { cache().reset_totals(); }
std::vector<LiveBlock> live_blocks() { return cache().live(); }

AllocationLabel::AllocationLabel(std::string_view label) : previous_(t_label) { t_label = label; }
AllocationLabel::~AllocationLabel() { t_label = previous_; }

Arena::Arena(int64_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  int64_t available = available_memory();
  if (available >= 0) available = std::max<int64_t>(available - untouched_memory(), 0);
  if (available >= 0 && bytes > available)
    resource_error("out of memory: the step needs an arena of {}, {} are available; tensors hold {}", format_bytes(bytes),
                   format_bytes(available), format_bytes(memory_stats().allocated_bytes));
  mapped_ = (bytes + kPage - 1) / kPage * kPage;
  void* block = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (block == MAP_FAILED) resource_error("out of memory: an arena of {} cannot be mapped", format_bytes(bytes));
  data_ = static_cast<char*>(block);
  if (mapped_ >= 4 * kHuge) madvise(data_, mapped_, MADV_HUGEPAGE);
  AllocationLabel label("arena");
  cache().enter(data_, mapped_);
}
Arena::~Arena() {
  if (!data_) return;
  cache().leave(data_, mapped_);
  munmap(data_, mapped_);
}
int64_t Arena::touched_bytes() const {
  if (!data_) return 0;
  std::vector<unsigned char> pages(mapped_ / kPage);
  if (mincore(data_, mapped_, pages.data()) != 0) return bytes_;
  int64_t touched = 0;
  for (unsigned char page : pages) touched += page & 1 ? kPage : 0;
  return std::min(touched, bytes_);
}

}  // namespace corten::runtime

namespace corten {

void record_memory_history(bool enabled, int64_t max_entries) {
  if (enabled && max_entries < 1) usage_error("[record_memory_history] a history of {} entries", max_entries);
  runtime::cache().record(enabled, max_entries);
}
MemorySnapshot memory_snapshot() { return runtime::cache().snapshot(); }
void dump_snapshot(const std::string& path) { write_file_atomic(path, memory_snapshot().to_pickle()); }

}  // namespace corten
