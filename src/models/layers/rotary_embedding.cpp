#include "models/layers/rotary_embedding.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "corten/ops.h"

namespace corten::layers {
namespace {

/// theta^(2i/D), with the exponent and the result rounded to f32 as in the reference: an angle is
/// the position times its reciprocal, so that other roundings would show in long sequences.
std::vector<float> wavelengths(double theta, int64_t head_size) {
  std::vector<float> out;
  for (int64_t i = 0; i < head_size; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(head_size);
    out.push_back(static_cast<float>(std::pow(theta, static_cast<double>(exponent))));
  }
  return out;
}

/// Llama 3.1: pairs that turn rarely within the original length are slowed down, those that turn
/// often are left alone, and those in between are mixed.
float llama3_frequency(const RopeConfig& c, float frequency) {
  const auto length = static_cast<float>(c.original_max_positions);
  const auto factor = static_cast<float>(c.factor), low = static_cast<float>(c.low_freq_factor),
             high = static_cast<float>(c.high_freq_factor);
  const float wavelength = static_cast<float>(2 * std::numbers::pi) / frequency;
  if (wavelength < length / high) return frequency;
  if (wavelength > length / low) return frequency / factor;
  const float smooth = (length / wavelength - low) / (high - low);
  return (1 - smooth) * frequency / factor + smooth * frequency;
}

/// YaRN, section 3.2: a ramp over the pairs from those kept to those divided by the factor.
std::vector<float> yarn_frequencies(const RopeConfig& c, int64_t head_size) {
  const auto dim = static_cast<double>(head_size);
  const auto length = static_cast<double>(c.original_max_positions);
  const auto pair_of = [&](double rotations) {
    return dim * std::log(length / (rotations * 2 * std::numbers::pi)) / (2 * std::log(c.theta));
  };
  double low = pair_of(c.beta_fast), high = pair_of(c.beta_slow);
  if (c.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  std::vector<float> out = wavelengths(c.theta, head_size);
  for (size_t i = 0; i < out.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const auto divided = static_cast<float>(ramp), kept = 1 - divided;
    const float frequency = 1 / out[i];
    out[i] = 1 / (static_cast<float>(c.factor) * out[i]) * divided + frequency * kept;
  }
  return out;
}

/// What cosines and sines are multiplied by (YaRN, section 3.4).
double magnitude(const RopeConfig& c) {
  if (c.type != "yarn") return 1;
  if (c.attention_factor) return *c.attention_factor;
  const auto scale = [&](double m) {
    return c.factor <= 1 ? 1.0 : 0.1 * m * std::log(c.factor) + 1;
  };
  const double m = c.mscale.value_or(0), m_all = c.mscale_all_dim.value_or(0);
  return m != 0 && m_all != 0 ? scale(m) / scale(m_all) : scale(1);
}

Tensor on_device(const std::vector<float>& values) {
  return from_vector(values, {static_cast<int64_t>(values.size())});
}

}  // namespace

RotaryEmbedding::RotaryEmbedding(const RopeConfig& config, int64_t head_size, int64_t max_positions)
    : config_(config), head_size_(head_size), max_positions_(max_positions) {
  frequencies_ = on_device(frequencies(max_positions));
}

std::vector<float> RotaryEmbedding::frequencies(int64_t length) const {
  if (config_.type == "yarn") return yarn_frequencies(config_, head_size_);
  double theta = config_.theta;
  if (config_.type == "dynamic") {
    const auto dim = static_cast<double>(head_size_), trained = static_cast<double>(max_positions_);
    const double stretch =
        config_.factor * std::max(static_cast<double>(length), trained) / trained -
        (config_.factor - 1);
    theta *= std::pow(stretch, dim / (dim - 2));
  }
  std::vector<float> out = wavelengths(theta, head_size_);
  for (float& x : out) {
    x = 1 / x;
    if (config_.type == "linear") x /= static_cast<float>(config_.factor);
    if (config_.type == "llama3") x = llama3_frequency(config_, x);
  }
  return out;
}

Rotation RotaryEmbedding::operator()(const Tensor& positions_BT, int64_t length) const {
  const bool grown = config_.type == "dynamic" && length > max_positions_;
  const Tensor frequencies_D2 = grown ? on_device(frequencies(length)) : frequencies_;
  const int64_t B = positions_BT.size(0), T = positions_BT.size(1), half = head_size_ / 2;
  Tensor angle_B1TD2 =
      positions_BT.to(DType::f32).reshape({B, 1, T, 1}) * frequencies_D2.reshape({1, 1, 1, half});
  Rotation out{cos(angle_B1TD2), sin(angle_B1TD2)};
  if (const double scale = magnitude(config_); scale != 1) {
    out.cos = out.cos * scale;
    out.sin = out.sin * scale;
  }
  return out;
}

Tensor rotate(const Tensor& x_BHTD, const Rotation& rotation) {
  return rotary(x_BHTD, rotation.cos, rotation.sin);
}

}  // namespace corten::layers
