// Attributes shared by products with quantised weights and their claimed form.
#pragma once

#include "base/quantized_shape.h"
#include "ir/attrs.h"

namespace corten::ops {

/// base/quantized_shape.h and quant/quantized_product.h say what they mean.
struct QuantizedAttrs {
  int64_t bits = 8, group = 0, n = 0, k = 0;
  double threshold = 6;
  CORTEN_FIELDS(bits, group, n, k, threshold)

  QuantizedShape shape() const { return {static_cast<int>(bits), group, n, k}; }
};

}  // namespace corten::ops
