// Attributes shared by attention, its gradient and their claimed forms.
#pragma once

#include "ir/attrs.h"

namespace corten::ops {

struct AttentionAttrs {
  bool causal = false, masked = false;
  double scale = 1, p = 0;
  int64_t site = 0;
  CORTEN_FIELDS(causal, masked, scale, p, site)

  /// Operands: q, k, v, mask if masked, seed and step if p > 0; of gradients: out, lse, g behind them.
  size_t operands() const { return 3 + masked + (p > 0 ? 2 : 0); }
};

}  // namespace corten::ops
