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
// Bytes kept for reuse: at least these, and as much as was in use at most. What a training step makes and frees op by op
// is taken from the system once; clearing its pages again takes longer than most ops do. Beyond that, blocks that have not
// been used for longest go back.
constexpr int64_t kCacheLimit = int64_t{256} << 20;

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
    if (auto found = free_.find(size); found != free_.end() && !found->second.empty()) {
      // The block given back last: the ones below it in the stack are more likely to be not needed any more.
      const Free top = found->second.back();
      found->second.pop_back();
      by_age_.erase(top.age);
      out.block = top.block;
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
    free_[size].push_back({block, age_});
    if (size >= kMapped) by_age_.emplace_hint(by_age_.end(), age_, size);
    ++age_;
    cached_ += size;
    const int64_t limit = std::max(kCacheLimit, counters_.allocated_bytes.all.peak);
    while (cached_ > limit && !by_age_.empty()) {
      const auto oldest = by_age_.begin();
      std::vector<Free>& blocks = free_[oldest->second];
      // Ages grow along the stack: the oldest block of a size lies at its bottom.
      cached_ -= oldest->second;
      release(blocks.front().block, oldest->second);
      blocks.erase(blocks.begin());
      by_age_.erase(oldest);
    }
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
    for (const auto& [size, blocks] : free_)
      for (const Free& f : blocks) segment(f.block, size, {.active = false});
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
    for (auto& [size, blocks] : free_)
      for (const Free& f : blocks) release(f.block, size);
    free_.clear();
    by_age_.clear();
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
  struct Free {
    void* block;
    uint64_t age;
  };
  std::unordered_map<int64_t, std::vector<Free>> free_;  // by size, the block given back last at the end
  std::map<uint64_t, int64_t> by_age_;                   // sizes of the mapped ones, those given back first at the beginning
  uint64_t age_ = 0;
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
  const auto left = [] {
    const int64_t available = available_memory();
    return available < 0 ? available : std::max<int64_t>(available - untouched_memory(), 0);
  };
  empty_cache();  // what made the state will not be needed by a program that has its own memory
  const int64_t available = left();
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
