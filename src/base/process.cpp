#include "base/process.h"

#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/strings.h"

namespace corten {
namespace {

constexpr uint64_t kUnknown = std::numeric_limits<uint64_t>::max();

/// The number at the beginning of `text`.
std::optional<uint64_t> leading_number(std::string_view text) noexcept {
  text = trim(text);
  uint64_t value = 0;
  auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  return value;
}

/// The content of a file of /proc or /sys; nothing if it cannot be read.
std::optional<std::string> system_file(const std::string& path) noexcept {
  try {
    return read_file(path, 1 << 20);
  } catch (...) {
    return std::nullopt;
  }
}

/// The number behind `key` at the beginning of a line.
std::optional<uint64_t> find_number(std::string_view text, std::string_view key) noexcept {
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    if (line.starts_with(key)) return leading_number(line.substr(key.size()));
    at = end + 1;
  }
  return std::nullopt;
}

uint64_t status_kib(std::string_view key) noexcept {
  const auto status = system_file("/proc/self/status");
  if (!status) return 0;
  return find_number(*status, key).value_or(0) * 1024;
}

/// What one control group leaves: its limit minus what its processes occupy, without the file cache
/// that the kernel would drop first.
uint64_t group_leaves(const std::string& folder, const char* limit_name, const char* usage_name,
                      std::string_view cache_key) noexcept {
  const auto limit_text = system_file(folder + "/" + limit_name);
  const auto usage_text = system_file(folder + "/" + usage_name);
  if (!limit_text || !usage_text) return kUnknown;
  const auto limit = leading_number(*limit_text), usage = leading_number(*usage_text);
  if (!limit || !usage || *limit >= kUnknown / 4) return kUnknown;  // "max", or no limit in v1
  uint64_t cache = 0;
  if (const auto stat = system_file(folder + "/memory.stat"))
    cache = find_number(*stat, cache_key).value_or(0);
  const uint64_t used = *usage - std::min(cache, *usage);
  return *limit - std::min(used, *limit);
}

/// The tightest of this process's control groups, from its own up to the root: version 2 below
/// /sys/fs/cgroup, version 1 below /sys/fs/cgroup/memory.
uint64_t control_groups_leave() noexcept {
  const auto groups = system_file("/proc/self/cgroup");
  if (!groups) return kUnknown;
  uint64_t least = kUnknown;
  for (const std::string& line : split(*groups, '\n')) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string group = line.substr(second + 1);
    const bool unified = controllers.empty();
    if (!unified && controllers != "memory") continue;
    for (;;) {
      while (!group.empty() && group.back() == '/') group.pop_back();
      least = std::min(
          least, unified ? group_leaves("/sys/fs/cgroup" + group, "memory.max", "memory.current",
                                        "inactive_file ")
                         : group_leaves("/sys/fs/cgroup/memory" + group, "memory.limit_in_bytes",
                                        "memory.usage_in_bytes", "total_inactive_file "));
      if (group.empty()) break;
      group.resize(group.rfind('/') == std::string::npos ? 0 : group.rfind('/'));
    }
  }
  return least;
}

}  // namespace

uint64_t resident_bytes() noexcept {
  return status_kib("VmRSS:");
}
uint64_t peak_resident_bytes() noexcept {
  return status_kib("VmHWM:");
}

uint64_t available_memory_bytes() noexcept {
  uint64_t available = kUnknown;
  if (const auto memory = system_file("/proc/meminfo"))
    if (const auto kib = find_number(*memory, "MemAvailable:")) available = *kib * 1024;
  available = std::min(available, control_groups_leave());
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    const uint64_t size = status_kib("VmSize:");
    available =
        std::min<uint64_t>(available, limit.rlim_cur - std::min<uint64_t>(size, limit.rlim_cur));
  }
  return available;
}

double process_age_seconds() noexcept {
  const auto stat = system_file("/proc/self/stat");
  if (!stat) return 0;
  // Field 22 of proc(5), counted behind the name in parentheses, which may hold anything.
  const size_t name_end = stat->rfind(')');
  if (name_end == std::string::npos) return 0;
  std::string_view rest = std::string_view(*stat).substr(name_end + 1);
  for (int field = 3; field <= 22; ++field) {
    while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
    if (field == 22) break;
    rest.remove_prefix(std::min(rest.find(' '), rest.size()));
  }
  const auto ticks = leading_number(rest);
  timespec now{};
  if (!ticks || ::clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0;
  const double started = static_cast<double>(*ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  return std::max(
      0.0, static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) - started);
}

}  // namespace corten
