// Convolution, pooling and batch normalisation of tensors, as in torch.nn.functional.
//
// Images are [N, C, H, W], or [C, H, W] for one of them; weights [O, C / groups, KH, KW]. Sizes with a row and a column part
// are given as one number or as {rows, columns}. Every function raises a Usage error with the shapes in it.
#pragma once

#include <optional>

#include "corten/ops.h"

namespace corten {

/// One number for rows and columns, or one for each.
struct Size2 {
  int64_t rows = 0, columns = 0;
  Size2(int64_t both) : rows(both), columns(both) {}  // NOLINT: a number is such a size
  Size2(int64_t rows, int64_t columns) : rows(rows), columns(columns) {}
};

struct Conv2dOptions {
  Size2 stride = 1, padding = 0, dilation = 1;
  int64_t groups = 1;
};
/// bias [O] may be undefined. Result [N, O, OH, OW] with OH = floor((H + 2 padding - dilation (KH - 1) - 1) / stride) + 1, in
/// x's dtype (in that of an Autocast scope, as linear()), with f32 accumulation.
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, Conv2dOptions options = {}, At at = At::current());

struct Conv1dOptions {
  int64_t stride = 1, padding = 0, dilation = 1, groups = 1;
};
/// x [N, C, L] or [C, L], weight [O, C / groups, K].
Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, Conv1dOptions options = {}, At at = At::current());

struct MaxPool2dOptions {
  std::optional<Size2> stride = {};  ///< unset: the kernel
  Size2 padding = 0, dilation = 1;
  bool ceil_mode = false;  ///< windows that end beyond the padding count if they begin before it
};
/// The gradient goes to the first largest element of a window.
Tensor max_pool2d(const Tensor& x, Size2 kernel, MaxPool2dOptions options = {}, At at = At::current());

struct AvgPool2dOptions {
  std::optional<Size2> stride = {};  ///< unset: the kernel
  Size2 padding = 0;
  bool ceil_mode = false;
  bool count_include_pad = true;
  std::optional<int64_t> divisor_override = {};  ///< what sums are divided by instead of the window's size
};
Tensor avg_pool2d(const Tensor& x, Size2 kernel, AvgPool2dOptions options = {}, At at = At::current());
/// Window i of an axis covers floor(i size / out) .. ceil((i + 1) size / out).
Tensor adaptive_avg_pool2d(const Tensor& x, Size2 out, At at = At::current());

struct BatchNormOptions {
  bool training = false;
  double momentum = 0.1;
  double eps = 1e-5;
};
/// x [N, C, ...] normalised over all axes but the second; weight and bias [C] may be undefined. In training by x's own
/// statistics, and running_mean and running_var (if defined) are updated in place: (1 - momentum) old + momentum new, the
/// variance without bias. Else by the running ones, which must be defined.
Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight = {},
                  const Tensor& bias = {}, BatchNormOptions options = {}, At at = At::current());

}  // namespace corten
