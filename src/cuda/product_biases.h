// Biases as epilogues of products, where nothing that follows wants to add them.
#pragma once

#include <optional>

#include "ir/graph.h"

namespace corten::cuda {

/// Gives a bias to the product that it is added to, where the sum is float32 and lies in memory
/// anyway: the product then writes it, and nothing reads and writes it again. Where the addition is
/// a part of the kernels that read the product, it stays there: they read a bias for nothing. An
/// epilogue adds to the float32 sum before it is written, so the bits stay the same, as an
/// algorithm is chosen for the product with and without (plugin.h); a bf16 result of a float32 bias
/// would be rounded twice. Of a materialized graph; nothing if there is no such bias.
std::optional<ir::Graph> absorb_biases(const ir::Graph& graph);

}  // namespace corten::cuda
