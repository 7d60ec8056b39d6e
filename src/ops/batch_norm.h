// Batch normalisation (Ioffe and Szegedy, 2015) as functions of values: over all axes but the second, in f32 (f64 for f64).
#pragma once

#include "ir/value.h"

namespace corten::ops {

/// By the statistics of x [N, C, ...]: {result in x's dtype, mean [C], variance [C] (of the population)}. weight, bias: [C] or
/// null.
ir::Values batch_norm_training(ir::Value x, ir::Value weight, ir::Value bias, double eps);
/// By given statistics [C].
ir::Value batch_norm_inference(ir::Value x, ir::Value mean, ir::Value variance, ir::Value weight, ir::Value bias, double eps);

}  // namespace corten::ops
