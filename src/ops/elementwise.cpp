// Element-wise primitives: one scalar expression each.
#include "ops/define.h"

namespace corten::ops {
namespace {

#define BODY static Expr body(const Attrs&, std::span<const Expr> x)
#define VJP static Values vjp(const Attrs&, const Vjp& v)
const Value& grad(const Vjp& v) { return v.grads[0]; }
Value when(const Vjp& v, size_t input, auto&& make) { return v.needed[input] ? make() : Value(); }

struct Add : Elementwise {
  static constexpr auto name = "add"; static constexpr int arity = 2;
  BODY { return x[0].type() == DType::boolean ? x[0] | x[1] : x[0] + x[1]; }
  VJP { return {grad(v), grad(v)}; }
};
struct Sub : Elementwise {
  static constexpr auto name = "sub"; static constexpr int arity = 2;
  BODY { return x[0] - x[1]; }
  VJP { return {grad(v), when(v, 1, [&] { return neg(grad(v)); })}; }
};
struct Mul : Elementwise {
  static constexpr auto name = "mul"; static constexpr int arity = 2;
  BODY { return x[0].type() == DType::boolean ? x[0] & x[1] : x[0] * x[1]; }
  VJP {
    return {when(v, 0, [&] { return grad(v) * v.inputs[1]; }), when(v, 1, [&] { return grad(v) * v.inputs[0]; })};
  }
};
struct Div : Elementwise {
  static constexpr auto name = "div"; static constexpr int arity = 2;
  BODY { return x[0] / x[1]; }
  VJP {  // d(a/b) = da / b - db (a/b) / b
    return {when(v, 0, [&] { return grad(v) / v.inputs[1]; }),
            when(v, 1, [&] { return neg(grad(v) * v.outputs[0] / v.inputs[1]); })};
  }
};
struct Rem : Elementwise {
  static constexpr auto name = "rem"; static constexpr int arity = 2; static constexpr bool no_gradient = true;
  BODY { return rem(x[0], x[1]); }
};
// Minimum and maximum pass half of the gradient to each of two equal operands, as PyTorch.
Values select_grad(const Vjp& v, Value first_wins) {
  Value g = grad(v), half = g * 0.5, zero = full_like(g, 0), tie = eq(v.inputs[0], v.inputs[1]);
  return {when(v, 0, [&] { return where(tie, half, where(first_wins, g, zero)); }),
          when(v, 1, [&] { return where(tie, half, where(first_wins, zero, g)); })};
}
struct Minimum : Elementwise {
  static constexpr auto name = "minimum"; static constexpr int arity = 2;
  BODY { return min(x[0], x[1]); }
  VJP { return select_grad(v, lt(v.inputs[0], v.inputs[1])); }
};
struct Maximum : Elementwise {
  static constexpr auto name = "maximum"; static constexpr int arity = 2;
  BODY { return max(x[0], x[1]); }
  VJP { return select_grad(v, lt(v.inputs[1], v.inputs[0])); }
};

struct Comparison : Elementwise {
  static constexpr int arity = 2; static constexpr bool no_gradient = true;
  static DType result(const Attrs&, const std::vector<DType>& in) {
    if (in[0] != in[1]) usage_error("[compare] operands differ in dtype: {} and {}", corten::name(in[0]), corten::name(in[1]));
    return DType::boolean;
  }
};
struct Eq : Comparison { static constexpr auto name = "eq"; BODY { return x[0] == x[1]; } };
struct Ne : Comparison { static constexpr auto name = "ne"; BODY { return x[0] != x[1]; } };
struct Lt : Comparison { static constexpr auto name = "lt"; BODY { return x[0] < x[1]; } };
struct Le : Comparison { static constexpr auto name = "le"; BODY { return x[0] <= x[1]; } };
struct And : Elementwise {
  static constexpr auto name = "and"; static constexpr int arity = 2; static constexpr bool no_gradient = true;
  BODY { return x[0] & x[1]; }
};
struct Or : Elementwise {
  static constexpr auto name = "or"; static constexpr int arity = 2; static constexpr bool no_gradient = true;
  BODY { return x[0] | x[1]; }
};
struct Xor : Elementwise {
  static constexpr auto name = "xor"; static constexpr int arity = 2; static constexpr bool no_gradient = true;
  BODY { return x[0] ^ x[1]; }
};
struct Not : Elementwise {
  static constexpr auto name = "not"; static constexpr int arity = 1; static constexpr bool no_gradient = true;
  BODY { return !x[0]; }
};
struct Where : Elementwise {
  static constexpr auto name = "where"; static constexpr int arity = 3;
  static DType result(const Attrs&, const std::vector<DType>& in) {
    if (in[0] != DType::boolean || in[1] != in[2])
      usage_error("[where] needs a bool condition and equal dtypes, got {}, {} and {}", corten::name(in[0]),
                  corten::name(in[1]), corten::name(in[2]));
    return in[1];
  }
  BODY { return select(x[0], x[1], x[2]); }
  VJP {
    Value zero = full_like(grad(v), 0);
    return {Value(), when(v, 1, [&] { return where(v.inputs[0], grad(v), zero); }),
            when(v, 2, [&] { return where(v.inputs[0], zero, grad(v)); })};
  }
};

/// The identity: a value of its own in memory, contiguous.
struct Copy : Elementwise {
  static constexpr auto name = "copy"; static constexpr int arity = 1;
  BODY { return x[0]; }
  VJP { return {grad(v)}; }
};
struct Neg : Elementwise {
  static constexpr auto name = "neg"; static constexpr int arity = 1;
  BODY { return -x[0]; }
  VJP { return {neg(grad(v))}; }
};
struct Abs : Elementwise {
  static constexpr auto name = "abs"; static constexpr int arity = 1;
  BODY { return abs(x[0]); }
  VJP { return {grad(v) * sign(v.inputs[0])}; }
};
struct Sign : Elementwise {
  static constexpr auto name = "sign"; static constexpr int arity = 1;
  BODY { return select(x[0] > 0, 1, select(x[0] < 0, -1, x[0])); }
  VJP { return {full_like(grad(v), 0)}; }
};
struct Sqrt : Elementwise {
  static constexpr auto name = "sqrt"; static constexpr int arity = 1;
  BODY { return sqrt(x[0]); }
  VJP { return {grad(v) * 0.5 / v.outputs[0]}; }
};
struct Rsqrt : Elementwise {
  static constexpr auto name = "rsqrt"; static constexpr int arity = 1;
  BODY { return rsqrt(x[0]); }
  VJP { return {grad(v) * -0.5 * v.outputs[0] / v.inputs[0]}; }
};
struct Exp : Elementwise {
  static constexpr auto name = "exp"; static constexpr int arity = 1;
  BODY { return exp(x[0]); }
  VJP { return {grad(v) * v.outputs[0]}; }
};
struct Log : Elementwise {
  static constexpr auto name = "log"; static constexpr int arity = 1;
  BODY { return log(x[0]); }
  VJP { return {grad(v) / v.inputs[0]}; }
};
struct Tanh : Elementwise {
  static constexpr auto name = "tanh"; static constexpr int arity = 1;
  BODY { return tanh(x[0]); }
  VJP { return {grad(v) * sub(1, v.outputs[0] * v.outputs[0])}; }
};
struct Erf : Elementwise {
  static constexpr auto name = "erf"; static constexpr int arity = 1;
  BODY { return erf(x[0]); }
  VJP {  // 2/sqrt(pi) exp(-x^2)
    const Value& x = v.inputs[0];
    return {grad(v) * exp(neg(x * x)) * 1.1283791670955126};
  }
};
struct Sin : Elementwise {
  static constexpr auto name = "sin"; static constexpr int arity = 1;
  BODY { return sin(x[0]); }
  VJP { return {grad(v) * cos(v.inputs[0])}; }
};
struct Cos : Elementwise {
  static constexpr auto name = "cos"; static constexpr int arity = 1;
  BODY { return cos(x[0]); }
  VJP { return {neg(grad(v) * sin(v.inputs[0]))}; }
};
struct Floor : Elementwise {
  static constexpr auto name = "floor"; static constexpr int arity = 1;
  BODY { return floor(x[0]); }
  VJP { return {full_like(grad(v), 0)}; }
};
struct Round : Elementwise {
  static constexpr auto name = "round"; static constexpr int arity = 1;
  BODY { return rint(x[0]); }
  VJP { return {full_like(grad(v), 0)}; }
};
struct Cast : Elementwise {
  static constexpr auto name = "cast"; static constexpr int arity = 1;
  struct Attrs { DType to = DType::f32; CORTEN_FIELDS(to) };
  static DType result(const Attrs& a, const std::vector<DType>&) { return a.to; }
  static Expr body(const Attrs& a, std::span<const Expr> x) {
    if (a.to == DType::boolean) return x[0].type() == DType::boolean ? x[0] : x[0] != 0;
    return convert(x[0], ir::scalar_type(a.to));
  }
  static Values vjp(const Attrs&, const Vjp& v) { return {cast(grad(v), v.inputs[0].dtype())}; }
};
/// Random bits (i32) from seed, step, site and element index (all i64): see ir::philox.
struct Philox : Elementwise {
  static constexpr auto name = "philox"; static constexpr int arity = 4; static constexpr bool no_gradient = true;
  struct Attrs { int64_t word = 0; CORTEN_FIELDS(word) };  // 0 or 1
  static DType result(const Attrs&, const std::vector<DType>&) { return DType::i32; }
  static Expr body(const Attrs& a, std::span<const Expr> x) { return ir::philox(x[0], x[1], x[2], x[3], static_cast<int>(a.word)); }
};
/// f32 in [0, 1) from random bits.
struct Uniform01 : Elementwise {
  static constexpr auto name = "uniform01"; static constexpr int arity = 1; static constexpr bool no_gradient = true;
  static DType result(const Attrs&, const std::vector<DType>&) { return DType::f32; }
  BODY { return ir::uniform01(x[0]); }
};

}  // namespace

CORTEN_OP(Add) CORTEN_OP(Sub) CORTEN_OP(Mul) CORTEN_OP(Div) CORTEN_OP(Rem) CORTEN_OP(Minimum) CORTEN_OP(Maximum)
CORTEN_OP(Eq) CORTEN_OP(Ne) CORTEN_OP(Lt) CORTEN_OP(Le) CORTEN_OP(And) CORTEN_OP(Or) CORTEN_OP(Xor) CORTEN_OP(Not)
CORTEN_OP(Where) CORTEN_OP(Copy) CORTEN_OP(Neg) CORTEN_OP(Abs) CORTEN_OP(Sign) CORTEN_OP(Sqrt) CORTEN_OP(Rsqrt) CORTEN_OP(Exp)
CORTEN_OP(Log) CORTEN_OP(Tanh) CORTEN_OP(Erf) CORTEN_OP(Sin) CORTEN_OP(Cos) CORTEN_OP(Floor) CORTEN_OP(Round)
CORTEN_OP(Cast) CORTEN_OP(Philox) CORTEN_OP(Uniform01)

namespace {
Value broadcast_binary(const Op& op, Value a, Value b) {
  if (a.dims() != b.dims()) {
    Dims dims = ir::broadcast(a.dims(), b.dims());
    a = expand(a, dims);
    b = expand(b, dims);
  }
  return emit1(op, {a, b});
}
}  // namespace

Value add(Value a, Value b) { return broadcast_binary(kAdd, a, b); }
Value sub(Value a, Value b) { return broadcast_binary(kSub, a, b); }
Value mul(Value a, Value b) { return broadcast_binary(kMul, a, b); }
Value div(Value a, Value b) { return broadcast_binary(kDiv, a, b); }
Value rem(Value a, Value b) { return broadcast_binary(kRem, a, b); }
Value minimum(Value a, Value b) { return broadcast_binary(kMinimum, a, b); }
Value maximum(Value a, Value b) { return broadcast_binary(kMaximum, a, b); }
Value eq(Value a, Value b) { return broadcast_binary(kEq, a, b); }
Value ne(Value a, Value b) { return broadcast_binary(kNe, a, b); }
Value lt(Value a, Value b) { return broadcast_binary(kLt, a, b); }
Value le(Value a, Value b) { return broadcast_binary(kLe, a, b); }
Value logical_and(Value a, Value b) { return broadcast_binary(kAnd, a, b); }
Value logical_or(Value a, Value b) { return broadcast_binary(kOr, a, b); }
Value logical_xor(Value a, Value b) { return broadcast_binary(kXor, a, b); }
Value where(Value condition, Value a, Value b) {
  Dims dims = ir::broadcast(condition.dims(), ir::broadcast(a.dims(), b.dims()));
  return emit1(kWhere, {expand(condition, dims), expand(a, dims), expand(b, dims)});
}
Value copy(Value x) { return emit1(kCopy, {x}); }
Value neg(Value x) { return emit1(kNeg, {x}); }
Value abs(Value x) { return emit1(kAbs, {x}); }
Value sign(Value x) { return emit1(kSign, {x}); }
Value sqrt(Value x) { return emit1(kSqrt, {x}); }
Value rsqrt(Value x) { return emit1(kRsqrt, {x}); }
Value exp(Value x) { return emit1(kExp, {x}); }
Value log(Value x) { return emit1(kLog, {x}); }
Value tanh(Value x) { return emit1(kTanh, {x}); }
Value erf(Value x) { return emit1(kErf, {x}); }
Value sin(Value x) { return emit1(kSin, {x}); }
Value cos(Value x) { return emit1(kCos, {x}); }
Value floor(Value x) { return emit1(kFloor, {x}); }
Value round(Value x) { return emit1(kRound, {x}); }
Value logical_not(Value x) { return emit1(kNot, {x}); }
Value cast(Value x, DType to) { return x.dtype() == to ? x : emit1(kCast, {x}, Cast::Attrs{to}); }
Value philox(Value seed, Value step, Value site, Value index, int64_t word) {
  return emit1(kPhilox, {seed, step, site, index}, Philox::Attrs{word});
}
Value uniform01(Value bits) { return emit1(kUniform01, {bits}); }
Value full_like(Value x, double value) { return full(x.dims(), x.dtype(), value); }
Value add(Value a, double b) { return add(a, full_like(a, b)); }
Value sub(Value a, double b) { return sub(a, full_like(a, b)); }
Value sub(double a, Value b) { return sub(full_like(b, a), b); }
Value mul(Value a, double b) { return mul(a, full_like(a, b)); }
Value div(Value a, double b) { return div(a, full_like(a, b)); }
Value div(double a, Value b) { return div(full_like(b, a), b); }
Value where(Value condition, Value a, double b) { return where(condition, a, full_like(a, b)); }

}  // namespace corten::ops
