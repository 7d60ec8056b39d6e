#include "diagnose/key_averages.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/format.h"

namespace corten {
namespace {

constexpr size_t kColumn = 12, kMaxName = 55;

std::string time_text(double us) {
  if (us >= 1e6) return format("{:.3f}s", us / 1e6);
  if (us >= 1e3) return format("{:.3f}ms", us / 1e3);
  return format("{:.3f}us", us);
}
std::string share_text(double us, double total) { return total == 0 ? "NaN" : format("{:.2f}%", us * 100.0 / total); }
std::string memory_text(int64_t bytes) {
  const double size = static_cast<double>(bytes), magnitude = std::abs(size);
  if (magnitude >= 0x1p30) return format("{:.2f} GB", size / 0x1p30);
  if (magnitude >= 0x1p20) return format("{:.2f} MB", size / 0x1p20);
  if (magnitude >= 0x1p10) return format("{:.2f} KB", size / 0x1p10);
  return format("{} B", bytes);
}

}  // namespace

std::vector<KeyAverage> key_averages(const std::vector<runtime::RecordedRange>& ranges) {
  std::vector<KeyAverage> out;
  std::unordered_map<std::string_view, size_t> index;
  std::vector<int64_t> inside_ns(ranges.size()), inside_memory(ranges.size());
  for (const runtime::RecordedRange& r : ranges)
    if (r.parent >= 0) {
      inside_ns[static_cast<size_t>(r.parent)] += r.end_ns - r.start_ns;
      inside_memory[static_cast<size_t>(r.parent)] += r.memory;
    }
  for (size_t i = 0; i < ranges.size(); ++i) {
    const runtime::RecordedRange& r = ranges[i];
    auto [place, is_new] = index.try_emplace(r.name, out.size());
    if (is_new) out.push_back({r.name});
    KeyAverage& k = out[place->second];
    const int64_t ns = r.end_ns - r.start_ns;
    ++k.calls;
    k.total_us += static_cast<double>(ns) / 1e3;
    k.self_us += static_cast<double>(ns - inside_ns[i]) / 1e3;
    k.total_memory += r.memory;
    k.self_memory += r.memory - inside_memory[i];
    k.flops += r.flops;
  }
  std::stable_sort(out.begin(), out.end(), [](const KeyAverage& a, const KeyAverage& b) { return a.self_us > b.self_us; });
  return out;
}

std::string key_averages_table(const std::vector<KeyAverage>& averages, size_t row_limit) {
  if (averages.empty()) return "";
  size_t width = 0;
  double total = 0, least_flops = 0;
  for (const KeyAverage& k : averages) {
    width = std::max(width, k.name.size() + 4);
    total += k.self_us;
    if (k.flops > 0) least_flops = least_flops > 0 ? std::min(least_flops, k.flops) : k.flops;
  }
  width = std::min(width, kMaxName);
  static constexpr const char* kFlops[] = {"FLOPs", "KFLOPs", "MFLOPs", "GFLOPs", "TFLOPs", "PFLOPs"};
  int scale = 0;  // of the smallest count, as all rows share one unit
  if (least_flops > 0) scale = std::clamp(static_cast<int>(std::log10(least_flops) / 3), 0, 5);

  std::vector<std::string> header{"Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "CPU Mem", "Self CPU Mem", "# of Calls"};
  if (least_flops > 0) header.push_back(format("Total {}", kFlops[scale]));
  std::string out, rule;
  auto line = [&](const std::vector<std::string>& cells) {
    for (size_t i = 0; i < cells.size(); ++i) out += format("{:>{}}  ", cells[i], i == 0 ? width : kColumn);
    out += "\n";
  };
  for (size_t i = 0; i < header.size(); ++i) rule += std::string(i == 0 ? width : kColumn, '-') + "  ";
  rule += "\n";
  out += rule;
  line(header);
  out += rule;
  for (size_t i = 0; i < std::min(row_limit, averages.size()); ++i) {
    const KeyAverage& k = averages[i];
    std::string name = k.name;
    if (name.size() >= kMaxName - 3) name = name.substr(0, kMaxName - 3) + "...";
    std::vector<std::string> cells{name,
                                   share_text(k.self_us, total),
                                   time_text(k.self_us),
                                   share_text(k.total_us, total),
                                   time_text(k.total_us),
                                   time_text(k.average_us()),
                                   memory_text(k.total_memory),
                                   memory_text(k.self_memory),
                                   format("{}", k.calls)};
    if (least_flops > 0) cells.push_back(k.flops > 0 ? format("{:8.3f}", k.flops * std::pow(10.0, -3 * scale)) : "--");
    line(cells);
  }
  out += rule;
  out += format("Self CPU time total: {}\n", time_text(total));
  return out;
}

Json to_json(const std::vector<KeyAverage>& averages) {
  Json out = Json::array();
  for (const KeyAverage& k : averages)
    out.push_back(Json::object({{"name", k.name},
                                {"calls", k.calls},
                                {"self_cpu_us", k.self_us},
                                {"cpu_total_us", k.total_us},
                                {"cpu_time_avg_us", k.average_us()},
                                {"cpu_memory", k.total_memory},
                                {"self_cpu_memory", k.self_memory},
                                {"flops", k.flops}}));
  return out;
}

}  // namespace corten
