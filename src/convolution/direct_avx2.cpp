#include "gemm/simd_avx2.h"

#include "convolution/direct_block.h"

namespace corten::convolution_detail {

const DirectKernels kDirectKernelsAvx2 = kKernels;

}  // namespace corten::convolution_detail
