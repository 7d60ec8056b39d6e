#include "runtime/memory_ledger.h"

#include <chrono>

namespace corten::runtime {
namespace {

thread_local std::string_view t_label;

int64_t now_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::vector<MemoryFrame> frames(const ir::Source& source, std::string_view label) {
  if (!source.file && label.empty()) return {};
  return {{source.file ? source.file : "", source.line, std::string(label)}};
}

}  // namespace

AllocationLabel::AllocationLabel(std::string_view label) : previous_(t_label) {
  t_label = label;
}
AllocationLabel::~AllocationLabel() {
  t_label = previous_;
}

void MemoryLedger::enter_segment(const void* segment, int64_t size, bool small) {
  ++counters.num_device_alloc;
  counters.segment.add(small, 1);
  counters.reserved_bytes.add(small, size);
  event(MemoryEvent::Action::segment_alloc, segment, size);
}
void MemoryLedger::leave_segment(const void* segment, int64_t size, bool small) {
  ++counters.num_device_free;
  counters.segment.remove(small, 1);
  counters.reserved_bytes.remove(small, size);
  event(MemoryEvent::Action::segment_free, segment, size);
}

void MemoryLedger::enter_block(const void* block, int64_t size, int64_t requested, bool small) {
  counters.allocation.add(small, 1);
  counters.allocated_bytes.add(small, size);
  counters.requested_bytes.add(small, requested);
  live_[block] = {size, requested, small, ir::current_source(), t_label};
  event(MemoryEvent::Action::alloc, block, size);
}
void MemoryLedger::leave_block(const void* address) {
  const auto found = live_.find(address);
  const Block block = found->second;
  live_.erase(found);
  counters.allocation.remove(block.small, 1);
  counters.allocated_bytes.remove(block.small, block.size);
  counters.requested_bytes.remove(block.small, block.requested);
  if (!recording_) return;
  event(MemoryEvent::Action::free_requested, address, block.size);
  event(MemoryEvent::Action::free_completed, address, block.size);
}

void MemoryLedger::out_of_memory(int64_t available, int64_t size) {
  ++counters.num_ooms;
  event(MemoryEvent::Action::oom, reinterpret_cast<const void*>(available), size);
}

void MemoryLedger::reset_peaks() {
  counters.each([](MemoryStat& s) { s.peak = s.current; });
}
void MemoryLedger::reset_totals() {
  counters.each([](MemoryStat& s) { s.allocated = s.freed = 0; });
  counters.num_alloc_retries = counters.num_ooms = counters.num_device_alloc =
      counters.num_device_free = 0;
}

void MemoryLedger::event(MemoryEvent::Action action, const void* address, int64_t size) {
  if (!recording_) return;
  Event e{action, address, size, now_us(), ir::current_source(), t_label};
  if (history_.size() < max_entries_) {
    history_.push_back(e);
  } else {
    history_[oldest_] = e;
    oldest_ = (oldest_ + 1) % history_.size();
  }
}

void MemoryLedger::record(bool enabled, int64_t max_entries) {
  recording_ = enabled;
  history_.clear();
  oldest_ = 0;
  max_entries_ = static_cast<size_t>(max_entries);
}

std::vector<MemoryEvent> MemoryLedger::history() const {
  std::vector<MemoryEvent> out;
  for (size_t i = 0; i < history_.size(); ++i) {
    const Event& e = history_[(oldest_ + i) % history_.size()];
    out.push_back({.action = e.action,
                   .address = reinterpret_cast<int64_t>(e.address),
                   .size = e.size,
                   .time_us = e.time_us,
                   .frames = frames(e.source, e.label),
                   .user_metadata = std::string(e.label)});
  }
  return out;
}

MemoryBlock MemoryLedger::describe(const void* block, int64_t size) const {
  MemoryBlock out{.address = reinterpret_cast<int64_t>(block), .size = size, .active = false};
  if (const auto found = live_.find(block); found != live_.end()) {
    out.requested_size = found->second.requested;
    out.active = true;
    out.frames = frames(found->second.source, found->second.label);
  }
  return out;
}

std::vector<LiveBlock> MemoryLedger::live() const {
  std::vector<LiveBlock> out;
  for (const auto& [address, b] : live_) out.push_back({address, b.size, b.source, b.label});
  return out;
}

}  // namespace corten::runtime
