// Convolution in two dimensions on the CPU, its data gradient and its weight gradient, as products of src/gemm: patches of
// the images are laid out as the columns of a matrix block by block, in workspace that fits the cache, and never as a whole.
//
// With k = (channel of the group, row, column of the kernel) and p = (row, column) of the result:
//   y[n, o, p]  = sum over k of w[o, k] x[n, patch(p, k)]: one chain of the GEMM family over ascending k, then + bias;
//   dw[o, k]    = one chain over ascending (n, p), each image's p filled up to the family's unit with zeros;
//   dx[n, i]    = the sum, in f32 and in ascending order of p, of the products w[:, k]^T g[n, :, p] with patch(p, k) = i,
//                 each one chain over ascending o.
// So bits depend on shapes, dtype and family, never on blocks or threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/thread_pool.h"
#include "corten/dtype.h"

namespace corten {

/// Sizes as of torch.nn.functional.conv2d; rows before columns.
struct ConvolutionArgs {
  DType dtype = DType::f32;  ///< of x, w, y, g and dx: f32, bf16 or f16
  int64_t images = 0, channels = 0, size[2] = {1, 1};     ///< of x
  int64_t filters = 0, kernel[2] = {1, 1}, groups = 1;     ///< w is [filters, channels / groups, kernel], contiguous
  int64_t stride[2] = {1, 1}, padding[2] = {0, 0}, dilation[2] = {1, 1};
  int64_t out[2] = {1, 1};                                 ///< rows and columns of y
  int64_t x_stride[3] = {0, 0, 0};                         ///< elements between images, channels and rows; columns are contiguous

  int64_t pixels() const { return out[0] * out[1]; }
  int64_t taps() const { return kernel[0] * kernel[1]; }
  int64_t group_channels() const { return channels / groups; }
  int64_t group_filters() const { return filters / groups; }
  int64_t depth() const { return group_channels() * taps(); }  ///< k of the products
  /// Multiplications and additions, those by padding included; the same for the gradients.
  double flops() const;
};

/// Bytes of workspace for `threads` threads.
size_t convolution_workspace_bytes(const ConvolutionArgs& args, int threads);
size_t convolution_data_gradient_workspace_bytes(const ConvolutionArgs& args, int threads);
size_t convolution_weight_gradient_workspace_bytes(const ConvolutionArgs& args, int threads);

/// y [images, filters, out], contiguous, like g and dx below. bias: f32 [filters] or null. `workspace` is divisible by 64;
/// nothing is allocated.
void convolution(const ConvolutionArgs& args, const void* x, const void* w, const float* bias, void* y, void* workspace,
                 ThreadPool& pool);
/// dx [images, channels, size] of w and the gradient g of y.
void convolution_data_gradient(const ConvolutionArgs& args, const void* g, const void* w, void* dx, void* workspace,
                               ThreadPool& pool);
/// dw [filters, channels / groups, kernel] in f32, of x and g.
void convolution_weight_gradient(const ConvolutionArgs& args, const void* x, const void* g, float* dw, void* workspace,
                                 ThreadPool& pool);

}  // namespace corten
