// Theoretical peaks of devices, from their makers' data sheets.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "corten/dtype.h"

namespace corten {

/// FLOP/s of dense matrix products in `dtype` with float32 accumulation. `device` is the name that
/// the CUDA driver or the processor itself reports; `cores` is how many of a processor's cores are
/// used (ignored for GPUs). Nothing if the device is unknown: a guess would be worse.
std::optional<double> theoretical_peak_flops(std::string_view device, DType dtype, int cores);

/// A GPU that a plan can be made for without having one.
struct DeviceFigures {
  std::string_view name;
  double memory_bytes = 0;  ///< as sold: GB are 10^9 bytes
  double bandwidth = 0;     ///< bytes per second
};
/// Figures of the device whose table name is `name` (upper and lower case are equal); nothing if there is none.
std::optional<DeviceFigures> device_figures(std::string_view name);
/// Names that device_figures() knows.
std::vector<std::string> device_names();

}  // namespace corten
