// Patches of images as columns of a matrix, and sums of such columns back into images.
#pragma once

#include <cstdint>

#include "convolution/convolution.h"

namespace corten::convolution_detail {

/// Rows k of the channels c0 .. c1 of a group whose first channel is at `x` (of one image), columns p0 .. p1 of the result:
/// out[(k - c0 * taps) * ld + p - p0], zero where the kernel stands on padding. Elements of `element_bytes` 2 or 4.
void gather_patches(const ConvolutionArgs& args, const char* x, int64_t element_bytes, int64_t c0, int64_t c1, int64_t p0,
                    int64_t p1, char* out, int64_t ld);

/// Adds columns of whole rows r0 .. r1 of the result, laid out as by gather_patches() with p0 = r0 * out[1], to the planes of
/// `count` channels at dx, contiguous. Each element gets its terms in ascending order of p.
void add_patches(const ConvolutionArgs& args, const float* columns, int64_t ld, int64_t count, int64_t r0, int64_t r1, float* dx);

/// `count` numbers to bf16 or f16.
void round_to(DType dtype, const float* from, int64_t count, uint16_t* to);

}  // namespace corten::convolution_detail
