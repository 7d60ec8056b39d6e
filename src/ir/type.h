// The type of a graph value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "corten/dtype.h"

namespace corten::ir {

/// Sizes of a tensor, outermost first. Sizes are integers: kernels take sizes at run time, so a new size costs a trace
/// and a plan (milliseconds), not a compilation; see docs/design/symbolic-dims.md.
using Dims = std::vector<int64_t>;

enum class Encoding : uint8_t { dense };
enum class MemorySpace : uint8_t { device };
enum class DeviceKind : uint8_t { cpu, null, cuda };
struct Placement {
  DeviceKind kind = DeviceKind::cpu;
  int16_t index = 0;
  bool operator==(const Placement&) const = default;
};

struct Type {
  DType dtype = DType::f32;
  Dims dims;
  Encoding encoding = Encoding::dense;
  Placement placement = {};
  MemorySpace space = MemorySpace::device;

  bool operator==(const Type&) const = default;
  int64_t rank() const { return static_cast<int64_t>(dims.size()); }
  int64_t elements() const;
  int64_t bytes() const { return elements() * static_cast<int64_t>(size_of(dtype)); }
};

/// "[2,4]"; "[]" for a scalar.
std::string to_string(const Dims& dims);
/// "f32[2,4]".
std::string to_string(const Type& type);
/// Inverse of to_string(Type). Usage error on anything else.
Type parse_type(std::string_view text);

int64_t product(const Dims& dims);
/// Row-major strides in elements.
Dims contiguous_strides(const Dims& dims);
/// NumPy broadcasting of two shapes. Usage error naming both if they do not fit.
Dims broadcast(const Dims& a, const Dims& b);
/// Maps a possibly negative axis to 0..rank-1. Usage error "[what] axis 3 is out of range for f32[2,4] (rank 2)".
int64_t normalize_axis(int64_t axis, const Type& type, std::string_view what);

}  // namespace corten::ir
