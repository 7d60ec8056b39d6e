// Pooling as functions of values: x [N, C, H, W]; sizes are rows and columns.
#pragma once

#include <optional>

#include "ir/value.h"

namespace corten::ops {

struct Pooling {
  ir::Dims kernel, stride, padding, dilation;
  bool ceil_mode = false;  ///< a last window may begin inside of x and end beyond its padding
};

/// The largest element of each window, padding apart. Its gradient goes to the first such element in row-major order. Usage
/// error for windows that do not fit, as of all of these.
ir::Value max_pool2d(ir::Value x, const Pooling& pooling);
/// The mean of each window. Padding counts as zeros, or not at all. `divisor`: what sums are divided by instead.
ir::Value avg_pool2d(ir::Value x, const Pooling& pooling, bool count_include_pad, std::optional<int64_t> divisor);
/// Window i of an axis of `size` elements is floor(i size / out) .. ceil((i + 1) size / out).
ir::Value adaptive_avg_pool2d(ir::Value x, ir::Dims out);

}  // namespace corten::ops
