#include "diagnose/chrome_trace.h"

#include <unistd.h>

#include "base/cpu.h"
#include "base/format.h"
#include "base/json.h"

namespace corten {
namespace {

/// Names that every reader takes: without quotes, line breaks and backslashes.
std::string plain(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '\n' || c == '\r' || c == '"') continue;
    out += c == '\\' ? '/' : c;
  }
  return out;
}
std::string microseconds(int64_t ns) { return format("{}.{:03}", ns / 1000, ns % 1000); }

}  // namespace

std::string chrome_trace(const std::vector<runtime::RecordedRange>& ranges, const std::string& name) {
  const int64_t pid = ::getpid();
  const int64_t base = ranges.empty() ? 0 : ranges.front().start_ns;
  std::string out = format("{{\"schemaVersion\": 1, \"deviceProperties\": [], \"displayTimeUnit\": \"ms\", \"cpu\": {}, \"traceEvents\": [\n",
                           json_quote(plain(cpu_info().model)));
  auto meta = [&](const char* what, const char* key, const std::string& value) {
    out += format("{{\"ph\": \"M\", \"name\": \"{}\", \"pid\": {}, \"tid\": {}, \"ts\": 0, \"args\": {{\"{}\": {}}}}},\n", what, pid, pid, key, value);
  };
  meta("process_name", "name", "\"corten\"");
  meta("process_labels", "labels", "\"CPU\"");
  meta("process_sort_index", "sort_index", "0");
  meta("thread_name", "name", json_quote(format("thread {}", pid)));
  meta("thread_sort_index", "sort_index", "0");
  int64_t end = 0, total = 0;
  for (size_t i = 0; i < ranges.size(); ++i) {
    const runtime::RecordedRange& r = ranges[i];
    end = std::max(end, r.end_ns - base);
    out += format("{{\"ph\": \"X\", \"cat\": \"{}\", \"name\": {}, \"pid\": {}, \"tid\": {}, \"ts\": {}, \"dur\": {}, \"args\": {{\"External id\": {}",
                  r.category, json_quote(plain(r.name)), pid, pid, microseconds(r.start_ns - base), microseconds(r.end_ns - r.start_ns), i + 1);
    if (r.flops > 0) out += format(", \"flops\": {:.0f}", r.flops);
    if (r.bytes > 0) out += format(", \"bytes\": {}", r.bytes);
    if (!r.detail.empty()) out += format(", \"detail\": {}", json_quote(plain(r.detail)));
    out += "}},\n";
    // Memory that a range without parts of its own took or gave back.
    const bool leaf = i + 1 >= ranges.size() || ranges[i + 1].parent != static_cast<int32_t>(i);
    if (leaf && r.memory != 0) {
      total += r.memory;
      out += format("{{\"ph\": \"i\", \"s\": \"t\", \"cat\": \"cpu_instant_event\", \"name\": \"[memory]\", \"pid\": {}, \"tid\": {}, \"ts\": {}, \"args\": "
                    "{{\"Bytes\": {}, \"Total Allocated\": {}, \"Device Type\": 0, \"Device Id\": -1}}}},\n",
                    pid, pid, microseconds(r.end_ns - base), r.memory, total);
    }
  }
  out += format("{{\"ph\": \"i\", \"s\": \"g\", \"name\": \"Record Window End\", \"pid\": \"\", \"tid\": \"\", \"ts\": {}}}\n", microseconds(end));
  out += format("], \"traceName\": {}}}\n", json_quote(name));
  return out;
}

}  // namespace corten
