// Averages of recorded ranges by name, as PyTorch's profiler prints them.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "runtime/recorder.h"

namespace corten {

struct KeyAverage {
  std::string name;
  int64_t calls = 0;
  double self_us = 0, total_us = 0;  ///< without and with the ranges inside
  int64_t self_memory = 0, total_memory = 0;
  double flops = 0;
  double average_us() const { return calls > 0 ? total_us / static_cast<double>(calls) : 0; }
};

/// By name, the most time of their own first.
std::vector<KeyAverage> key_averages(const std::vector<runtime::RecordedRange>& ranges);
/// The text of torch.profiler's key_averages().table() with memory and FLOPs: columns, widths, units and footer.
std::string key_averages_table(const std::vector<KeyAverage>& averages, size_t row_limit = 100);
Json to_json(const std::vector<KeyAverage>& averages);

}  // namespace corten
