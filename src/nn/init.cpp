#include "corten/init.h"

#include <cmath>

#include "base/format.h"
#include "corten/random.h"

namespace corten::init {
namespace {

/// An initialiser whose bound or deviation depends on the fans.
template <typename Scale, typename Draw>
Initializer by_fans(Scale scale, Draw draw) {
  return [scale, draw](const Shape& shape, int64_t seed, std::string_view name) {
    if (shape.size() < 2)
      usage_error("[init] \"{}\" has shape [{}]: this initialiser needs two axes or more", name,
                  fmt::join(shape, ","));
    return draw(scale(fans(shape)), shape, seed, name);
  };
}
Tensor symmetric_uniform(double bound, const Shape& shape, int64_t seed, std::string_view name) {
  return uniform_init(shape, -bound, bound, seed, name);
}
Tensor centred_normal(double std, const Shape& shape, int64_t seed, std::string_view name) {
  return normal_init(shape, 0, std, seed, name);
}
double fan_of(Fans f, FanMode mode) {
  return static_cast<double>(mode == FanMode::in ? f.in : f.out);
}

}  // namespace

Initializer constant(double value) {
  return [value](const Shape& shape, int64_t, std::string_view) { return full(shape, value); };
}
Initializer normal(double mean, double std) {
  return [=](const Shape& shape, int64_t seed, std::string_view name) {
    return normal_init(shape, mean, std, seed, name);
  };
}
Initializer uniform(double low, double high) {
  return [=](const Shape& shape, int64_t seed, std::string_view name) {
    return uniform_init(shape, low, high, seed, name);
  };
}

Fans fans(const Shape& shape) {
  int64_t rest = 1;
  for (size_t i = 2; i < shape.size(); ++i) rest *= shape[i];
  return {shape.size() > 1 ? shape[1] * rest : 0, shape.empty() ? 0 : shape[0] * rest};
}

Initializer xavier_uniform(double gain) {
  return by_fans(
      [gain](Fans f) { return gain * std::sqrt(6.0 / static_cast<double>(f.in + f.out)); },
      symmetric_uniform);
}
Initializer xavier_normal(double gain) {
  return by_fans(
      [gain](Fans f) { return gain * std::sqrt(2.0 / static_cast<double>(f.in + f.out)); },
      centred_normal);
}
Initializer kaiming_uniform(double a, FanMode mode) {
  return by_fans([=](Fans f) { return std::sqrt(6.0 / ((1 + a * a) * fan_of(f, mode))); },
                 symmetric_uniform);
}
Initializer kaiming_normal(double a, FanMode mode) {
  return by_fans([=](Fans f) { return std::sqrt(2.0 / ((1 + a * a) * fan_of(f, mode))); },
                 centred_normal);
}
Initializer scaled_residual(double std, int64_t n_layer) {
  return normal(0, std / std::sqrt(2.0 * static_cast<double>(n_layer)));
}

}  // namespace corten::init
