#include "runtime/device_allocator.h"

#include <algorithm>
#include <vector>

#include "base/format.h"
#include "base/strings.h"
#include "cuda/out_of_memory.h"
#include "ir/placement.h"

namespace corten::runtime {
namespace {

int64_t round_up(int64_t bytes, int64_t to) {
  return (bytes + to - 1) / to * to;
}
const void* pointer(uint64_t address) {
  return reinterpret_cast<const void*>(address);
}
std::string text(int64_t bytes) {
  return format_bytes(static_cast<uint64_t>(std::max<int64_t>(bytes, 0)));
}

}  // namespace

DeviceAllocator::DeviceAllocator(cuda::Device& device, ir::Placement placement)
    : device_(&device), placement_(placement) {}

ir::BufferPtr DeviceAllocator::allocate(int64_t bytes) {
  std::lock_guard lock(mutex_);
  const int64_t size = round_up(std::max<int64_t>(bytes, 1), kBlock);
  const bool small = size <= kSmall;
  const auto found = find(size, small);
  leave_free(found);
  const uint64_t address = found->first;
  Block& block = found->second;
  const int64_t rest = block.size - size;
  block.used = true;
  if (small ? rest >= kBlock : rest > kSmall) {
    block.size = size;
    enter_free(blocks_
                   .emplace(address + static_cast<uint64_t>(size),
                            Block{rest, block.segment, small, false})
                   .first);
  }
  ledger_.enter_block(pointer(address), block.size, bytes, small);
  return std::make_shared<ir::Buffer>(
      reinterpret_cast<void*>(address), bytes,
      [self = shared_from_this()](void* data) { self->give(reinterpret_cast<uint64_t>(data)); },
      placement_);
}

// A free block, from a new segment if there is none.
DeviceAllocator::Blocks::iterator DeviceAllocator::find(int64_t size, bool small) {
  Free& pool = small ? free_small_ : free_large_;
  if (const auto best = pool.lower_bound({size, 0}); best != pool.end())
    return blocks_.find(best->second);
  if (!device_) resource_error("{} was closed", ir::to_string(placement_));
  const int64_t segment = small            ? kSmallSegment
                          : size < kMiddle ? kLargeSegment
                                           : round_up(size, kSegmentStep);
  uint64_t address = 0;
  cuda::Status status = device_->allocate(segment, address);
  if (cuda::is_out_of_memory(status) && !segments_.empty()) {
    ++ledger_.counters.num_alloc_retries;
    release_cached();
    status = device_->allocate(segment, address);
  }
  if (cuda::is_out_of_memory(status)) out_of_memory(size, segment, status);
  if (!status.empty()) resource_error("{}", status);
  segments_[address] = segment;
  ledger_.enter_segment(pointer(address), segment, small);
  const auto block = blocks_.emplace(address, Block{segment, address, small, false}).first;
  enter_free(block);
  return block;
}

void DeviceAllocator::give(uint64_t address) {
  std::lock_guard lock(mutex_);
  auto block = blocks_.find(address);
  if (block == blocks_.end()) return;  // the device went
  ledger_.leave_block(pointer(address));
  block->second.used = false;
  if (const auto next = std::next(block); joined(block, next)) {
    leave_free(next);
    block->second.size += next->second.size;
    blocks_.erase(next);
  }
  if (block != blocks_.begin())
    if (const auto before = std::prev(block); joined(before, block)) {
      leave_free(before);
      before->second.size += block->second.size;
      blocks_.erase(block);
      block = before;
    }
  enter_free(block);
}

// Whether two neighbours in the order of addresses are free parts of one segment.
bool DeviceAllocator::joined(Blocks::const_iterator a, Blocks::const_iterator b) const {
  return b != blocks_.end() && !a->second.used && !b->second.used &&
         a->second.segment == b->second.segment;
}
bool DeviceAllocator::whole(Blocks::const_iterator block) const {
  return block->second.size == segments_.at(block->second.segment);
}

// A free block that is not all of its segment is a split that the device cannot have back.
void DeviceAllocator::enter_free(Blocks::iterator block) {
  const Block& b = block->second;
  free(b).insert({b.size, block->first});
  if (whole(block)) return;
  ledger_.counters.inactive_split.add(b.small, 1);
  ledger_.counters.inactive_split_bytes.add(b.small, b.size);
}
void DeviceAllocator::leave_free(Blocks::iterator block) {
  const Block& b = block->second;
  if (free(b).erase({b.size, block->first}) == 0 || whole(block)) return;
  ledger_.counters.inactive_split.remove(b.small, 1);
  ledger_.counters.inactive_split_bytes.remove(b.small, b.size);
}

void DeviceAllocator::release_cached() {
  device_->synchronize();  // what still reads or writes there
  for (auto block = blocks_.begin(); block != blocks_.end();) {
    if (block->second.used || !whole(block)) {
      ++block;
      continue;
    }
    leave_free(block);
    ledger_.leave_segment(pointer(block->first), block->second.size, block->second.small);
    device_->release(block->first);
    segments_.erase(block->first);
    block = blocks_.erase(block);
  }
}

void DeviceAllocator::out_of_memory(int64_t asked, int64_t segment, const std::string& status) {
  int64_t available = 0, total = 0;
  device_->memory(available, total);
  ledger_.out_of_memory(available, asked);
  const MemoryCounters& c = ledger_.counters;
  const int64_t used = c.allocated_bytes.all.current, cached = c.reserved_bytes.all.current - used;
  std::vector<std::string> advice;
  if (asked > total)
    advice.push_back("it is more than the device has: split it");
  else if (used + asked <= total / 2 && available < segment)
    advice.push_back(
        "most of the device is not held by this process's tensors: see what else runs there");
  if (cached >= asked)
    advice.push_back(
        "free pieces are large enough together, not one by one: compile() plans memory ahead");
  if (ir::grad_enabled()) advice.push_back("use a NoGradGuard if no gradient is wanted");
  advice.push_back("lower the batch or the sequence length");
  if (ir::grad_enabled()) advice.push_back("let checkpoint() compute activations again");
  advice.push_back("compute in bf16 with Autocast");
  cuda::raise({.device = ir::to_string(placement_),
               .what = "",
               .asked = asked,
               .free = available,
               .total = total,
               .held = format("tensors hold {} (peak {}), free pieces of their segments {}",
                              text(used), text(c.allocated_bytes.all.peak), text(cached)),
               .advice = advice,
               .status = status});
}

void DeviceAllocator::empty_cache() {
  std::lock_guard lock(mutex_);
  if (device_) release_cached();
}

void DeviceAllocator::close() {
  std::lock_guard lock(mutex_);
  if (!device_) return;
  device_->synchronize();
  for (const auto& [address, size] : segments_) device_->release(address);
  segments_.clear();
  blocks_.clear();
  free_small_.clear();
  free_large_.clear();
  device_ = nullptr;
}

MemoryCounters DeviceAllocator::counters() {
  std::lock_guard lock(mutex_);
  return ledger_.counters;
}
int64_t DeviceAllocator::in_use() {
  std::lock_guard lock(mutex_);
  return ledger_.counters.allocated_bytes.all.current;
}
void DeviceAllocator::reset_peaks() {
  std::lock_guard lock(mutex_);
  ledger_.reset_peaks();
}
void DeviceAllocator::reset_totals() {
  std::lock_guard lock(mutex_);
  ledger_.reset_totals();
}
void DeviceAllocator::record(bool enabled, int64_t max_entries) {
  std::lock_guard lock(mutex_);
  ledger_.record(enabled, max_entries);
}

MemorySnapshot DeviceAllocator::snapshot() {
  std::lock_guard lock(mutex_);
  MemorySnapshot out;
  out.device = placement_.index;
  for (const auto& [address, block] : blocks_) {
    if (address == block.segment)
      out.segments.push_back({.address = static_cast<int64_t>(address),
                              .total_size = segments_.at(address),
                              .large = !block.small,
                              .device = placement_.index});
    out.segments.back().blocks.push_back(ledger_.describe(pointer(address), block.size));
  }
  out.trace = ledger_.history();
  return out;
}

}  // namespace corten::runtime
