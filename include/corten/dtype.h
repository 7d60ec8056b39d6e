// Element types of tensors and their promotion rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace corten {

/// Element type of a tensor. The text names are PyTorch's short ones: "f32", "bf16", ...
///
/// The two of 8 bits are PyTorch's float8_e4m3fn (4 bits of exponent, up to 448, no infinity) and float8_e5m2 (up to
/// 57344): storage for operands of scaled_matmul(). Conversion rounds to nearest, ties to even; what is too large becomes
/// 448 (f8_e4m3) or infinity (f8_e5m2).
enum class DType : uint8_t { f32, bf16, f16, f64, i64, i32, u8, boolean, f8_e4m3, f8_e5m2 };
inline constexpr int kDTypeCount = 10;

/// Bytes of one element.
size_t size_of(DType dtype) noexcept;
/// "f32", "bf16", "f16", "f64", "i64", "i32", "u8", "bool", "f8_e4m3", "f8_e5m2".
std::string_view name(DType dtype) noexcept;
/// Inverse of name(); also takes the long forms ("float32", "bfloat16", "float8_e4m3fn", ...). Usage error if unknown.
DType dtype_from_name(std::string_view name);
bool is_floating(DType dtype) noexcept;
/// Whether it is f8_e4m3 or f8_e5m2.
bool is_float8(DType dtype) noexcept;
/// Type of a binary operation on two tensors, as torch.promote_types: bool < u8 < i32 < i64 <
/// {f8_e4m3, f8_e5m2} < {f16, bf16} < f32 < f64; two different ones of the same size give f32.
DType promote(DType a, DType b) noexcept;
/// The type an operation on `dtype` computes in: f32 for floating types of less than 32 bits, otherwise `dtype` itself.
DType compute_type(DType dtype) noexcept;

}  // namespace corten
