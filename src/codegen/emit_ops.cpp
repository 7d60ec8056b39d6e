// One scalar operation on one element or on a vector of them.
//
// Every operation rounds once and no flag allows LLVM to reassociate or contract; NaN, infinities,
// signed zeros and subnormals are those of IEEE 754.
#include "base/format.h"
#include "codegen/emitter.h"

namespace corten::codegen {

using ir::ScalarNode;
using ir::ScalarOp;
using llvm::Intrinsic::ID;

namespace {

bool is_float(DType t) {
  return t == DType::f32 || t == DType::f64;
}

}  // namespace

llvm::Type* Emitter::with_lanes(llvm::Type* t, int lanes) {
  return lanes == 1 ? t : llvm::FixedVectorType::get(t, static_cast<unsigned>(lanes));
}

llvm::Type* Emitter::type(DType dtype, int lanes) {
  switch (dtype) {
    case DType::f32:
      return with_lanes(b_.getFloatTy(), lanes);
    case DType::f64:
      return with_lanes(b_.getDoubleTy(), lanes);
    case DType::i64:
      return with_lanes(b_.getInt64Ty(), lanes);
    case DType::i32:
      return with_lanes(b_.getInt32Ty(), lanes);
    case DType::boolean:
      return with_lanes(b_.getInt1Ty(), lanes);
    default:
      internal_error("{} is no type of scalar values", corten::name(dtype));
  }
}

Value* Emitter::constant(const ScalarNode& n, int lanes) {
  llvm::Constant* c;
  switch (n.type) {
    case DType::f32:
      c = llvm::ConstantFP::get(context_,
                                llvm::APFloat(llvm::APFloat::IEEEsingle(),
                                              llvm::APInt(32, static_cast<uint32_t>(n.imm))));
      break;
    case DType::f64:
      c = llvm::ConstantFP::get(context_,
                                llvm::APFloat(llvm::APFloat::IEEEdouble(),
                                              llvm::APInt(64, static_cast<uint64_t>(n.imm))));
      break;
    default:
      c = llvm::ConstantInt::get(type(n.type, 1), static_cast<uint64_t>(n.imm), true);
  }
  return lanes == 1 ? c : llvm::ConstantVector::getSplat(llvm::ElementCount::getFixed(lanes), c);
}

Value* Emitter::compare(ScalarOp op, DType type, Value* a, Value* b) {
  const bool boolean = type == DType::boolean;
  switch (op) {
    case ScalarOp::eq:
      return is_float(type) ? b_.CreateFCmpOEQ(a, b) : b_.CreateICmpEQ(a, b);
    case ScalarOp::ne:
      return is_float(type) ? b_.CreateFCmpUNE(a, b) : b_.CreateICmpNE(a, b);
    case ScalarOp::lt:
      return is_float(type) ? b_.CreateFCmpOLT(a, b)
             : boolean      ? b_.CreateICmpULT(a, b)
                            : b_.CreateICmpSLT(a, b);
    default:
      return is_float(type) ? b_.CreateFCmpOLE(a, b)
             : boolean      ? b_.CreateICmpULE(a, b)
                            : b_.CreateICmpSLE(a, b);
  }
}

// IEEE 754-2019 maximum and minimum: NaN if either is NaN, -0 below +0. The comparison with select
// is the processor's instruction, which gives b if either is NaN or both are zeros; with the
// operands in both orders the sign bits of two zeros are combined.
Value* Emitter::extremum(bool maximum, Value* a, Value* b) {
  const auto pick = [&](Value* x, Value* y) {
    return b_.CreateSelect(maximum ? b_.CreateFCmpOGT(x, y) : b_.CreateFCmpOLT(x, y), x, y);
  };
  if (llvm::isa<llvm::Constant>(a)) std::swap(a, b);
  if (auto* c = llvm::dyn_cast<llvm::Constant>(b)) {
    if (auto* s = c->getType()->isVectorTy() ? c->getSplatValue() : c;
        s && llvm::isa<llvm::ConstantFP>(s)) {
      const llvm::APFloat& x = llvm::cast<llvm::ConstantFP>(s)->getValueAPF();
      // With a number first, a NaN comes through, and so does the sign of a zero where it decides.
      if (!x.isNaN() && (!x.isZero() || x.isNegative() == maximum)) return pick(b, a);
      if (x.isZero() && maximum) return b_.CreateFAdd(pick(b, a), b);  // -0 + +0 = +0
    }
  }
  llvm::Type* t = a->getType();
  const unsigned bits = t->getScalarSizeInBits();
  llvm::Type* integers = t->getWithNewType(b_.getIntNTy(bits));
  Value *x = b_.CreateBitCast(pick(a, b), integers), *y = b_.CreateBitCast(pick(b, a), integers);
  Value* m = b_.CreateBitCast(maximum ? b_.CreateAnd(x, y) : b_.CreateOr(x, y), t);
  return b_.CreateSelect(b_.CreateFCmpUNO(a, b), llvm::ConstantFP::getNaN(t), m);
}

Value* Emitter::convert(DType to, DType from, Value* x, int lanes) {
  llvm::Type* t = type(to, lanes);
  if (to == from) return x;
  if (to == DType::boolean) {
    llvm::Constant* zero = llvm::Constant::getNullValue(x->getType());
    return is_float(from) ? b_.CreateFCmpUNE(x, zero) : b_.CreateICmpNE(x, zero);
  }
  if (is_float(to)) {
    if (from == DType::f32) return b_.CreateFPExt(x, t);
    if (from == DType::f64) return b_.CreateFPTrunc(x, t);
    return from == DType::boolean ? b_.CreateUIToFP(x, t) : b_.CreateSIToFP(x, t);
  }
  if (is_float(from))
    return b_.CreateIntrinsic(llvm::Intrinsic::fptosi_sat, {t, x->getType()}, {x});
  return from == DType::boolean ? b_.CreateZExt(x, t) : b_.CreateSExtOrTrunc(x, t);
}

Value* Emitter::int_op(const ScalarNode& n, Value* a, Value* b, int lanes) {
  llvm::Type* t = type(n.type, lanes);
  const auto* zero = llvm::Constant::getNullValue(t);
  const auto number = [&](int64_t x) {
    return llvm::ConstantInt::get(t, static_cast<uint64_t>(x), true);
  };
  const auto count = [&] { return b_.CreateAnd(b, number(t->getScalarSizeInBits() - 1)); };
  Value* null = const_cast<llvm::Constant*>(zero);
  switch (n.op) {
    case ScalarOp::add:
      return b_.CreateAdd(a, b);
    case ScalarOp::sub:
      return b_.CreateSub(a, b);
    case ScalarOp::mul:
      return b_.CreateMul(a, b);
    case ScalarOp::div:
    case ScalarOp::rem: {
      // 0 and -1 as divisors are outside of what the processor can do: the results are 0, and -a or
      // 0.
      Value* by_zero = b_.CreateICmpEQ(b, null);
      Value* by_minus = b_.CreateICmpEQ(b, number(-1));
      Value* divisor = b_.CreateSelect(b_.CreateOr(by_zero, by_minus), number(1), b);
      if (n.op == ScalarOp::rem) return b_.CreateSRem(a, divisor);
      Value* q = b_.CreateSDiv(a, divisor);
      return b_.CreateSelect(by_zero, null, b_.CreateSelect(by_minus, b_.CreateNeg(a), q));
    }
    case ScalarOp::neg:
      return b_.CreateNeg(a);
    case ScalarOp::abs:
      return b_.CreateIntrinsic(llvm::Intrinsic::abs, {t}, {a, b_.getFalse()});
    case ScalarOp::min:
      return b_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, a, b);
    case ScalarOp::max:
      return b_.CreateBinaryIntrinsic(llvm::Intrinsic::smax, a, b);
    case ScalarOp::and_:
      return b_.CreateAnd(a, b);
    case ScalarOp::or_:
      return b_.CreateOr(a, b);
    case ScalarOp::xor_:
      return b_.CreateXor(a, b);
    case ScalarOp::not_:
      return b_.CreateNot(a);
    case ScalarOp::shl:
      return b_.CreateShl(a, count());
    case ScalarOp::lshr:
      return b_.CreateLShr(a, count());
    case ScalarOp::ashr:
      return b_.CreateAShr(a, count());
    case ScalarOp::umulhi: {
      llvm::Type* wide = with_lanes(b_.getInt64Ty(), lanes);
      Value* product = b_.CreateMul(b_.CreateZExt(a, wide), b_.CreateZExt(b, wide));
      return b_.CreateTrunc(b_.CreateLShr(product, 32), t);
    }
    default:
      internal_error("scalar op {} has no meaning for {}", ir::name(n.op), corten::name(n.type));
  }
}

