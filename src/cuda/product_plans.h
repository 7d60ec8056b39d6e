// Algorithms of products and convolutions, kept on disk: the same product has the same one in every process of a
// user, and thus the same bits, whatever the library's heuristics would say then.
#pragma once

#include "cuda/plugin.h"

namespace corten::cuda {

/// The algorithm of a product: the one that was stored for this model of device and version of the
/// library, or what the library proposes, which is stored. Resource error if there is none.
ProductPlan product_plan(Device& device, const Product& product);
/// The same of a convolution, whose algorithm takes no more than `max_workspace` bytes.
ProductPlan convolution_plan(Device& device, const Convolution& convolution, int64_t max_workspace);

}  // namespace corten::cuda
