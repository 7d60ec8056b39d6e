// Element types of tensors and their promotion rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace corten {

/// Element type of a tensor. The text names are PyTorch's short ones: "f32", "bf16", ...
enum class DType : uint8_t { f32, bf16, f16, f64, i64, i32, u8, boolean };
inline constexpr int kDTypeCount = 8;

/// Bytes of one element.
size_t size_of(DType dtype) noexcept;
/// "f32", "bf16", "f16", "f64", "i64", "i32", "u8", "bool".
std::string_view name(DType dtype) noexcept;
/// Inverse of name(); also takes the long forms ("float32", "bfloat16", ...). Usage error if unknown.
DType dtype_from_name(std::string_view name);
bool is_floating(DType dtype) noexcept;
/// Type of a binary operation on two tensors, as torch.promote_types: bool < u8 < i32 < i64 <
/// {f16, bf16} < f32 < f64; f16 with bf16 gives f32.
DType promote(DType a, DType b) noexcept;
/// The type an operation on `dtype` computes in: f32 for bf16 and f16, otherwise `dtype` itself.
DType compute_type(DType dtype) noexcept;

}  // namespace corten
