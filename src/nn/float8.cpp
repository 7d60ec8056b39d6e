#include <algorithm>
#include <array>

#include "corten/nn.h"

namespace corten::nn {
namespace {

bool is_head(std::string_view name) {
  constexpr std::array<std::string_view, 3> kHeads{"lm_head", "score", "classifier"};
  const std::string_view last = name.substr(name.rfind('.') + 1);
  return std::find(kHeads.begin(), kHeads.end(), last) != kHeads.end();
}

}  // namespace

int64_t convert_to_float8_training(Module& model,
                                   const std::function<bool(const std::string&, const Module&)>& filter) {
  constexpr int64_t kMultiple = 16;  // of the sizes that tensor cores take
  int64_t converted = 0;
  const auto convert = [&](const std::string& name, auto* layer) {
    if (!layer || layer->is_quantized()) return;
    const Shape shape = layer->weight_shape();
    if (shape[0] % kMultiple != 0 || shape[1] % kMultiple != 0) return;
    if (filter ? !filter(name, *layer) : is_head(name)) return;
    layer->float8 = true;
    ++converted;
  };
  for (auto& [name, module] : model.named_modules()) {
    convert(name, dynamic_cast<Linear*>(module));
    convert(name, dynamic_cast<Conv1D*>(module));
  }
  return converted;
}

}  // namespace corten::nn
