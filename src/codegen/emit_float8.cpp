// The 8-bit floating types, by integer operations: base/float8.h in vectors.
#include "codegen/emitter.h"

namespace corten::codegen {

// What e4m3 and e5m2 differ in. Numbers are bits of an f32.
struct Emitter::Float8 {
  int dropped;            // bits of an f32's fraction that are rounded away
  uint32_t least_normal;  // smaller ones are multiples of its last place
  uint32_t rounder;       // a power of two whose last place is that of the subnormals
  uint32_t overflow;      // from here on the result is `largest`
  uint32_t largest;       // bits of the result
};

const Emitter::Float8& Emitter::float8(DType dtype) {
  static constexpr Float8 kE4M3{20, 0x3c800000, 0x46800000, 0x43e00000, 0x7e};
  static constexpr Float8 kE5M2{21, 0x38800000, 0x43000000, 0x47700000, 0x7c};
  return dtype == DType::f8_e4m3 ? kE4M3 : kE5M2;
}

Value* Emitter::float8_bits(DType dtype, Value* x, int lanes) {
  const Float8& f = float8(dtype);
  llvm::Type *words = with_lanes(b_.getInt32Ty(), lanes), *floats = type(DType::f32, lanes);
  const auto word = [&](uint32_t w) { return llvm::ConstantInt::get(words, w); };
  Value* bits = b_.CreateBitCast(x, words);
  Value* magnitude = b_.CreateAnd(bits, word(0x7fffffff));
  Value* odd = b_.CreateAnd(b_.CreateLShr(magnitude, f.dropped), word(1));
  // The bias of the exponent changes with the normals' rounding.
  const uint32_t bias = f.least_normal - (1u << 23);
  Value* y = b_.CreateLShr(
      b_.CreateAdd(b_.CreateAdd(magnitude, odd), word((1u << (f.dropped - 1)) - 1 - bias)), f.dropped);
  Value* sum = b_.CreateFAdd(b_.CreateBitCast(magnitude, floats), b_.CreateBitCast(word(f.rounder), floats));
  Value* subnormal = b_.CreateSub(b_.CreateBitCast(sum, words), word(f.rounder));
  y = b_.CreateSelect(b_.CreateICmpULT(magnitude, word(f.least_normal)), subnormal, y);
  y = b_.CreateSelect(b_.CreateICmpUGE(magnitude, word(f.overflow)), word(f.largest), y);
  y = b_.CreateSelect(b_.CreateICmpUGT(magnitude, word(0x7f800000)), word(0x7f), y);
  Value* sign = b_.CreateAnd(b_.CreateLShr(bits, 24), word(0x80));
  return b_.CreateTrunc(b_.CreateOr(y, sign), with_lanes(b_.getInt8Ty(), lanes));
}

Value* Emitter::from_float8(DType dtype, Value* raw, int lanes) {
  if (dtype == DType::f8_e5m2) {
    llvm::Type* halves = with_lanes(b_.getInt16Ty(), lanes);
    return from_memory(DType::f16, b_.CreateShl(b_.CreateZExt(raw, halves), 8), lanes);
  }
  llvm::Type *words = with_lanes(b_.getInt32Ty(), lanes), *floats = type(DType::f32, lanes);
  const auto word = [&](uint32_t w) { return llvm::ConstantInt::get(words, w); };
  Value* bits = b_.CreateZExt(raw, words);
  Value* magnitude = b_.CreateAnd(bits, word(0x7f));
  // The bits are those of an f32 that is 2^120 times too small.
  Value* x = b_.CreateFMul(b_.CreateBitCast(b_.CreateShl(magnitude, 20), floats),
                           llvm::ConstantFP::get(floats, 0x1p120));
  x = b_.CreateSelect(b_.CreateICmpEQ(magnitude, word(0x7f)), word(0x7fc00000), b_.CreateBitCast(x, words));
  Value* sign = b_.CreateShl(b_.CreateAnd(bits, word(0x80)), 24);
  return b_.CreateBitCast(b_.CreateOr(x, sign), floats);
}

}  // namespace corten::codegen
