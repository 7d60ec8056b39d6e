#include "models/layers/activation.h"

#include <algorithm>
#include <array>

#include "base/format.h"
#include "corten/ops.h"

namespace corten::layers {
namespace {

constexpr std::array kActivations = {"gelu_new",
                                     "gelu_pytorch_tanh",
                                     "gelu_python_tanh",
                                     "gelu_fast",
                                     "gelu_accurate",
                                     "gelu",
                                     "gelu_python",
                                     "quick_gelu",
                                     "relu",
                                     "silu",
                                     "swish",
                                     "tanh",
                                     "sigmoid",
                                     "linear"};

/// x sigmoid(1.702 x), the approximation of Hendrycks and Gimpel (2016) that CLIP uses.
class QuickGelu : public nn::Module {
 public:
  Tensor forward(const Tensor& x) override { return x * sigmoid(x * 1.702); }
  std::string type_name() const override { return "QuickGELUActivation"; }
};

}  // namespace

void check_activation(std::string_view source, std::string_view key, std::string_view name) {
  if (std::ranges::find(kActivations, name) == kActivations.end())
    usage_error("{}: \"{}\" \"{}\" is not supported (known: {})", source, key, name,
                fmt::join(kActivations, ", "));
}

std::unique_ptr<nn::Module> make_activation(std::string_view name) {
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_python_tanh" ||
      name == "gelu_fast" || name == "gelu_accurate")
    return std::make_unique<nn::GELU>(true);
  if (name == "gelu" || name == "gelu_python") return std::make_unique<nn::GELU>();
  if (name == "quick_gelu") return std::make_unique<QuickGelu>();
  if (name == "relu") return std::make_unique<nn::ReLU>();
  if (name == "silu" || name == "swish") return std::make_unique<nn::SiLU>();
  if (name == "tanh") return std::make_unique<nn::Tanh>();
  if (name == "sigmoid") return std::make_unique<nn::Sigmoid>();
  if (name == "linear") return std::make_unique<nn::Identity>();
  internal_error("no activation \"{}\"", name);
}

}  // namespace corten::layers
