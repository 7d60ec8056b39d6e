#include "runtime/allocator.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/format.h"
#include "base/strings.h"

namespace corten::runtime {
namespace {

constexpr int64_t kPage = 4096, kHuge = 2 << 20;
constexpr int64_t kCacheLimit = int64_t{256} << 20;  // bytes kept for reuse

int64_t read_number(const char* path) {
  std::ifstream file(path);
  std::string word;
  if (!(file >> word) || word.find_first_not_of("0123456789") != word.npos) return -1;
  return std::stoll(word);
}

int64_t rounded(int64_t bytes) {
  if (bytes < 65536) return (std::max<int64_t>(bytes, 1) + 63) / 64 * 64;
  if (bytes < kHuge) return (bytes + kPage - 1) / kPage * kPage;
  // Steps of an eighth of the size keep reuse likely and waste small.
  int64_t step = kPage;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

class Cache {
 public:
  void* take(int64_t size) {
    std::lock_guard lock(mutex_);
    ++stats_.allocations;
    void* block = nullptr;
    if (auto found = free_.find(size); found != free_.end()) {
      block = found->second;
      free_.erase(found);
      cached_ -= size;
    } else {
      block = fresh(size);
      stats_.reserved_bytes += size;
      stats_.peak_reserved_bytes = std::max(stats_.peak_reserved_bytes, stats_.reserved_bytes);
    }
    stats_.allocated_bytes += size;
    stats_.peak_allocated_bytes = std::max(stats_.peak_allocated_bytes, stats_.allocated_bytes);
    return block;
  }
  void give(void* block, int64_t size) {
    std::lock_guard lock(mutex_);
    stats_.allocated_bytes -= size;
    if (cached_ + size <= kCacheLimit) {
      free_.emplace(size, block);
      cached_ += size;
      return;
    }
    release(block, size);
  }
  void clear() {
    std::lock_guard lock(mutex_);
    for (auto& [size, block] : free_) release(block, size);
    free_.clear();
    cached_ = 0;
  }
  MemoryStats stats() {
    std::lock_guard lock(mutex_);
    return stats_;
  }
  void reset_peaks() {
    std::lock_guard lock(mutex_);
    stats_.peak_allocated_bytes = stats_.allocated_bytes;
    stats_.peak_reserved_bytes = stats_.reserved_bytes;
  }
  void count(int64_t bytes) {
    std::lock_guard lock(mutex_);
    stats_.allocated_bytes += bytes;
    stats_.reserved_bytes += bytes;
    stats_.peak_allocated_bytes = std::max(stats_.peak_allocated_bytes, stats_.allocated_bytes);
    stats_.peak_reserved_bytes = std::max(stats_.peak_reserved_bytes, stats_.reserved_bytes);
  }

 private:
  void* fresh(int64_t size) {
    if (size < 65536) return std::aligned_alloc(64, size);
    // Large requests are checked against what the machine has: the system would promise more and kill the process later.
    if (size >= (int64_t{64} << 20)) {
      int64_t available = available_memory();
      if (available >= 0 && size > available)
        resource_error("out of memory: {} were asked for, {} are available; tensors hold {} (peak {})", format_bytes(size),
                       format_bytes(available), format_bytes(stats_.allocated_bytes), format_bytes(stats_.peak_allocated_bytes));
    }
    void* block = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
      resource_error("out of memory: {} were asked for; tensors hold {}", format_bytes(size), format_bytes(stats_.allocated_bytes));
    if (size >= kHuge) madvise(block, size, MADV_HUGEPAGE);
    return block;
  }
  void release(void* block, int64_t size) {
    stats_.reserved_bytes -= size;
    if (size < 65536) std::free(block);
    else munmap(block, size);
  }

  std::mutex mutex_;
  std::multimap<int64_t, void*> free_;
  int64_t cached_ = 0;
  MemoryStats stats_;
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
  void* data = cache().take(size);
  return std::make_shared<ir::Buffer>(data, bytes, [size](void* block) { cache().give(block, size); });
}
void empty_cache() { cache().clear(); }
MemoryStats memory_stats() { return cache().stats(); }
void reset_peak_memory_stats() { cache().reset_peaks(); }

Arena::Arena(int64_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  int64_t available = available_memory();
  if (available >= 0 && bytes > available)
    resource_error("out of memory: the step needs an arena of {}, {} are available; tensors hold {}", format_bytes(bytes),
                   format_bytes(available), format_bytes(memory_stats().allocated_bytes));
  mapped_ = (bytes + kPage - 1) / kPage * kPage;
  void* block = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (block == MAP_FAILED) resource_error("out of memory: an arena of {} cannot be mapped", format_bytes(bytes));
  data_ = static_cast<char*>(block);
  if (mapped_ >= 4 * kHuge) madvise(data_, mapped_, MADV_HUGEPAGE);
  cache().count(mapped_);
}
Arena::~Arena() {
  if (!data_) return;
  munmap(data_, mapped_);
  cache().count(-mapped_);
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
