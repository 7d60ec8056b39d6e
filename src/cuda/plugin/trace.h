// CUPTI, loaded when something is traced: what the device executes, with its own times.
#pragma once

#include <vector>

#include "cuda/plugin.h"

namespace corten::cuda {

Status start_trace();
/// What was executed since start_trace(), in order. Everything must have been waited for.
Status stop_trace(std::vector<TracedWork>& work);

}  // namespace corten::cuda
