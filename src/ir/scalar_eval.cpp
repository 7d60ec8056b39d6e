// The interpreter of the scalar language: one node at a time.
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/format.h"
#include "base/float8.h"
#include "ir/scalar.h"

namespace corten::ir {
namespace {

// IEEE 754-2019 minimum and maximum: NaN if either is NaN, -0 below +0.
template <typename T>
T minimum(T a, T b) {
  if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
  if (a == b) return std::signbit(a) ? a : b;
  return a < b ? a : b;
}
template <typename T>
T maximum(T a, T b) {
  if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
  if (a == b) return std::signbit(a) ? b : a;
  return a < b ? b : a;
}

// Truncates and saturates; NaN gives 0.
template <typename Int>
int64_t to_integer(double x) {
  constexpr double kLow = static_cast<double>(std::numeric_limits<Int>::min());  // exact: -2^k
  if (std::isnan(x)) return 0;
  if (x < kLow) return std::numeric_limits<Int>::min();
  if (x >= -kLow) return std::numeric_limits<Int>::max();
  return static_cast<Int>(x);
}

// Arithmetic and functions on one floating type. f32 functions are not here: they are expanded.
template <typename T>
double eval_float(const ScalarNode& n, std::span<const ScalarValue> args) {
  const auto arg = [&](size_t i) { return static_cast<T>(args[i].f); };
  switch (n.op) {
    case ScalarOp::add:
      return arg(0) + arg(1);
    case ScalarOp::sub:
      return arg(0) - arg(1);
    case ScalarOp::mul:
      return arg(0) * arg(1);
    case ScalarOp::div:
      return arg(0) / arg(1);
    case ScalarOp::fma:
      return std::fma(arg(0), arg(1), arg(2));
    case ScalarOp::neg:
      return -arg(0);
    case ScalarOp::abs:
      return std::fabs(arg(0));
    case ScalarOp::sqrt:
      return std::sqrt(arg(0));
    case ScalarOp::min:
      return minimum(arg(0), arg(1));
    case ScalarOp::max:
      return maximum(arg(0), arg(1));
    case ScalarOp::floor:
      return std::floor(arg(0));
    case ScalarOp::rint:
      return std::nearbyint(arg(0));  // the library runs in round-to-nearest-even
    case ScalarOp::scale:
      return std::isnan(arg(0)) ? arg(0) : std::ldexp(arg(0), static_cast<int>(arg(1)));
    case ScalarOp::exp:
      return std::exp(arg(0));
    case ScalarOp::log:
      return std::log(arg(0));
    case ScalarOp::tanh:
      return std::tanh(arg(0));
    case ScalarOp::erf:
      return std::erf(arg(0));
    case ScalarOp::sin:
      return std::sin(arg(0));
    case ScalarOp::cos:
      return std::cos(arg(0));
    case ScalarOp::rsqrt:
      return T{1} / std::sqrt(arg(0));
    default:
      internal_error("scalar op {} has no meaning for {}", name(n.op), corten::name(n.type));
  }
}

// Two's complement arithmetic modulo 2^width, on values held sign-extended in 64 bits.
template <typename Int>
int64_t eval_integer(const ScalarNode& n, std::span<const ScalarValue> args) {
  using Unsigned = std::make_unsigned_t<Int>;
  constexpr Unsigned kWidth = sizeof(Int) * 8;
  const auto arg = [&](size_t i) { return static_cast<Int>(args[i].i); };
  const auto bits = [&](size_t i) { return static_cast<Unsigned>(args[i].i); };
  const auto count = [&] { return bits(1) & (kWidth - 1); };
  switch (n.op) {
    case ScalarOp::add:
      return static_cast<Int>(bits(0) + bits(1));
    case ScalarOp::sub:
      return static_cast<Int>(bits(0) - bits(1));
    case ScalarOp::mul:
      return static_cast<Int>(bits(0) * bits(1));
    case ScalarOp::div:
      if (arg(1) == 0) return 0;
      return arg(1) == -1 ? static_cast<Int>(-bits(0)) : static_cast<Int>(arg(0) / arg(1));
    case ScalarOp::rem:
      return arg(1) == 0 || arg(1) == -1 ? 0 : static_cast<Int>(arg(0) % arg(1));
    case ScalarOp::neg:
      return static_cast<Int>(-bits(0));
    case ScalarOp::abs:
      return static_cast<Int>(arg(0) < 0 ? -bits(0) : bits(0));
    case ScalarOp::min:
      return arg(0) < arg(1) ? arg(0) : arg(1);
    case ScalarOp::max:
      return arg(0) < arg(1) ? arg(1) : arg(0);
    case ScalarOp::and_:
      return static_cast<Int>(bits(0) & bits(1));
    case ScalarOp::or_:
      return static_cast<Int>(bits(0) | bits(1));
    case ScalarOp::xor_:
      return static_cast<Int>(bits(0) ^ bits(1));
    case ScalarOp::not_:
      return static_cast<Int>(~bits(0));
    case ScalarOp::shl:
      return static_cast<Int>(bits(0) << count());
    case ScalarOp::lshr:
      return static_cast<Int>(bits(0) >> count());
    case ScalarOp::ashr:
      return static_cast<Int>(arg(0) >> count());
    case ScalarOp::umulhi:
      return static_cast<Int>(static_cast<uint64_t>(bits(0)) * bits(1) >> 32);
    default:
      internal_error("scalar op {} has no meaning for {}", name(n.op), corten::name(n.type));
  }
}

int64_t eval_boolean(const ScalarNode& n, std::span<const ScalarValue> args) {
  switch (n.op) {
    case ScalarOp::and_:
      return args[0].i & args[1].i;
    case ScalarOp::or_:
      return args[0].i | args[1].i;
    case ScalarOp::xor_:
      return args[0].i ^ args[1].i;
    case ScalarOp::not_:
      return args[0].i ^ 1;
    default:
      internal_error("scalar op {} has no meaning for bool", name(n.op));
  }
}

template <typename T>
bool compare(ScalarOp op, T a, T b) {
  switch (op) {
    case ScalarOp::eq:
      return a == b;
    case ScalarOp::ne:
      return a != b;
    case ScalarOp::lt:
      return a < b;
    default:
      return a <= b;
  }
}

ScalarValue convert(DType to, DType from, ScalarValue x, Precision precision) {
  if (is_floating(from)) switch (to) {
      case DType::f32:
        if (precision == Precision::exact) x.f = static_cast<float>(x.f);
        return x;
      case DType::f64:
        return x;
      case DType::i64:
        return {0, to_integer<int64_t>(x.f)};
      case DType::i32:
        return {0, to_integer<int32_t>(x.f)};
      default:
        return {0, x.f != 0};
    }
  switch (to) {
    case DType::f32:  // one rounding: not by way of f64
      if (precision == Precision::exact) return {static_cast<float>(x.i), 0};
      return {static_cast<double>(x.i), 0};
    case DType::f64:
      return {static_cast<double>(x.i), 0};
    case DType::i64:
      return x;
    case DType::i32:
      return {0, static_cast<int32_t>(x.i)};
    default:
      return {0, x.i != 0};
  }
}

ScalarValue bitcast(DType to, ScalarValue x) {
  switch (to) {
    case DType::i32:
      return {0, std::bit_cast<int32_t>(static_cast<float>(x.f))};
    case DType::f32:
      return {std::bit_cast<float>(static_cast<int32_t>(x.i)), 0};
    case DType::i64:
      return {0, std::bit_cast<int64_t>(x.f)};
    default:
      return {std::bit_cast<double>(x.i), 0};
  }
}

bool is_function(ScalarOp op) {
  return op >= ScalarOp::exp;
}

// The expansion of an f32 function, made once: node 0 is the argument.
struct Expansion {
  Body body;
  int32_t root = -1;
};
ScalarValue eval_expansion(ScalarOp op, ScalarValue x) {
  constexpr auto kFirst = static_cast<size_t>(ScalarOp::exp);
  constexpr auto kCount = static_cast<size_t>(ScalarOp::rsqrt) - kFirst + 1;
  static const auto expansions = [] {
    std::array<Expansion, kCount> all;
    for (size_t i = 0; i < kCount; ++i) {
      const Expr arg = all[i].body.param(DType::f32, 0);
      all[i].root = expand_math(static_cast<ScalarOp>(kFirst + i), arg).id;
    }
    return all;
  }();
  const Expansion& e = expansions[static_cast<size_t>(op) - kFirst];
  std::vector<ScalarValue> values(e.body.nodes().size());
  values[0] = x;
  for (size_t id = 1; id < values.size(); ++id) {
    const ScalarNode& n = e.body.nodes()[id];
    ScalarValue args[3];
    int count = 0;
    for (; count < 3 && n.arg[count] >= 0; ++count) args[count] = values[n.arg[count]];
    const DType type = count > 0 ? e.body.node(n.arg[0]).type : n.type;
    values[id] = eval(n, type, {args, static_cast<size_t>(count)}, Precision::exact);
  }
  return values[e.root];
}

}  // namespace

ScalarValue eval(const ScalarNode& n, DType arg_type, std::span<const ScalarValue> args,
                 Precision precision) {
  const bool exact = precision == Precision::exact;
  switch (n.op) {
    case ScalarOp::constant:
      if (n.type == DType::f32) return {std::bit_cast<float>(static_cast<uint32_t>(n.imm)), 0};
      if (n.type == DType::f64) return {std::bit_cast<double>(n.imm), 0};
      return {0, n.imm};
    case ScalarOp::eq:
    case ScalarOp::ne:
    case ScalarOp::lt:
    case ScalarOp::le:
      return {0, is_floating(arg_type) ? compare(n.op, args[0].f, args[1].f)
                                       : compare(n.op, args[0].i, args[1].i)};
    case ScalarOp::select:
      return args[0].i ? args[1] : args[2];
    case ScalarOp::convert:
      return convert(n.type, arg_type, args[0], precision);
    case ScalarOp::bitcast:
      return bitcast(n.type, args[0]);
    case ScalarOp::round_bf16:
      if (!exact) return args[0];
      return {from_bf16(to_bf16(static_cast<float>(args[0].f))), 0};
    case ScalarOp::round_f16:
      if (!exact) return args[0];
      return {from_f16(to_f16(static_cast<float>(args[0].f))), 0};
    case ScalarOp::round_e4m3:
      if (!exact) return args[0];
      return {from_e4m3(to_e4m3(static_cast<float>(args[0].f))), 0};
    case ScalarOp::round_e5m2:
      if (!exact) return args[0];
      return {from_e5m2(to_e5m2(static_cast<float>(args[0].f))), 0};
    default:
      break;
  }
  switch (n.type) {
    case DType::f32:
      if (!exact) return {eval_float<double>(n, args), 0};
      if (is_function(n.op)) return eval_expansion(n.op, args[0]);
      return {eval_float<float>(n, args), 0};
    case DType::f64:
      return {eval_float<double>(n, args), 0};
    case DType::i64:
      return {0, eval_integer<int64_t>(n, args)};
    case DType::i32:
      return {0, eval_integer<int32_t>(n, args)};
    case DType::boolean:
      return {0, eval_boolean(n, args)};
    default:
      internal_error("scalar op {} of type {}", name(n.op), corten::name(n.type));
  }
}

}  // namespace corten::ir
