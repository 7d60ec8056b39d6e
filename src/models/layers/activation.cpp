#include "models/layers/activation.h"

#include <algorithm>
#include <array>

#include "base/format.h"

namespace corten::layers {
namespace {

constexpr std::array kActivations = {
    "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu", "relu", "silu", "swish", "tanh"};

}  // namespace

void check_activation(std::string_view source, std::string_view key, std::string_view name) {
  if (std::ranges::find(kActivations, name) == kActivations.end())
    usage_error("{}: \"{}\" \"{}\" is not supported (known: {})", source, key, name,
                fmt::join(kActivations, ", "));
}

std::unique_ptr<nn::Module> make_activation(std::string_view name) {
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast")
    return std::make_unique<nn::GELU>(true);
  if (name == "gelu") return std::make_unique<nn::GELU>();
  if (name == "relu") return std::make_unique<nn::ReLU>();
  if (name == "silu" || name == "swish") return std::make_unique<nn::SiLU>();
  if (name == "tanh") return std::make_unique<nn::Tanh>();
  internal_error("no activation \"{}\"", name);
}

}  // namespace corten::layers
