// 16-float vectors; bf16 and f16 are widened to f32.
#include "attention/simd_avx512.h"

#include "attention/family.h"

namespace corten::attention_detail {

const Family kAvx512 = make_family<Floats>();

}  // namespace corten::attention_detail
