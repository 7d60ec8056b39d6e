#include "models/stored_weights.h"

#include <algorithm>
#include <optional>

#include "corten/safetensors.h"

namespace corten {

StoredWeights stored_weights(const std::string& folder) {
  std::optional<DType> widest;
  StoredWeights out;
  for (const StoredTensor& tensor : Safetensors::open(folder).tensors()) {
    const auto dtype = dtype_from_safetensors(tensor.dtype);
    if (dtype && is_floating(*dtype)) widest = widest ? promote(*widest, *dtype) : *dtype;
    out.elements +=
        static_cast<int64_t>(tensor.bytes.size() * 8) / std::max(1, safetensors_bits(tensor.dtype));
  }
  if (widest && *widest != DType::f64) out.dtype = *widest;
  return out;
}

}  // namespace corten
