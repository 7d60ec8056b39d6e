// A kernel with everything that an execution needs, and the comparison of two executions' results.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/format.h"
#include "ir/kernel.h"

namespace corten::codegen::test {

/// A kernel with the arguments of one launch and the initial bytes of its operands.
struct Problem {
  ir::Kernel kernel;
  ir::Launch launch;
  std::vector<std::string> operands;
};

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}
template <typename T>
std::vector<T> values_of(const std::string& bytes) {
  const auto* p = reinterpret_cast<const T*>(bytes.data());
  return {p, p + bytes.size() / sizeof(T)};
}

inline bool same_element(DType dtype, const char* a, const char* b) {
  const auto half_nan = [](uint16_t x, uint16_t exponent) { return (x & 0x7fff) > exponent; };
  switch (dtype) {
    case DType::f32: {
      float x, y;
      std::memcpy(&x, a, 4);
      std::memcpy(&y, b, 4);
      return (std::isnan(x) && std::isnan(y)) ||
             std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y);
    }
    case DType::f64: {
      double x, y;
      std::memcpy(&x, a, 8);
      std::memcpy(&y, b, 8);
      return (std::isnan(x) && std::isnan(y)) ||
             std::bit_cast<uint64_t>(x) == std::bit_cast<uint64_t>(y);
    }
    case DType::bf16:
    case DType::f16: {
      uint16_t x, y;
      std::memcpy(&x, a, 2);
      std::memcpy(&y, b, 2);
      const uint16_t exponent = dtype == DType::bf16 ? 0x7f80 : 0x7c00;
      return x == y || (half_nan(x, exponent) && half_nan(y, exponent));
    }
    default:
      return std::memcmp(a, b, size_of(dtype)) == 0;
  }
}

inline std::string element_text(DType dtype, const char* p) {
  uint64_t bits = 0;
  std::memcpy(&bits, p, size_of(dtype));
  return format("{:#x}", bits);
}

/// The first element that is not the same, NaN payloads aside; "" if there is none.
inline std::string difference(const ir::Kernel& kernel, const std::vector<std::string>& want,
                              const std::vector<std::string>& got) {
  for (size_t i = 0; i < want.size(); ++i) {
    const DType dtype = kernel.operands[i].dtype;
    const size_t bytes = size_of(dtype);
    for (size_t at = 0; at + bytes <= want[i].size(); at += bytes)
      if (!same_element(dtype, want[i].data() + at, got[i].data() + at))
        return format("operand {} ({}), element {} of {}: {} instead of {}", i, corten::name(dtype),
                      at / bytes, want[i].size() / bytes, element_text(dtype, got[i].data() + at),
                      element_text(dtype, want[i].data() + at));
  }
  return "";
}

}  // namespace corten::codegen::test
