// How quantised weights lie in memory.
#pragma once

#include <cstdint>

#include "corten/dtype.h"

namespace corten {

/// Outputs whose weights lie side by side.
inline constexpr int64_t kPanelColumns = 16;

/// Weights [n, k] of a linear layer as they lie in memory: unsigned bytes, by panels of 16 outputs,
/// each panel by runs of 4 consecutive k of all its outputs.
///
///   8 bits: byte [panel][k / 4][output][k % 4] is the weight + 128; one f32 scale per output.
///   4 bits: byte [panel][k / 8][output][k % 4] holds the weights + 8 of k (low half) and of k + 4
///   (high half); one f16 scale
///           [panel][k / group][output] per `group` values of k.
///
/// What pads n to whole panels and k to padded_k() counts as weights of 0.
struct QuantizedShape {
  int bits = 8;
  int64_t group = 0;  ///< of 4 bits: 32, 64 or 128; of 8 bits: 0
  int64_t n = 0, k = 0;

  int64_t panels() const { return (n + kPanelColumns - 1) / kPanelColumns; }
  int64_t padded_k() const {
    const int64_t unit = group > 64 ? group : 64;
    return (k + unit - 1) / unit * unit;
  }
  int64_t groups() const { return bits == 4 ? padded_k() / group : 1; }
  int64_t panel_bytes() const { return kPanelColumns * padded_k() * bits / 8; }
  int64_t weight_bytes() const { return panels() * panel_bytes(); }
  int64_t scale_count() const { return panels() * groups() * kPanelColumns; }
  DType scale_dtype() const { return bits == 4 ? DType::f16 : DType::f32; }
};
/// Usage error for sizes and groups outside of the above.
void check(const QuantizedShape& shape);

}  // namespace corten
