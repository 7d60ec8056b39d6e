#include "models/stored_weights.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/format.h"
#include "io/tensor_bytes.h"
#include "nn/state.h"
#include "runtime/tensor_impl.h"

namespace corten {

void check_parameter_count(int64_t parameters, const StoredWeights& stored, const std::string& path,
                           const std::string& folder, int64_t times) {
  if (parameters / times > stored.elements + (1 << 20))
    usage_error("{} describes {} parameters, but the weights in {} are {}", path, parameters, folder,
                stored.elements);
}

bool is_other_head(std::string_view stored) {
  return stored == "score.weight" || stored.starts_with("multiple_choice_head.");
}

StoredWeights stored_weights(const std::string& folder) {
  std::optional<DType> widest;
  StoredWeights out;
  for (const StoredTensor& tensor : Safetensors::open(folder).tensors()) {
    const auto dtype = dtype_from_safetensors(tensor.dtype);
    if (dtype && is_floating(*dtype) && !is_float8(*dtype))  // 8 bits are storage: f32 holds them
      widest = widest ? promote(*widest, *dtype) : *dtype;
    out.elements +=
        static_cast<int64_t>(tensor.bytes.size() * 8) / std::max(1, safetensors_bits(tensor.dtype));
  }
  if (widest && *widest != DType::f64) out.dtype = *widest;
  return out;
}

namespace {

/// "path" of "path.weight_packed" and "path.weight_scale"; "" of other names.
std::string_view quantized_layer(std::string_view name) {
  for (std::string_view end : {".weight_packed", ".weight_scale"})
    if (name.ends_with(end)) return name.substr(0, name.size() - end.size());
  return "";
}

/// The quantised layer whose float weight is called `name`, or null.
nn::Quantizable* quantized_module(nn::Module& model, const StateDict& state, std::string_view name) {
  constexpr std::string_view kEnd = ".weight";
  if (!name.ends_with(kEnd)) return nullptr;
  const std::string_view path = name.substr(0, name.size() - kEnd.size());
  if (!find_tensor(state, format("{}.weight_packed", path))) return nullptr;
  return dynamic_cast<nn::Quantizable*>(&model.get_submodule(path));
}

}  // namespace

std::vector<std::string> copy_weights(std::string_view what, const std::string& folder,
                                      const Safetensors& file, const StateDict& state,
                                      const std::function<std::string(std::string_view)>& map,
                                      nn::Module* quantised,
                                      const std::function<bool(std::string_view)>& may_lack) {
  std::vector<std::string> lacking;
  std::map<std::string, const StoredTensor*, std::less<>> stored;
  std::vector<std::pair<nn::Quantizable*, const StoredTensor*>> to_quantize;
  nn::StateDifference difference;
  for (const StoredTensor& tensor : file.tensors()) {
    const std::string name = map(tensor.name);
    if (name.empty()) continue;
    const Tensor* target = find_tensor(state, name);
    nn::Quantizable* const layer = target || !quantised ? nullptr : quantized_module(*quantised, state, name);
    const Shape shape = layer ? layer->weight_shape() : target ? target->shape() : Shape();
    auto dtype = dtype_from_safetensors(tensor.dtype);
    const bool floating = dtype && is_floating(*dtype);
    if ((!target && !layer) || !stored.emplace(name, &tensor).second)
      difference.unexpected.push_back(tensor.name);
    else if (shape != tensor.dims)
      difference.misshapen.push_back(format("{} is [{}] in the model and [{}] in the file", name,
                                            fmt::join(shape, ","), fmt::join(tensor.dims, ",")));
    else if (!floating && !(target && !is_floating(target->dtype()) && dtype == target->dtype()))
      usage_error("{}: weights of type {} are not supported ({})", folder, tensor.dtype, name);
    if (layer) to_quantize.emplace_back(layer, &tensor);
  }
  for (const auto& [name, tensor] : state) {
    const std::string_view layer = quantized_layer(name);
    if (!stored.contains(name) && (layer.empty() || !stored.contains(format("{}.weight", layer))))
      (may_lack && may_lack(name) ? lacking : difference.missing).push_back(name);
  }
  nn::check_states(what, folder, difference);

  NoGradGuard no_grad;
  for (const auto& [name, tensor] : state) {
    const auto found = stored.find(name);
    if (found != stored.end())
      runtime::assign(tensor, runtime::take(tensor_from_stored(*found->second)), "load_weights");
  }
  for (auto& [layer, tensor] : to_quantize)
    layer->quantize_from(tensor->bytes.data(), *dtype_from_safetensors(tensor->dtype));
  return lacking;
}

}  // namespace corten
