// Activation functions by the names of transformers' configs.
#pragma once

#include <memory>
#include <string_view>

#include "corten/nn.h"

namespace corten::layers {

/// gelu_new, gelu_pytorch_tanh, gelu_python_tanh, gelu_fast, gelu_accurate (the tanh
/// approximation), gelu, gelu_python, relu, silu, swish, tanh, sigmoid, linear. Usage error
/// "source: "key" "name" is not supported" for others.
void check_activation(std::string_view source, std::string_view key, std::string_view name);
std::unique_ptr<nn::Module> make_activation(std::string_view name);

}  // namespace corten::layers
