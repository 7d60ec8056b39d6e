// One panel of weights: w [16][padded_k] to its bytes and scales. False if a weight or a scale is
// no finite number.
#pragma once

#include <cstdint>

namespace corten::quant_detail {

bool pack_panel8(const float* w, int64_t padded_k, uint8_t* out, float* scale);
bool pack_panel4(const float* w, int64_t padded_k, int64_t group, uint8_t* out, uint16_t* scale);

}  // namespace corten::quant_detail
