// Scalar operations as expressions of the prelude's language; see prelude.cpp for what the
// functions mean.
#include <bit>
#include <cmath>

#include "codegen/gpu/emitter.h"

namespace corten::codegen::gpu {

using ir::ScalarNode;
using ir::ScalarOp;

namespace {

bool is_float(DType t) {
  return t == DType::f32 || t == DType::f64;
}

}  // namespace

std::string_view Emitter::type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float";
    case DType::f64:
      return "double";
    case DType::i64:
      return "i64";
    case DType::i32:
      return "int";
    case DType::boolean:
      return "bool";
    default:
      internal_error("{} is no type of scalar values", corten::name(dtype));
  }
}

std::string_view Emitter::memory_type(DType dtype) {
  switch (dtype) {
    case DType::bf16:
    case DType::f16:
      return "uint16";
    case DType::u8:
    case DType::boolean:
    case DType::f8_e4m3:
    case DType::f8_e5m2:
      return "uint8";
    default:
      return type(dtype);
  }
}

std::string Emitter::constant(const ScalarNode& n) const {
  switch (n.type) {
    case DType::f32: {
      const auto bits = static_cast<uint32_t>(n.imm);
      const float x = std::bit_cast<float>(bits);
      if (bits == 0) return "0.0f";
      if (std::isfinite(x) && std::fabs(x) >= 1e-4f && std::fabs(x) < 1e6f &&
          x == std::floor(x * 8) / 8)
        return x < 0 ? format("({:.4f}f)", x) : format("{:.4f}f", x);
      return format("f32({:#x}u)", bits);
    }
    case DType::f64:
      return format("f64({:#x}ull)", static_cast<uint64_t>(n.imm));
    case DType::i64:
      return n.imm >= 0 ? format("{}ll", n.imm)
                        : format("((i64){:#x}ull)", static_cast<uint64_t>(n.imm));
    case DType::boolean:
      return n.imm ? "true" : "false";
    default: {
      const auto x = static_cast<int32_t>(n.imm);
      return x >= 0 ? format("{}", x) : format("((int){:#x}u)", static_cast<uint32_t>(x));
    }
  }
}

std::string Emitter::ref(int32_t id) const {
  const ScalarNode& n = node(id);
  if (n.op == ScalarOp::constant) return constant(n);
  if (n.op == ScalarOp::param) return format("q{}", n.imm);
  if (columns_in_array_.count(id)) return format("r{}[e]", id);
  return format("{}{}", p_.varies[id] ? 'v' : 'u', id);
}

std::string Emitter::op(const ScalarNode& n) const {
  const DType t = n.type;
  const bool floats = is_float(t), boolean = t == DType::boolean;
  const auto arg = [&](int i) { return ref(n.arg[i]); };
  const auto infix = [&](const char* symbol) { return format("{} {} {}", arg(0), symbol, arg(1)); };
  const auto call1 = [&](const char* f) { return format("{}({})", f, arg(0)); };
  const auto call2 = [&](const char* f) { return format("{}({}, {})", f, arg(0), arg(1)); };
  switch (n.op) {
    case ScalarOp::add:
      return floats ? infix("+") : call2("add");
    case ScalarOp::sub:
      return floats ? infix("-") : call2("subtract");
    case ScalarOp::mul:
      return floats ? infix("*") : call2("multiply");
    case ScalarOp::div:
      return call2(floats ? "divide" : "int_divide");
    case ScalarOp::rem:
      return call2("int_remainder");
    case ScalarOp::fma:
      return format("fused({}, {}, {})", arg(0), arg(1), arg(2));
    case ScalarOp::neg:
      return floats ? "-" + arg(0) : call1("negate");
    case ScalarOp::abs:
      return call1(floats ? "absolute" : "int_absolute");
    case ScalarOp::sqrt:
      return call1("root");
    case ScalarOp::min:
      return call2("lower");
    case ScalarOp::max:
      return call2("higher");
    case ScalarOp::floor:
      return call1("round_down");
    case ScalarOp::rint:
      return call1("round_even");
    case ScalarOp::scale:
      return call2("scaled");
    case ScalarOp::eq:
      return infix("==");
    case ScalarOp::ne:
      return infix("!=");
    case ScalarOp::lt:
      return infix("<");
    case ScalarOp::le:
      return infix("<=");
    case ScalarOp::and_:
      return boolean ? infix("&&") : infix("&");
    case ScalarOp::or_:
      return boolean ? infix("||") : infix("|");
    case ScalarOp::xor_:
      return boolean ? infix("!=") : infix("^");
    case ScalarOp::not_:
      return (boolean ? "!" : "~") + arg(0);
    case ScalarOp::shl:
      return call2("shift_left");
    case ScalarOp::lshr:
      return call2("shift_right");
    case ScalarOp::ashr:
      return call2("shift_right_signed");
    case ScalarOp::umulhi:
      return call2("multiply_high");
    case ScalarOp::select:
      return format("{} ? {} : {}", arg(0), arg(1), arg(2));
    case ScalarOp::convert: {
      const DType from = node(n.arg[0]).type;
      if (boolean) return arg(0) + " != 0";
      if (is_float(from) && !floats) return call1(t == DType::i32 ? "to_i32" : "to_i64");
      return format("({}){}", type(t), arg(0));
    }
    case ScalarOp::bitcast:
      return format("bit_copy<{}>({})", type(t), arg(0));
    case ScalarOp::round_bf16:
    case ScalarOp::round_f16:
    case ScalarOp::round_e4m3:
    case ScalarOp::round_e5m2: {
      const DType rounded = *ir::rounded_type(n.op);
      return from_memory(rounded, stored(rounded, arg(0)));
    }
    case ScalarOp::exp:
    case ScalarOp::log:
    case ScalarOp::tanh:
    case ScalarOp::erf:
    case ScalarOp::sin:
    case ScalarOp::cos:
      CORTEN_CHECK(t == DType::f64);
      return format("{}({})", ir::name(n.op), arg(0));
    case ScalarOp::rsqrt:
      return format("divide({}, root({}))", t == DType::f64 ? "1.0" : "1.0f", arg(0));
    default:
      internal_error("scalar op {} is no expression", ir::name(n.op));
  }
}

std::string Emitter::combine(int32_t reduce, const std::string& a, const std::string& b) const {
  const char* f = node(reduce).op == ScalarOp::reduce_sum   ? "add"
                  : node(reduce).op == ScalarOp::reduce_max ? "higher"
                                                            : "lower";
  return format("{}({}, {})", f, a, b);
}

std::string Emitter::identity(int32_t reduce) const {
  const ScalarNode& n = node(reduce);
  const bool max = n.op == ScalarOp::reduce_max;
  const bool sum = n.op == ScalarOp::reduce_sum;
  switch (n.type) {
    case DType::f32:
      return sum ? "0.0f" : max ? "f32(0xff800000u)" : "f32(0x7f800000u)";
    case DType::f64:
      return sum ? "0.0" : max ? "f64(0xfff0000000000000ull)" : "f64(0x7ff0000000000000ull)";
    case DType::i64:
      return sum ? "0ll" : max ? "((i64)0x8000000000000000ull)" : "0x7fffffffffffffffll";
    default:
      return sum ? "0" : max ? "((int)0x80000000u)" : "0x7fffffff";
  }
}

}  // namespace corten::codegen::gpu
