// Positions of a vision transformer for images of another size.
#pragma once

#include <array>

#include "corten/tensor.h"

namespace corten::vit {

/// Embeddings [1, 1 + from.rows * from.columns, C] of the class token and of a grid of patches, the
/// latter sampled on another grid: [1, 1 + to.rows * to.columns, C]. Cubic convolution with a =
/// -0.75 between the centres of patches, those beyond the edge repeated, as PyTorch's
/// interpolate(mode="bicubic", align_corners=False) has it. (R. Keys, Cubic Convolution
/// Interpolation for Digital Image Processing, 1981)
Tensor interpolate_positions(const Tensor& positions, std::array<int64_t, 2> from,
                             std::array<int64_t, 2> to);

}  // namespace corten::vit
