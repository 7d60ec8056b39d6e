// Statistics of the caching allocator as torch.cuda gives them.
#include <algorithm>

#include "base/format.h"
#include "base/json.h"
#include "corten/memory.h"
#include "runtime/allocator.h"
#include "runtime/devices.h"
#include "runtime/eager_device.h"

namespace corten {
namespace {

using runtime::MemoryCounters;
using runtime::MemoryStat;
using runtime::PooledStat;

/// Null if nobody has opened the device.
runtime::DeviceAllocator* allocator(const Device& device) {
  runtime::EagerDevice* opened = runtime::find_device(runtime::placement(device));
  return opened ? &opened->allocator() : nullptr;
}
MemoryCounters counters(const Device& device) {
  if (device.is_cpu()) return runtime::memory_counters();
  runtime::DeviceAllocator* gpu = allocator(device);
  return gpu ? gpu->counters() : MemoryCounters();
}

std::map<std::string, int64_t> by_key(const Device& device) {
  const MemoryCounters c = counters(device);
  std::map<std::string, int64_t> out;
  auto stat = [&](const std::string& key, const MemoryStat& s) {
    out[key + ".current"] = s.current;
    out[key + ".peak"] = s.peak;
    out[key + ".allocated"] = s.allocated;
    out[key + ".freed"] = s.freed;
  };
  auto pooled = [&](const std::string& key, const PooledStat& s) {
    stat(key + ".all", s.all);
    stat(key + ".large_pool", s.large);
    stat(key + ".small_pool", s.small);
  };
  pooled("allocation", c.allocation);
  pooled("segment", c.segment);
  pooled("active", c.allocation);
  pooled("inactive_split", c.inactive_split);
  pooled("allocated_bytes", c.allocated_bytes);
  pooled("reserved_bytes", c.reserved_bytes);
  pooled("active_bytes", c.allocated_bytes);
  pooled("inactive_split_bytes", c.inactive_split_bytes);
  pooled("requested_bytes", c.requested_bytes);
  stat("oversize_allocations", {});
  stat("oversize_segments", {});
  out["num_alloc_retries"] = c.num_alloc_retries;
  out["num_ooms"] = c.num_ooms;
  out["num_sync_all_streams"] = 0;
  out["num_device_alloc"] = c.num_device_alloc;
  out["num_device_free"] = c.num_device_free;
  out["num_oom_rejections"] = 0;
  out["max_split_size"] = -1;
  return out;
}

/// A size in the unit that suits `reference`, as the table shows it.
std::string size_text(int64_t size, int64_t reference) {
  static constexpr const char* kUnits[] = {"B  ", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double left = static_cast<double>(reference);
  size_t unit = 0;
  for (; unit + 1 < std::size(kUnits) && left >= 768 * 1024; ++unit) {
    size /= 1024;
    left /= 1024;
  }
  return format("{:6d} {}", size, kUnits[unit]);
}
std::string count_text(int64_t count, int64_t reference) {
  static constexpr const char* kUnits[] = {" ", "K", "M"};
  double left = static_cast<double>(reference);
  size_t unit = 0;
  for (; unit + 1 < std::size(kUnits) && left >= 750 * 1000; ++unit) {
    count /= 1000;
    left /= 1000;
  }
  return format("{:7d} {} ", count, kUnits[unit]);
}

}  // namespace

std::vector<std::pair<std::string, int64_t>> memory_stats(const Device& device) {
  const std::map<std::string, int64_t> stats = by_key(device);
  return {stats.begin(), stats.end()};
}

std::string memory_stats_json(const Device& device) {
  Json json = Json::object();
  for (const auto& [key, value] : by_key(device)) json.set(key, value);
  return json.dump();
}

std::string memory_summary(const Device& device, bool abbreviated) {
  return runtime::summary_table(by_key(device), abbreviated, device.index);
}

std::string runtime::summary_table(const std::map<std::string, int64_t>& stats, bool abbreviated, int device) {
  using Text = std::string (*)(int64_t, int64_t);
  struct Metric {
    const char* key;
    const char* name;
    Text text;
  };
  static constexpr Metric kMetrics[] = {{"allocated_bytes", "Allocated memory", size_text},
                                        {"active_bytes", "Active memory", size_text},
                                        {"requested_bytes", "Requested memory", size_text},
                                        {"reserved_bytes", "GPU reserved memory", size_text},
                                        {"inactive_split_bytes", "Non-releasable memory", size_text},
                                        {"allocation", "Allocations", count_text},
                                        {"active", "Active allocs", count_text},
                                        {"segment", "GPU reserved segments", count_text},
                                        {"inactive_split", "Non-releasable allocs", count_text}};
  static constexpr Metric kOversize[] = {{"oversize_allocations", "Oversize allocations", count_text},
                                         {"oversize_segments", "Oversize GPU segments", count_text}};
  const std::string thick(75, '='), thin(75, '-');
  std::vector<std::string> lines;
  lines.push_back(thick);
  lines.push_back(format(" {:16} PyTorch CUDA memory summary, device ID {:<17d} ", "", device));
  lines.push_back(thin);
  lines.push_back(format("  {:9} CUDA OOMs: {:<12d} | {:6} cudaMalloc retries: {:<8d}  ", "", stats.at("num_ooms"), "",
                         stats.at("num_alloc_retries")));
  lines.push_back(thick);
  lines.push_back("        Metric         | Cur Usage  | Peak Usage | Tot Alloc  | Tot Freed  ");
  // `reference`: the row whose sizes decide the units.
  auto row = [&](const Metric& metric, const std::string& name, const std::string& key, const std::string& reference) {
    std::string line = format(" {:<21} ", name);
    for (const char* column : {"current", "peak", "allocated", "freed"})
      line += "| " + metric.text(stats.at(key + "." + column), stats.at(reference + "." + column)) + " ";
    lines.push_back(std::move(line));
  };
  for (const Metric& metric : kMetrics) {
    const std::string key = metric.key;
    lines.push_back(thin);
    row(metric, metric.name, key + ".all", key + ".all");
    if (abbreviated) continue;
    row(metric, "      from large pool", key + ".large_pool", key + ".all");
    row(metric, "      from small pool", key + ".small_pool", key + ".all");
  }
  for (const Metric& metric : kOversize) {
    lines.push_back(thin);
    row(metric, metric.name, metric.key, metric.key);
  }
  lines.push_back(thick);
  std::string out;
  for (const std::string& line : lines) out += "|" + line + "|\n";
  return out;
}

int64_t memory_allocated(const Device& device) { return counters(device).allocated_bytes.all.current; }
int64_t max_memory_allocated(const Device& device) { return counters(device).allocated_bytes.all.peak; }
int64_t memory_reserved(const Device& device) { return counters(device).reserved_bytes.all.current; }
int64_t max_memory_reserved(const Device& device) { return counters(device).reserved_bytes.all.peak; }
void reset_peak_memory_stats(const Device& device) {
  if (device.is_cpu()) return runtime::reset_peak_memory_stats();
  if (auto* gpu = allocator(device)) gpu->reset_peaks();
}
void reset_accumulated_memory_stats(const Device& device) {
  if (device.is_cpu()) return runtime::reset_accumulated_memory_stats();
  if (auto* gpu = allocator(device)) gpu->reset_totals();
}
void empty_cache(const Device& device) {
  if (device.is_cpu()) return runtime::empty_cache();
  if (auto* gpu = allocator(device)) gpu->empty_cache();
}

}  // namespace corten
