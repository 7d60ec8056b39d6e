// The scalar language: what a kernel computes for one element.
//
// A Body is a hash-consed DAG of scalar expressions. Element-wise ops state their meaning as a function from Expr to
// Expr; kernels (ir/kernel.h) add loads, indices and row reductions as leaves. There is one definition and four readers:
// the interpreter (exact and double), the LLVM emitter, text, and later GPU emitters.
//
// Every operation rounds once, as IEEE 754 says (no contraction: fma only where written). Values have one of the scalar
// types f32, f64, i64, i32 and boolean; smaller floating types are held as f32 and u8 values as i32 (see scalar_type), and
// round_to() marks where they are rounded.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "corten/dtype.h"

namespace corten::ir {

// name, number of arguments
#define CORTEN_SCALAR_OPS(X)                                                                     \
  X(constant, 0)  /* imm: a value of the node's type */                                           \
  X(param, 0)     /* imm: index of a run-time scalar, so that a number never needs a new kernel */ \
  X(load, 1)      /* imm: access; argument: value where a guard fails, or -1 without guards */     \
  X(index, 0)     /* imm: access without operand; its affine value as i64 */                       \
  X(reduce_sum, 1) X(reduce_max, 1) X(reduce_min, 1) /* imm: tree; over the row, see Tree */       \
  X(add, 2) X(sub, 2) X(mul, 2)                                                                   \
  X(div, 2)       /* integers: truncates; division by zero gives 0 */                             \
  X(rem, 2)       /* integers only: sign of the dividend; by zero gives 0 */                      \
  X(fma, 3) X(neg, 1) X(abs, 1) X(sqrt, 1)                                                        \
  X(min, 2) X(max, 2)  /* floats: NaN if either is NaN (IEEE minimum, maximum) */                  \
  X(floor, 1) X(rint, 1)  /* rint: to nearest, ties to even */                                     \
  X(scale, 2)     /* f32 x, n: x 2^n rounded once; 1/2 <= |x| < 2 or NaN, n an integer in [-160, 160] */ \
  X(eq, 2) X(ne, 2) X(lt, 2) X(le, 2) /* boolean; with NaN only ne is true */                     \
  X(and_, 2) X(or_, 2) X(xor_, 2) X(not_, 1) /* integers bitwise, booleans */                     \
  X(shl, 2) X(lshr, 2) X(ashr, 2) /* integers; counts below the width */                          \
  X(umulhi, 2)    /* i32 as unsigned: high half of the 64-bit product */                          \
  X(select, 3)    /* boolean ? a : b */                                                           \
  X(convert, 1)   /* to the node's type: float to int truncates and saturates, NaN gives 0; to    \
                     boolean: != 0 */                                                             \
  X(bitcast, 1)   /* f32 <-> i32, f64 <-> i64 */                                                  \
  X(round_bf16, 1) /* f32 to the nearest bf16 (ties to even, |x| < 2^-126 gives signed zero) */    \
  X(round_f16, 1) /* f32 to the nearest f16 (ties to even, subnormals kept) */                     \
  X(round_e4m3, 1) X(round_e5m2, 1) /* f32 to the nearest of the 8-bit types: see base/float8.h */ \
  X(exp, 1) X(log, 1) X(tanh, 1) X(erf, 1) X(sin, 1) X(cos, 1)  /* f32: see expand_math */        \
  X(rsqrt, 1)     /* 1 / sqrt(x), two roundings */

enum class ScalarOp : uint8_t {
#define CORTEN_X(name, arity) name,
  CORTEN_SCALAR_OPS(CORTEN_X)
#undef CORTEN_X
};
std::string_view name(ScalarOp op);
int arity(ScalarOp op);

/// The tree of a reduction, fixed when the op is created (numerics contract, point 2). Element i of the reduced axis
/// belongs to chunk i / chunk and in it to lane (i % chunk) % lanes. A lane adds its elements in ascending order,
/// starting from the identity (+0 for sums, -inf / lowest for max, +inf / highest for min); lanes are combined by
/// halves (lane j with lane j + n/2, n = lanes, lanes/2, ..., 2); chunks are then combined pairwise: neighbours
/// (0,1), (2,3), ..., an odd last one is carried, until one is left. Appending identities changes nothing.
/// {1, 1} is the pure pairwise tree.
struct Tree {
  int32_t lanes = 1, chunk = 1;
  bool operator==(const Tree&) const = default;
};
inline constexpr Tree kRowTree{64, 1024};   // reductions over the last axis
inline constexpr Tree kColumnTree{1, 64};   // over any other axis: vector lanes are the columns
inline constexpr Tree kPairwiseTree{1, 1};  // combines the partial results of chunks

/// The type that values of `dtype` have in the scalar language: floating types below 32 bits -> f32; u8 -> i32; others
/// themselves.
DType scalar_type(DType dtype);

struct ScalarNode {
  ScalarOp op;
  DType type;
  int32_t arg[3] = {-1, -1, -1};
  int64_t imm = 0;  // constant: bits of the value (f32 in the low half); see the op list
  bool operator==(const ScalarNode&) const = default;
};

class Body;

/// A node of a Body. Operators build nodes in the same body; a C++ number becomes a constant of the other side's type.
struct Expr {
  Body* body = nullptr;
  int32_t id = -1;
  DType type() const;
};

class Body {
 public:
  /// Adds a node, or finds the equal one. Folds nothing.
  Expr add(ScalarNode node);
  const std::vector<ScalarNode>& nodes() const { return nodes_; }
  const ScalarNode& node(int32_t id) const { return nodes_[id]; }

