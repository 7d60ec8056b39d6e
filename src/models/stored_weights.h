// What the weight files of a folder hold, before a model is made for them.
#pragma once

#include <cstdint>
#include <string>

#include "corten/dtype.h"

namespace corten {

struct StoredWeights {
  DType dtype = DType::f32;  ///< the widest floating type of Corten's models
  int64_t elements = 0;
};
/// Of the .safetensors files in `folder`.
StoredWeights stored_weights(const std::string& folder);

}  // namespace corten
