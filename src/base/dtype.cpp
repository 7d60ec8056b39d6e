#include "corten/dtype.h"

#include <algorithm>
#include <array>

#include "base/format.h"

namespace corten {
namespace {

struct Info {
  std::string_view name, long_name;
  uint8_t size, rank;  // rank: order of promotion
};
constexpr std::array<Info, kDTypeCount> kInfo = {{{"f32", "float32", 4, 7},
                                                  {"bf16", "bfloat16", 2, 6},
                                                  {"f16", "float16", 2, 6},
                                                  {"f64", "float64", 8, 8},
                                                  {"i64", "int64", 8, 4},
                                                  {"i32", "int32", 4, 3},
                                                  {"u8", "uint8", 1, 2},
                                                  {"bool", "boolean", 1, 1},
                                                  {"f8_e4m3", "float8_e4m3fn", 1, 5},
                                                  {"f8_e5m2", "float8_e5m2", 1, 5}}};
const Info& info(DType dtype) noexcept { return kInfo[static_cast<size_t>(dtype)]; }

}  // namespace

size_t size_of(DType dtype) noexcept { return info(dtype).size; }
std::string_view name(DType dtype) noexcept { return info(dtype).name; }

DType dtype_from_name(std::string_view text) {
  for (int i = 0; i < kDTypeCount; ++i)
    if (kInfo[i].name == text || kInfo[i].long_name == text) return static_cast<DType>(i);
  usage_error("unknown dtype \"{}\": use f32, bf16, f16, f64, i64, i32, u8, bool, f8_e4m3 or f8_e5m2", text);
}

bool is_floating(DType dtype) noexcept { return info(dtype).rank >= 5; }
bool is_float8(DType dtype) noexcept { return info(dtype).rank == 5; }

DType promote(DType a, DType b) noexcept {
  if (a == b) return a;
  if (info(a).rank == info(b).rank) return DType::f32;
  return info(a).rank > info(b).rank ? a : b;
}

DType compute_type(DType dtype) noexcept {
  return is_floating(dtype) && size_of(dtype) < 4 ? DType::f32 : dtype;
}

}  // namespace corten
