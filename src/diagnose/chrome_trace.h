// Recorded ranges as a Chrome trace, laid out as PyTorch's profiler writes it: opens in Perfetto and chrome://tracing.
#pragma once

#include <string>
#include <vector>

#include "runtime/recorder.h"

namespace corten {

/// One JSON document. Times are microseconds since the first range, with nanoseconds behind the point.
std::string chrome_trace(const std::vector<runtime::RecordedRange>& ranges, const std::string& name);

}  // namespace corten
