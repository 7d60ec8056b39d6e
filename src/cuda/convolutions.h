// Convolutions of a graph in terms of the device's library.
#pragma once

#include <optional>

#include "cuda/plugin.h"
#include "ir/graph.h"

namespace corten::cuda {

/// A convolution of a node, and what of its workspace can be known without a device.
struct PlannedConvolution {
  Convolution of;
  int64_t max_workspace = 0;  ///< that its algorithm may take
  int32_t workspace = -1;     ///< the interval of the arena; -1: none
  double flops() const;
  /// No sums at all: nothing is called, and a result with elements is zeros.
  bool empty() const;
};

/// Of a claimed convolution or gradient; nothing for other nodes. Products of float32 operands that
/// were widened from bf16 or f16 are exact in tf32; others are in tf32 where that is asked for.
std::optional<PlannedConvolution> planned_convolution(const ir::Graph& graph, const ir::Node& node);

}  // namespace corten::cuda
