// What a device reaches at most, measured.
#pragma once

#include "corten/dtype.h"
#include "cuda/plugin.h"

namespace corten::cuda {

/// Multiplications and additions per second of one large product of random numbers in `dtype` (f32,
/// bf16, f16): the best of about `seconds`. Resource error if the device fails.
double measure_peak_flops(Device& device, DType dtype, double seconds);

}  // namespace corten::cuda
