// Initial values of parameters.
//
// An initialiser is a pure function of the shape, the seed and the parameter's full name
// ("transformer.h.0.attn.c_attn.weight"), so that a parameter starts from the same bits whatever
// else the model has and in whatever order it was built.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "corten/tensor.h"

namespace corten::init {

/// Gives an f32 tensor of `shape`.
using Initializer = std::function<Tensor(const Shape& shape, int64_t seed, std::string_view name)>;

Initializer constant(double value);
inline Initializer zeros() {
  return constant(0);
}
inline Initializer ones() {
  return constant(1);
}
Initializer normal(double mean = 0, double std = 1);
Initializer uniform(double low = 0, double high = 1);

/// Fans of a weight as PyTorch counts them: shape [out, in, ...] has fan_in = in * rest and fan_out
/// = out * rest. The initialisers below raise a Usage error for fewer than two axes.
struct Fans {
  int64_t in = 0, out = 0;
};
Fans fans(const Shape& shape);

/// Glorot and Bengio (2010): U(-a, a) with a = gain sqrt(6 / (fan_in + fan_out)); N(0, gain^2 2 /
/// (fan_in + fan_out)).
Initializer xavier_uniform(double gain = 1);
Initializer xavier_normal(double gain = 1);
enum class FanMode { in, out };
/// He et al. (2015) for leaky ReLU of negative slope a: gain = sqrt(2 / (1 + a^2)); U(-b, b) with b
/// = gain sqrt(3 / fan), and N(0, gain^2 / fan). a = 0 is ReLU.
Initializer kaiming_uniform(double a = 0, FanMode mode = FanMode::in);
Initializer kaiming_normal(double a = 0, FanMode mode = FanMode::in);
/// Weights of projections into the residual stream (Radford et al., 2019, section 2.3): N(0, std^2
/// / (2 n_layer)), as each of the n_layer blocks adds two of them.
Initializer scaled_residual(double std, int64_t n_layer);

}  // namespace corten::init
