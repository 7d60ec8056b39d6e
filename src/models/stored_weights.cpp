#include "models/stored_weights.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/format.h"
#include "io/tensor_bytes.h"
#include "nn/state.h"

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

void copy_weights(std::string_view what, const std::string& folder, const Safetensors& file,
                  const StateDict& state,
                  const std::function<std::string(std::string_view)>& map) {
  std::map<std::string, const StoredTensor*, std::less<>> stored;
  nn::StateDifference difference;
  for (const StoredTensor& tensor : file.tensors()) {
    const std::string name = map(tensor.name);
    if (name.empty()) continue;
    const Tensor* target = find_tensor(state, name);
    auto dtype = dtype_from_safetensors(tensor.dtype);
    if (!target || !stored.emplace(name, &tensor).second)
      difference.unexpected.push_back(tensor.name);
    else if (target->shape() != tensor.dims)
      difference.misshapen.push_back(format("{} is [{}] in the model and [{}] in the file", name,
                                            fmt::join(target->shape(), ","),
                                            fmt::join(tensor.dims, ",")));
    else if (!dtype || !is_floating(*dtype))
      usage_error("{}: weights of type {} are not supported ({})", folder, tensor.dtype, name);
  }
  for (const auto& [name, tensor] : state)
    if (!stored.contains(name)) difference.missing.push_back(name);
  nn::check_states(what, folder, difference);

  NoGradGuard no_grad;
  for (const auto& [name, tensor] : state) {
    Tensor target = tensor;
    target.copy_(tensor_from_stored(*stored.at(name)));
  }
}

}  // namespace corten
