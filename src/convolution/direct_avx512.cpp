#include "gemm/simd_avx512.h"

#include "convolution/direct_block.h"

namespace corten::convolution_detail {

const DirectKernels kDirectKernelsAvx512 = kKernels;

}  // namespace corten::convolution_detail
