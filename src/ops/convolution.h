// Convolutions as functions of values, and the attributes that they share with their claimed forms.
#pragma once

#include "ir/attrs.h"
#include "ir/value.h"

namespace corten::ops {

struct ConvolutionAttrs {
  ir::Dims stride, padding, dilation;  // rows, columns
  int64_t groups = 1;
  ir::Dims size;                       // gradients: rows and columns of the result, an image or a kernel
  DType out = DType::f32;              // weight gradients
  CORTEN_FIELDS(stride, padding, dilation, groups, size, out)
};

/// Positions of a window along an axis: floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1; below 1 if there is none.
int64_t window_count(int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation);

/// x [N, C, H, W], w [O, C / groups, KH, KW], bias [O] or null: [N, O, OH, OW] in x's dtype, with f32 accumulation. w and bias
/// may be f32 masters: their gradients are f32 then. Usage error for what does not fit.
ir::Value conv2d(ir::Value x, ir::Value w, ir::Value bias, ir::Dims stride, ir::Dims padding, ir::Dims dilation, int64_t groups);

}  // namespace corten::ops
