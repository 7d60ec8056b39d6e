// Direct convolutions, for groups of so few channels that products would be smaller than what laying out patches costs: each
// channel's plane is copied once, padded and in f32, and every kernel element ("tap") reads it at an offset.
//
// With p = (row, column) of the result and f32 chains of fused multiply-adds:
//   y[n, o, p]  = one chain over ascending (channel of the group, row, column of the kernel), then + bias;
//   dx[n, i]    = one chain over ascending (filter of the group, p);
//   dw[o, k]    = 16 chains over ascending (n, p), by column of the result modulo 16, added by halves.
// Bits are the same for every instruction set, dtype of the operands apart.
#pragma once

#include "convolution/convolution.h"

namespace corten::convolution_detail {

/// Whether a convolution and its gradients are computed so: a matter of its shape alone.
bool is_direct(const ConvolutionArgs& args);

int64_t direct_bytes_per_thread(const ConvolutionArgs& args);
int64_t direct_data_gradient_bytes_per_thread(const ConvolutionArgs& args);
int64_t direct_weight_gradient_bytes_per_thread(const ConvolutionArgs& args);

void direct(const ConvolutionArgs& args, const void* x, const void* w, const float* bias, void* y, char* workspace, ThreadPool& pool);
void direct_data_gradient(const ConvolutionArgs& args, const void* g, const void* w, void* dx, char* workspace, ThreadPool& pool);
void direct_weight_gradient(const ConvolutionArgs& args, const void* x, const void* g, float* dw, char* workspace, ThreadPool& pool);

}  // namespace corten::convolution_detail