Value* Emitter::library_call(ScalarOp op, Value* x, int lanes) {
  const char* name = op == ScalarOp::exp    ? "corten_f64_exp"
                     : op == ScalarOp::log  ? "corten_f64_log"
                     : op == ScalarOp::tanh ? "corten_f64_tanh"
                     : op == ScalarOp::erf  ? "corten_f64_erf"
                     : op == ScalarOp::sin  ? "corten_f64_sin"
                                            : "corten_f64_cos";
  Value* buffer = local(x->getType());
  b_.CreateStore(x, buffer);
  call_support(name, b_.getVoidTy(), {buffer, i64(lanes)});
  return b_.CreateLoad(x->getType(), buffer);
}

// The upper halves of f32 values rounded to nearest even, |x| < 2^-126 to signed zero, NaN kept.
Value* Emitter::bf16_bits(Value* x, int lanes) {
  llvm::Type* halves = with_lanes(b_.getInt16Ty(), lanes);
  if (target_.bf16 && lanes == kLanes)
    return b_.CreateBitCast(
        b_.CreateIntrinsic(llvm::Intrinsic::x86_avx512bf16_cvtneps2bf16_512, {}, {x}), halves);
  llvm::Type* words = with_lanes(b_.getInt32Ty(), lanes);
  const auto word = [&](uint32_t w) { return llvm::ConstantInt::get(words, w); };
  Value* bits = b_.CreateBitCast(x, words);
  Value* odd = b_.CreateAnd(b_.CreateLShr(bits, 16), word(1));
  Value* rounded = b_.CreateAdd(b_.CreateAdd(bits, odd), word(0x7fff));
  Value* magnitude = b_.CreateAnd(bits, word(0x7fffffff));
  rounded = b_.CreateSelect(b_.CreateICmpUGT(magnitude, word(0x7f800000)),
                            b_.CreateOr(bits, word(0x400000)), rounded);
  rounded = b_.CreateSelect(b_.CreateICmpULT(magnitude, word(0x00800000)),
                            b_.CreateAnd(bits, word(0x80000000)), rounded);
  return b_.CreateTrunc(b_.CreateLShr(rounded, 16), halves);
}

