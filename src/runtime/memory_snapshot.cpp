// Snapshots of memory in PyTorch's format.
#include "base/file.h"
#include "base/format.h"
#include "base/pickle.h"
#include "corten/memory.h"
#include "runtime/allocator.h"
#include "runtime/devices.h"
#include "runtime/eager_device.h"

namespace corten {
namespace {

std::string_view action_name(MemoryEvent::Action action) {
  switch (action) {
    case MemoryEvent::Action::alloc: return "alloc";
    case MemoryEvent::Action::free_requested: return "free_requested";
    case MemoryEvent::Action::free_completed: return "free_completed";
    case MemoryEvent::Action::segment_alloc: return "segment_alloc";
    case MemoryEvent::Action::segment_free: return "segment_free";
    case MemoryEvent::Action::oom: return "oom";
    case MemoryEvent::Action::snapshot: return "snapshot";
  }
  internal_error("unknown action {}", static_cast<int>(action));
}

void write(PickleWriter& out, const std::vector<MemoryFrame>& frames) {
  out.text("frames").begin_list();
  for (const MemoryFrame& f : frames)
    out.begin_dict().item("filename", f.filename).item("line", f.line).item("name", f.name).end();
  out.end();
}

void write(PickleWriter& out, const MemorySegment& s) {
  out.begin_dict().item("device", int64_t{s.device}).item("address", s.address).item("total_size", s.total_size);
  out.item("allocated_size", s.allocated_size()).item("active_size", s.allocated_size()).item("requested_size", s.requested_size());
  out.item("stream", int64_t{0}).item("segment_type", s.large ? "large" : "small");
  out.text("segment_pool_id").begin_tuple().integer(0).integer(0).end().item("is_expandable", false);
  write(out, std::vector<MemoryFrame>{});
  out.text("blocks").begin_list();
  for (const MemoryBlock& b : s.blocks) {
    out.begin_dict().item("address", b.address).item("size", b.size).item("requested_size", b.requested_size);
    out.item("state", b.active ? "active_allocated" : "inactive");
    write(out, b.frames);
    out.end();
  }
  out.end().end();
}

void write(PickleWriter& out, const MemoryEvent& e) {
  out.begin_dict().item("action", action_name(e.action));
  out.item(e.action == MemoryEvent::Action::oom ? "device_free" : "addr", e.address);
  out.item("size", e.size).item("stream", int64_t{0}).item("time_us", e.time_us);
  write(out, e.frames);
  if (!e.category.empty()) out.item("category", e.category);
  if (!e.user_metadata.empty()) out.item("user_metadata", e.user_metadata);
  out.end();
}

}  // namespace

void record_memory_history(bool enabled, int64_t max_entries) {
  if (enabled && max_entries < 1) usage_error("[record_memory_history] a history of {} entries", max_entries);
  runtime::record_cpu_history(enabled, max_entries);
  runtime::record_device_history(enabled, max_entries);
}
MemorySnapshot memory_snapshot(const Device& device) {
  if (device.is_cpu()) return runtime::cpu_snapshot();
  runtime::EagerDevice* opened = runtime::find_device(runtime::placement(device));
  return opened ? opened->allocator().snapshot() : MemorySnapshot{.device = device.index};
}
void dump_snapshot(const std::string& path, const Device& device) { write_file_atomic(path, memory_snapshot(device).to_pickle()); }

int64_t MemorySegment::allocated_size() const {
  int64_t sum = 0;
  for (const MemoryBlock& b : blocks) sum += b.active ? b.size : 0;
  return sum;
}
int64_t MemorySegment::requested_size() const {
  int64_t sum = 0;
  for (const MemoryBlock& b : blocks) sum += b.active ? b.requested_size : 0;
  return sum;
}

std::string MemorySnapshot::to_pickle() const {
  PickleWriter out;
  out.begin_dict().text("segments").begin_list();
  for (const MemorySegment& s : segments) write(out, s);
  out.end().text("device_traces").begin_list();
  for (int i = 0; i < device; ++i) out.begin_list().end();  // one list per device
  out.begin_list();
  bool categories = false, unknown = false;
  for (const MemoryEvent& e : trace) {
    categories |= !e.category.empty();
    unknown |= e.category == "unknown";
    write(out, e);
  }
  // Viewers that colour by category expect the category "unknown" to exist.
  if (categories && !unknown)
    write(out, MemoryEvent{.action = MemoryEvent::Action::snapshot, .time_us = trace.back().time_us, .category = "unknown"});
  out.end().end().text("allocator_settings").begin_dict();
  out.item("PYTORCH_CUDA_ALLOC_CONF", "").item("max_split_size", int64_t{-1}).text("garbage_collection_threshold").number(0);
  out.item("expandable_segments", false).item("pinned_num_register_threads", int64_t{1}).item("release_lock_on_cudamalloc", false);
  out.item("pinned_use_cuda_host_register", false).item("roundup_power2_divisions", int64_t{0});
  out.end().end();
  return std::move(out).finish();
}

}  // namespace corten
