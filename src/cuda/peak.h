// What a device reaches at most, measured.
#pragma once

#include "corten/dtype.h"
#include "cuda/plugin.h"

namespace corten::cuda {

/// Multiplications and additions per second of one large product of random numbers in `dtype` (f32,
/// bf16, f16): the best of about `seconds`. Resource error if the device fails.
double measure_peak_flops(Device& device, DType dtype, double seconds);

/// Bytes read and written per second by copies within the device's memory, of buffers far larger
/// than its cache: the median of `runs`.
double measure_copy_bandwidth(Device& device, int runs);

}  // namespace corten::cuda
