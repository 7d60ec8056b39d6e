// Theoretical peaks of devices, from their makers' data sheets.
#pragma once

#include <optional>
#include <string_view>

#include "corten/dtype.h"

namespace corten {

/// FLOP/s of dense matrix products in `dtype` with float32 accumulation. `device` is the name that
/// the CUDA driver or the processor itself reports; `cores` is how many of a processor's cores are
/// used (ignored for GPUs). Nothing if the device is unknown: a guess would be worse.
std::optional<double> theoretical_peak_flops(std::string_view device, DType dtype, int cores);

}  // namespace corten
