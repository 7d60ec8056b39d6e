// Software conversion between f32 and the 8-bit floating types of "FP8 formats for deep learning"
// (Micikevicius et al., 2022).
#pragma once

#include <bit>
#include <cstdint>

#include "base/half.h"

namespace corten {

/// To e4m3 (bias 7, no infinity), to nearest, ties to even; subnormals (multiples of 2^-9) are kept,
/// |x| > 448, infinities too, gives 448 (as PyTorch since 2.15 and NVIDIA's instruction do), NaN gives NaN.
inline uint8_t to_e4m3(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = bits >> 24 & 0x80u;
  uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint8_t>(sign | 0x7fu);
  if (magnitude >= 0x43e00000u) return static_cast<uint8_t>(sign | 0x7eu);
  if (magnitude < 0x3c800000u) {  // below 2^-6: the sum's last place is 2^-9, that of the subnormals
    const float sum = std::bit_cast<float>(magnitude) + 0x1p14f;
    return static_cast<uint8_t>(sign | (std::bit_cast<uint32_t>(sum) - 0x46800000u));
  }
  magnitude += 0x7ffffu + (magnitude >> 20 & 1u);
  return static_cast<uint8_t>(sign | (magnitude - 0x3c000000u) >> 20);
}

/// From e4m3; exact.
inline float from_e4m3(uint8_t x) {
  const uint32_t sign = static_cast<uint32_t>(x & 0x80u) << 24, magnitude = x & 0x7fu;
  // The bits are those of an f32 that is 2^120 times too small.
  const float value = std::bit_cast<float>(magnitude << 20) * 0x1p120f;
  return std::bit_cast<float>(sign | (magnitude == 0x7fu ? 0x7fc00000u : std::bit_cast<uint32_t>(value)));
}

/// To e5m2 (bias 15, as IEEE binary16 has it), to nearest, ties to even; subnormals (multiples of 2^-16)
/// are kept, |x| >= 61440 gives infinity, NaN a quiet NaN.
inline uint8_t to_e5m2(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = bits >> 24 & 0x80u;
  uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint8_t>(sign | 0x7fu);
  if (magnitude >= 0x47700000u) return static_cast<uint8_t>(sign | 0x7cu);
  if (magnitude < 0x38800000u) {  // below 2^-14
    const float sum = std::bit_cast<float>(magnitude) + 0x1p7f;
    return static_cast<uint8_t>(sign | (std::bit_cast<uint32_t>(sum) - 0x43000000u));
  }
  magnitude += 0xfffffu + (magnitude >> 21 & 1u);
  return static_cast<uint8_t>(sign | (magnitude - 0x38000000u) >> 21);
}

/// From e5m2; exact.
inline float from_e5m2(uint8_t x) { return from_f16(static_cast<uint16_t>(x << 8)); }

}  // namespace corten
