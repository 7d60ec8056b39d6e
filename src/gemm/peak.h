// The arithmetic rate this machine really reaches, the denominator of "mfu_measured".
#pragma once

#include <optional>

#include "base/cpu.h"
#include "corten/dtype.h"

namespace corten {

/// Floating-point operations per second of a product's inner loop on `threads` threads: random
/// operands read from L1, no result leaves the core. The best of short bursts over `seconds` (at
/// least a second for a figure to trust). `dtype` is that of both operands; `isa` defaults to
/// cpu_isa(). Usage error unless dtype is a floating type and threads is positive.
double measure_peak_flops(DType dtype, int threads, double seconds, std::optional<Isa> isa = {});

}  // namespace corten
