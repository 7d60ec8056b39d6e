#include "runtime/allocator.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/format.h"
#include "base/strings.h"
#include "base/thread_pool.h"
#include "corten/memory.h"
#include "runtime/memory_ledger.h"

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
      ledger_.enter_segment(out.block, size, is_small(size));
    }
    ledger_.enter_block(out.block, size, requested, is_small(size));
    return out;
  }
  void give(void* block, int64_t size) {
    std::lock_guard lock(mutex_);
    ledger_.leave_block(block);
    free_[size].push_back({block, age_});
    if (size >= kMapped) by_age_.emplace_hint(by_age_.end(), age_, size);
    ++age_;
    cached_ += size;
    const int64_t limit = std::max(kCacheLimit, ledger_.counters.allocated_bytes.all.peak);
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
    return ledger_.counters;
  }
  int64_t in_use() {
    std::lock_guard lock(mutex_);
    return ledger_.counters.allocated_bytes.all.current;
  }
  int64_t untouched() {
    std::lock_guard lock(mutex_);
    return untouched_locked();
  }
  void reset_peaks() {
    std::lock_guard lock(mutex_);
    ledger_.reset_peaks();
  }
  void reset_totals() {
    std::lock_guard lock(mutex_);
    ledger_.reset_totals();
  }
  /// Memory that was mapped elsewhere: one segment, all of it in use.
  void enter(void* block, int64_t size) {
    std::lock_guard lock(mutex_);
    ledger_.enter_segment(block, size, is_small(size));
    ledger_.enter_block(block, size, size, is_small(size));
  }
  void leave(void* block, int64_t size) {
    std::lock_guard lock(mutex_);
    ledger_.leave_block(block);
    ledger_.leave_segment(block, size, is_small(size));
  }

  void record(bool enabled, int64_t max_entries) {
    std::lock_guard lock(mutex_);
    ledger_.record(enabled, max_entries);
  }
  MemorySnapshot snapshot() {
    std::lock_guard lock(mutex_);
    MemorySnapshot out;
    auto segment = [&](const void* address, int64_t size) {
      MemorySegment s{.address = reinterpret_cast<int64_t>(address), .total_size = size, .large = !is_small(size)};
      s.blocks.push_back(ledger_.describe(address, size));
      out.segments.push_back(std::move(s));
    };
    for (const LiveBlock& b : ledger_.live()) segment(b.address, b.bytes);
    for (const auto& [size, blocks] : free_)
      for (const Free& f : blocks) segment(f.block, size);
    std::sort(out.segments.begin(), out.segments.end(), [](const auto& a, const auto& b) { return a.address < b.address; });
    out.trace = ledger_.history();
    return out;
  }
  std::vector<LiveBlock> live() {
    std::lock_guard lock(mutex_);
    return ledger_.live();
  }

 private:
  static bool is_small(int64_t size) { return size < kSmallPool; }

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
      ++ledger_.counters.num_alloc_retries;
      clear_locked();
      if (void* block = try_fresh(size)) return block;
    }
    ledger_.out_of_memory(std::max<int64_t>(available_memory(), 0), size);
    resource_error("out of memory: {} were asked for, {} are available; tensors hold {} (peak {})", format_bytes(size),
                   format_bytes(std::max<int64_t>(available_memory(), 0)), format_bytes(ledger_.counters.allocated_bytes.all.current),
                   format_bytes(ledger_.counters.allocated_bytes.all.peak));
  }
  int64_t untouched_locked() const {
    std::ifstream status("/proc/self/statm");
    int64_t total = 0, resident = 0, shared = 0;
    if (!(status >> total >> resident >> shared)) return 0;
    return std::max<int64_t>(ledger_.counters.reserved_bytes.all.current - (resident - shared) * kPage, 0);
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
    ledger_.leave_segment(block, size, is_small(size));
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
  int64_t cached_ = 0;
  MemoryLedger ledger_;
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

void record_cpu_history(bool enabled, int64_t max_entries) { cache().record(enabled, max_entries); }
MemorySnapshot cpu_snapshot() { return cache().snapshot(); }

}  // namespace corten::runtime