  Expr constant(DType type, double value);      // type: f32, f64 (rounded once), integers, boolean
  Expr constant_int(DType type, int64_t value);
  Expr param(DType type, int index) { return add({ScalarOp::param, type, {}, index}); }
  Expr load(DType type, int access, int32_t otherwise = -1) {
    return add({ScalarOp::load, type, {otherwise, -1, -1}, access});
  }
  Expr index(int access) { return add({ScalarOp::index, DType::i64, {}, access}); }
  Expr reduce(ScalarOp op, Expr x, Tree tree) {
    return add({op, x.type(), {x.id, -1, -1}, int64_t{tree.lanes} << 32 | tree.chunk});
  }
  static Tree tree(const ScalarNode& n) {
    return {static_cast<int32_t>(n.imm >> 32), static_cast<int32_t>(n.imm)};
  }

 private:
  struct Hash {
    size_t operator()(const ScalarNode& n) const;
  };
  std::vector<ScalarNode> nodes_;
  std::unordered_map<ScalarNode, int32_t, Hash> ids_;
};

inline DType Expr::type() const { return body->node(id).type; }

inline Expr unary(ScalarOp op, Expr x) { return x.body->add({op, x.type(), {x.id, -1, -1}}); }
inline Expr binary(ScalarOp op, Expr a, Expr b) { return a.body->add({op, a.type(), {a.id, b.id, -1}}); }
inline Expr compare(ScalarOp op, Expr a, Expr b) {
  return a.body->add({op, DType::boolean, {a.id, b.id, -1}});
}
inline Expr literal(Expr like, double value) { return like.body->constant(like.type(), value); }

#define CORTEN_X(symbol, op_name)                                                                     \
  inline Expr symbol(Expr a, Expr b) { return binary(ScalarOp::op_name, a, b); }                       \
  inline Expr symbol(Expr a, double b) { return binary(ScalarOp::op_name, a, literal(a, b)); }         \
  inline Expr symbol(double a, Expr b) { return binary(ScalarOp::op_name, literal(b, a), b); }
CORTEN_X(operator+, add) CORTEN_X(operator-, sub) CORTEN_X(operator*, mul) CORTEN_X(operator/, div)
CORTEN_X(min, min) CORTEN_X(max, max) CORTEN_X(rem, rem)
#undef CORTEN_X
#define CORTEN_X(symbol, op_name)                                                                     \
  inline Expr symbol(Expr a, Expr b) { return compare(ScalarOp::op_name, a, b); }                      \
  inline Expr symbol(Expr a, double b) { return compare(ScalarOp::op_name, a, literal(a, b)); }
CORTEN_X(operator==, eq) CORTEN_X(operator!=, ne) CORTEN_X(operator<, lt) CORTEN_X(operator<=, le)
#undef CORTEN_X
inline Expr operator>(Expr a, Expr b) { return compare(ScalarOp::lt, b, a); }
inline Expr operator>(Expr a, double b) { return compare(ScalarOp::lt, literal(a, b), a); }
inline Expr operator>=(Expr a, Expr b) { return compare(ScalarOp::le, b, a); }
inline Expr operator>=(Expr a, double b) { return compare(ScalarOp::le, literal(a, b), a); }
inline Expr operator-(Expr a) { return unary(ScalarOp::neg, a); }
inline Expr operator&(Expr a, Expr b) { return binary(ScalarOp::and_, a, b); }
inline Expr operator|(Expr a, Expr b) { return binary(ScalarOp::or_, a, b); }
inline Expr operator^(Expr a, Expr b) { return binary(ScalarOp::xor_, a, b); }
inline Expr operator!(Expr a) { return unary(ScalarOp::not_, a); }
inline Expr shl(Expr a, int n) { return binary(ScalarOp::shl, a, a.body->constant_int(a.type(), n)); }
inline Expr lshr(Expr a, int n) { return binary(ScalarOp::lshr, a, a.body->constant_int(a.type(), n)); }
inline Expr ashr(Expr a, int n) { return binary(ScalarOp::ashr, a, a.body->constant_int(a.type(), n)); }
inline Expr umulhi(Expr a, Expr b) { return binary(ScalarOp::umulhi, a, b); }
inline Expr fma(Expr a, Expr b, Expr c) { return a.body->add({ScalarOp::fma, a.type(), {a.id, b.id, c.id}}); }
inline Expr scale(Expr x, Expr n) { return binary(ScalarOp::scale, x, n); }
inline Expr fma(Expr a, Expr b, double c) { return fma(a, b, literal(a, c)); }
inline Expr select(Expr c, Expr a, Expr b) { return a.body->add({ScalarOp::select, a.type(), {c.id, a.id, b.id}}); }
inline Expr select(Expr c, Expr a, double b) { return select(c, a, literal(a, b)); }
inline Expr select(Expr c, double a, Expr b) { return select(c, literal(b, a), b); }
#define CORTEN_X(function) inline Expr function(Expr x) { return unary(ScalarOp::function, x); }
CORTEN_X(abs) CORTEN_X(sqrt) CORTEN_X(floor) CORTEN_X(rint) CORTEN_X(exp) CORTEN_X(log) CORTEN_X(tanh)
CORTEN_X(erf) CORTEN_X(sin) CORTEN_X(cos) CORTEN_X(rsqrt)
#undef CORTEN_X
inline Expr convert(Expr x, DType to) {
  return x.type() == to ? x : x.body->add({ScalarOp::convert, to, {x.id, -1, -1}});
}
inline Expr bitcast(Expr x, DType to) { return x.body->add({ScalarOp::bitcast, to, {x.id, -1, -1}}); }

/// Rounds a value of scalar_type(dtype) to what a tensor of `dtype` can hold (small floating types: once; u8: modulo 256).
Expr round_to(DType dtype, Expr x);
/// The type that a round_* op rounds to.
std::optional<DType> rounded_type(ScalarOp op);

/// The meaning of the f32 functions exp, log, tanh, erf, sin, cos, rsqrt in terms of the arithmetic above: our own
/// polynomials with explicit fma, so that every CPU and GPU gives the same bits. `x` is f32. Error bounds over all 2^32
/// inputs are stated with each expansion in scalar_math.cpp. f64 functions are the C library's.
Expr expand_math(ScalarOp op, Expr x);

/// Uniform random bits: word 0 or 1 of Philox-4x32-10 (Salmon et al., SC'11) with key = seed (i64) and 128-bit counter
/// = {element index (i64), step (low half, i32), site (i32)}. All arguments are i64 expressions; gives i32.
Expr philox(Expr seed, Expr step, Expr site, Expr index, int word = 0);
/// Uniform f32 in [0, 1): the upper 24 bits of `bits` times 2^-24.
Expr uniform01(Expr bits);

/// One line per node, for dumps and kernel text.
std::string to_string(const Body& body);

/// Arithmetic of the interpreter.
enum class Precision {
  exact,    ///< to the bit what kernels compute
  real,     ///< every float operation in double, functions from the C library, no rounding: an oracle for accuracy
};
/// A scalar value of the interpreter: f holds floats (f32 as an exactly represented double), i holds the rest.
struct ScalarValue {
  double f = 0;
  int64_t i = 0;
};
/// Evaluates one node (not load, index, param, reduce) from its arguments' values.
ScalarValue eval(const ScalarNode& node, DType arg_type, std::span<const ScalarValue> args, Precision precision);

}  // namespace corten::ir