// x 2^n. Without the instruction 2^n is applied in two halves, so that the only rounding is the last
// one: the magic number has 1 as its last place, so that an integer added to it is in its low bits,
// here together with the biases of both halves.
Value* Emitter::scaled(Value* x, Value* n, int lanes) {
  llvm::Type *floats = type(DType::f32, lanes), *words = type(DType::i32, lanes);
  if (target_.avx512() && lanes == kLanes)
    return b_.CreateIntrinsic(llvm::Intrinsic::x86_avx512_mask_scalef_ps_512, {},
                              {x, n, x, llvm::ConstantInt::get(b_.getInt16Ty(), 0xffff),
                               b_.getInt32(4)});  // rounding as the environment says
  Value* i = b_.CreateBitCast(b_.CreateFAdd(n, llvm::ConstantFP::get(floats, 0x1.8p+23 + 254)), words);
  Value* half = b_.CreateLShr(i, 1);
  const auto power = [&](Value* biased) { return b_.CreateBitCast(b_.CreateShl(biased, 23), floats); };
  return b_.CreateFMul(b_.CreateFMul(x, power(half)), power(b_.CreateSub(i, half)));
}

Value* Emitter::float_op(const ScalarNode& n, Value* a, Value* b, Value* c, int lanes) {
  llvm::Type* t = type(n.type, lanes);
  switch (n.op) {
    case ScalarOp::add:
      return b_.CreateFAdd(a, b);
    case ScalarOp::sub:
      return b_.CreateFSub(a, b);
    case ScalarOp::mul:
      return b_.CreateFMul(a, b);
    case ScalarOp::div:
      return b_.CreateFDiv(a, b);
    case ScalarOp::fma:
      return b_.CreateIntrinsic(llvm::Intrinsic::fma, {t}, {a, b, c});
    case ScalarOp::neg:
      return b_.CreateFNeg(a);
    case ScalarOp::abs:
      return b_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, a);
    case ScalarOp::sqrt:
      return b_.CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, a);
    case ScalarOp::min:
    case ScalarOp::max:
      return extremum(n.op == ScalarOp::max, a, b);
    case ScalarOp::floor:
      return b_.CreateUnaryIntrinsic(llvm::Intrinsic::floor, a);
    case ScalarOp::rint:
      return b_.CreateUnaryIntrinsic(llvm::Intrinsic::rint, a);
    case ScalarOp::scale:
      return scaled(a, b, lanes);
    case ScalarOp::rsqrt:
      return b_.CreateFDiv(llvm::ConstantFP::get(t, 1.0),
                           b_.CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, a));
    case ScalarOp::exp:
    case ScalarOp::log:
    case ScalarOp::tanh:
    case ScalarOp::erf:
    case ScalarOp::sin:
    case ScalarOp::cos:
      CORTEN_CHECK(n.type == DType::f64);
      return library_call(n.op, a, lanes);
    default:
      internal_error("scalar op {} has no meaning for {}", ir::name(n.op), corten::name(n.type));
  }
}

Value* Emitter::op(const ScalarNode& n, DType arg_type, Value* a, Value* b, Value* c, int lanes) {
  switch (n.op) {
    case ScalarOp::constant:
      return constant(n, lanes);
    case ScalarOp::eq:
    case ScalarOp::ne:
    case ScalarOp::lt:
    case ScalarOp::le:
      return compare(n.op, arg_type, a, b);
    case ScalarOp::select:
      return b_.CreateSelect(a, b, c);
    case ScalarOp::convert:
      return convert(n.type, arg_type, a, lanes);
    case ScalarOp::bitcast:
      return b_.CreateBitCast(a, type(n.type, lanes));
    default:
      return is_float(n.type) ? float_op(n, a, b, c, lanes) : int_op(n, a, b, lanes);
  }
}

}  // namespace corten::codegen
