// The scalar language: building, text, every operation's edge cases, rounding, random numbers.
#include "ir/scalar.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "base/float8.h"
#include "block_eval.h"
#include "corten/error.h"

namespace corten::ir {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kTiny = std::numeric_limits<float>::denorm_min();
constexpr int32_t kMin32 = std::numeric_limits<int32_t>::min();
constexpr int32_t kMax32 = std::numeric_limits<int32_t>::max();
constexpr int64_t kMin64 = std::numeric_limits<int64_t>::min();
constexpr int64_t kMax64 = std::numeric_limits<int64_t>::max();

// Evaluates a body whose parameters are `params`.
ScalarValue evaluate(const Body& body, int32_t root, const std::vector<ScalarValue>& params,
                     Precision precision = Precision::exact) {
  std::vector<ScalarValue> values;
  for (const ScalarNode& n : body.nodes()) {
    if (n.op == ScalarOp::param) {
      values.push_back(params.at(n.imm));
      continue;
    }
    ScalarValue args[3];
    size_t count = 0;
    for (; count < 3 && n.arg[count] >= 0; ++count) args[count] = values[n.arg[count]];
    const DType type = count > 0 ? body.node(n.arg[0]).type : n.type;
    values.push_back(eval(n, type, {args, count}, precision));
  }
  return values.at(root);
}

ScalarValue apply(ScalarOp op, DType type, DType arg_type, std::vector<ScalarValue> args,
                  Precision precision = Precision::exact) {
  return eval({op, type}, arg_type, args, precision);
}
float f32(ScalarOp op, float a, float b = 0, float c = 0) {
  return static_cast<float>(apply(op, DType::f32, DType::f32, {{a, 0}, {b, 0}, {c, 0}}).f);
}
double f64(ScalarOp op, double a, double b = 0, double c = 0) {
  return apply(op, DType::f64, DType::f64, {{a, 0}, {b, 0}, {c, 0}}).f;
}
int64_t integer(DType type, ScalarOp op, int64_t a, int64_t b = 0) {
  return apply(op, type, type, {{0, a}, {0, b}}).i;
}
int64_t i32(ScalarOp op, int64_t a, int64_t b = 0) {
  return integer(DType::i32, op, a, b);
}
int64_t i64(ScalarOp op, int64_t a, int64_t b = 0) {
  return integer(DType::i64, op, a, b);
}
int64_t compare_f32(ScalarOp op, float a, float b) {
  return apply(op, DType::boolean, DType::f32, {{a, 0}, {b, 0}}).i;
}
bool same(float a, float b) {  // to the bit, but any NaN equals any
  return (std::isnan(a) && std::isnan(b)) ||
         std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}
#define EXPECT_SAME(a, b) EXPECT_PRED2(same, a, b)

TEST(Body, EqualNodesAreOne) {
  Body body;
  const Expr x = body.param(DType::f32, 0), y = body.param(DType::f32, 1);
  EXPECT_EQ((x * 2.0 + y).id, (x * 2.0 + y).id);
  EXPECT_NE((x + y).id, (y + x).id);  // nothing is reordered
  EXPECT_NE(body.constant(DType::f32, 0.0).id, body.constant(DType::f32, -0.0).id);
  EXPECT_NE(body.constant(DType::f32, 1).id, body.constant(DType::f64, 1).id);
  EXPECT_NE(body.param(DType::f32, 0).id, body.param(DType::f32, 1).id);
  EXPECT_EQ(body.constant(DType::f32, 0.1).id, body.constant(DType::f32, 0.1f).id);
  EXPECT_EQ(body.constant_int(DType::i32, 0xffffffff).id, body.constant_int(DType::i32, -1).id);
  EXPECT_EQ(body.constant(DType::i64, 7).id, body.constant_int(DType::i64, 7).id);
  EXPECT_NE(body.reduce(ScalarOp::reduce_sum, x, kRowTree).id,
            body.reduce(ScalarOp::reduce_sum, x, kColumnTree).id);
  EXPECT_EQ(convert(x, DType::f32).id, x.id);
  const size_t size = body.nodes().size();
  expand_math(ScalarOp::sin, x);
  const size_t grown = body.nodes().size();
  expand_math(ScalarOp::sin, x);
  EXPECT_GT(grown, size);
  EXPECT_EQ(body.nodes().size(), grown);
}

TEST(Body, HashConsingHoldsForManyNodes) {
  Body body;
  std::vector<int32_t> ids;
  for (int i = 0; i < 5000; ++i) ids.push_back(body.constant_int(DType::i64, i).id);
  for (int i = 0; i < 5000; ++i) EXPECT_EQ(body.constant_int(DType::i64, i).id, ids[i]);
  EXPECT_EQ(body.nodes().size(), 5000u);
}

TEST(Body, RefusesIllTypedNodes) {
  Body body;
  const Expr x = body.param(DType::f32, 0), i = body.param(DType::i32, 1),
             b = body.param(DType::boolean, 2), d = body.param(DType::f64, 3);
  EXPECT_THROW(binary(ScalarOp::add, x, i), Error);
  EXPECT_THROW(binary(ScalarOp::add, x, d), Error);
  EXPECT_THROW(x & x, Error);
  EXPECT_THROW(b + b, Error);
  EXPECT_THROW(unary(ScalarOp::sqrt, i), Error);
  EXPECT_THROW(rem(x, x), Error);
  EXPECT_THROW(select(x, x, x), Error);
  EXPECT_THROW(bitcast(x, DType::i64), Error);
  EXPECT_THROW(umulhi(convert(i, DType::i64), convert(i, DType::i64)), Error);
  EXPECT_THROW(unary(ScalarOp::round_bf16, d), Error);
  EXPECT_THROW(body.param(DType::bf16, 0), Error);
  EXPECT_THROW(body.add({ScalarOp::neg, DType::f32, {99, -1, -1}}), Error);
  EXPECT_THROW(body.add({ScalarOp::neg, DType::f32}), Error);
  EXPECT_THROW(expand_math(ScalarOp::exp, d), Error);
  EXPECT_THROW(expand_math(ScalarOp::add, x), Error);
}

TEST(Body, Text) {
  Body body;
  const Expr x = body.load(DType::f32, 0);
  const Expr sum = body.reduce(ScalarOp::reduce_sum, fma(x, x, 0.5), kRowTree);
  const Expr index = body.index(1);
  const Expr mask = body.constant_int(DType::i64, -3);
  const Expr inside = (index & mask) < 4;
  select(inside, sum, body.load(DType::f32, 2, x.id));
  body.constant(DType::f32, -0.0);
  body.constant(DType::f32, kNaN);
  body.constant(DType::f64, 0.1);
  body.constant(DType::f32, 0.1);
  body.constant(DType::boolean, 1);
  body.param(DType::i32, 3);
  EXPECT_EQ(to_string(body),
            "%0 = f32 load @0\n"
            "%1 = f32 constant 0.5\n"
            "%2 = f32 fma %0 %0 %1\n"
            "%3 = f32 reduce_sum %2 tree 64x1024\n"
            "%4 = i64 index @1\n"
            "%5 = i64 constant -3\n"
            "%6 = i64 and %4 %5\n"
            "%7 = i64 constant 4\n"
            "%8 = bool lt %6 %7\n"
            "%9 = f32 load %0 @2\n"
            "%10 = f32 select %8 %3 %9\n"
            "%11 = f32 constant -0\n"
            "%12 = f32 constant nan:0x7fc00000\n"
            "%13 = f64 constant 0.1\n"
            "%14 = f32 constant 0.1\n"
            "%15 = bool constant true\n"
            "%16 = i32 param @3\n");
  EXPECT_EQ(Body::tree(body.node(3)), kRowTree);
}

TEST(Eval, F32RoundsOnce) {
  EXPECT_SAME(f32(ScalarOp::add, 1, 0x1p-24f), 1.0f);
  EXPECT_SAME(f32(ScalarOp::add, 1, 0x1.000002p-24f), 0x1.000002p0f);
  EXPECT_SAME(f32(ScalarOp::sub, 0x1p-126f, 0x1.8p-127f), 0x1p-128f);
  EXPECT_SAME(f32(ScalarOp::mul, kTiny, 0.5f), 0.0f);
  EXPECT_SAME(f32(ScalarOp::mul, -kTiny, 0.5f), -0.0f);
  EXPECT_SAME(f32(ScalarOp::mul, 0x1p127f, 2), kInf);
  EXPECT_SAME(f32(ScalarOp::div, 1, 0), kInf);
  EXPECT_SAME(f32(ScalarOp::div, -1, 0), -kInf);
  EXPECT_SAME(f32(ScalarOp::div, 0, 0), kNaN);
  EXPECT_SAME(f32(ScalarOp::div, 1, 3), 0x1.555556p-2f);
  EXPECT_SAME(f32(ScalarOp::sqrt, 2), 0x1.6a09e6p0f);
  EXPECT_SAME(f32(ScalarOp::sqrt, -0.0f), -0.0f);
  EXPECT_SAME(f32(ScalarOp::sqrt, -1), kNaN);
  EXPECT_SAME(f32(ScalarOp::rsqrt, 0), kInf);
  EXPECT_SAME(f32(ScalarOp::rsqrt, 3), 1 / std::sqrt(3.0f));
  EXPECT_SAME(f32(ScalarOp::neg, 0), -0.0f);
  EXPECT_SAME(f32(ScalarOp::abs, -0.0f), 0.0f);
  EXPECT_SAME(f32(ScalarOp::floor, -0.5f), -1.0f);
  EXPECT_SAME(f32(ScalarOp::floor, -0.0f), -0.0f);
  EXPECT_SAME(f32(ScalarOp::rint, 2.5f), 2.0f);
  EXPECT_SAME(f32(ScalarOp::rint, 3.5f), 4.0f);
  EXPECT_SAME(f32(ScalarOp::rint, -0.25f), -0.0f);
  EXPECT_SAME(f32(ScalarOp::scale, 1.5f, 3), 12.0f);
  EXPECT_SAME(f32(ScalarOp::scale, -0.75f, -160), -0.0f);
  EXPECT_SAME(f32(ScalarOp::scale, 1.5f, -149), 0x1p-148f);  // a tie, to even
  EXPECT_SAME(f32(ScalarOp::scale, 0x1.8p0f, -140), 0x1.8p-140f);
  EXPECT_SAME(f32(ScalarOp::scale, 1.999f, 128), kInf);
  EXPECT_SAME(f32(ScalarOp::scale, kNaN, 1), kNaN);
}

TEST(Eval, FmaRoundsOnce) {
  const float x = 1 + 0x1p-12f;  // x^2 = 1 + 2^-11 + 2^-24
  EXPECT_SAME(f32(ScalarOp::fma, x, x, -1), 0x1.0008p-11f);
  EXPECT_SAME(f32(ScalarOp::sub, f32(ScalarOp::mul, x, x), 1), 0x1p-11f);
  // A double fma rounded again to f32 would give 1: the exact sum is just above the middle of 1 and
  // the next float.
  EXPECT_SAME(f32(ScalarOp::fma, 0x1p-60f, 0x1p-60f, 1), 1.0f);
  const float a = 0x1.000002p0f, b = 0x1.000002p-1f;  // a b = 0.5 + 2^-23 + 2^-47
  EXPECT_SAME(f32(ScalarOp::fma, a, b, 0x1p24f), 0x1p24f);
  EXPECT_SAME(f32(ScalarOp::fma, 0x1.000002p0f, 0x1.fffffep-1f, -1), 0x1.fffffcp-25f);
  EXPECT_EQ(f64(ScalarOp::fma, 1 + 0x1p-30, 1 + 0x1p-30, -1), 0x1p-29 + 0x1p-60);
}

TEST(Eval, MinimumAndMaximum) {
  EXPECT_SAME(f32(ScalarOp::min, 1, 2), 1.0f);
  EXPECT_SAME(f32(ScalarOp::max, 1, 2), 2.0f);
  for (const ScalarOp op : {ScalarOp::min, ScalarOp::max}) {
    EXPECT_SAME(f32(op, kNaN, 1), kNaN);
    EXPECT_SAME(f32(op, 1, kNaN), kNaN);
    EXPECT_TRUE(std::isnan(f64(op, 1, NAN)));
  }
  EXPECT_SAME(f32(ScalarOp::min, 0.0f, -0.0f), -0.0f);
  EXPECT_SAME(f32(ScalarOp::min, -0.0f, 0.0f), -0.0f);
  EXPECT_SAME(f32(ScalarOp::max, 0.0f, -0.0f), 0.0f);
  EXPECT_SAME(f32(ScalarOp::max, -0.0f, 0.0f), 0.0f);
  EXPECT_SAME(f32(ScalarOp::max, -kInf, -1), -1.0f);
  EXPECT_EQ(i32(ScalarOp::min, -5, 3), -5);
  EXPECT_EQ(i64(ScalarOp::max, kMin64, 3), 3);
}

TEST(Eval, Comparisons) {
  for (const float a : {0.0f, 1.0f, kInf, kNaN}) {
    for (const ScalarOp op : {ScalarOp::eq, ScalarOp::lt, ScalarOp::le})
      EXPECT_EQ(compare_f32(op, a, kNaN), 0);
    EXPECT_EQ(compare_f32(ScalarOp::ne, kNaN, a), 1);
  }
  EXPECT_EQ(compare_f32(ScalarOp::eq, 0.0f, -0.0f), 1);
  EXPECT_EQ(compare_f32(ScalarOp::lt, -0.0f, 0.0f), 0);
  EXPECT_EQ(compare_f32(ScalarOp::le, 2, 2), 1);
  EXPECT_EQ(compare_f32(ScalarOp::ne, 2, 2), 0);
  EXPECT_EQ(apply(ScalarOp::lt, DType::boolean, DType::i32, {{0, -1}, {0, 0}}).i, 1);
  EXPECT_EQ(apply(ScalarOp::le, DType::boolean, DType::i64, {{0, kMax64}, {0, kMin64}}).i, 0);
}

TEST(Eval, IntegersWrap) {
  EXPECT_EQ(i32(ScalarOp::add, kMax32, 1), kMin32);
  EXPECT_EQ(i32(ScalarOp::sub, kMin32, 1), kMax32);
  EXPECT_EQ(i32(ScalarOp::mul, 0x10001, 0x10001), 0x20001);
  EXPECT_EQ(i64(ScalarOp::add, kMax64, 1), kMin64);
  EXPECT_EQ(i64(ScalarOp::mul, kMin64, -1), kMin64);
  EXPECT_EQ(i32(ScalarOp::neg, kMin32), kMin32);
  EXPECT_EQ(i32(ScalarOp::abs, kMin32), kMin32);
  EXPECT_EQ(i64(ScalarOp::abs, -7), 7);
}

TEST(Eval, IntegerDivision) {
  for (const DType type : {DType::i32, DType::i64}) {
    EXPECT_EQ(integer(type, ScalarOp::div, -7, 2), -3);
    EXPECT_EQ(integer(type, ScalarOp::rem, -7, 2), -1);
    EXPECT_EQ(integer(type, ScalarOp::rem, 7, -2), 1);
    EXPECT_EQ(integer(type, ScalarOp::div, 5, 0), 0);
    EXPECT_EQ(integer(type, ScalarOp::rem, 5, 0), 0);
    EXPECT_EQ(integer(type, ScalarOp::div, 5, -1), -5);
    EXPECT_EQ(integer(type, ScalarOp::rem, 5, -1), 0);
  }
  EXPECT_EQ(i32(ScalarOp::div, kMin32, -1), kMin32);
  EXPECT_EQ(i64(ScalarOp::div, kMin64, -1), kMin64);
  EXPECT_EQ(i64(ScalarOp::rem, kMin64, -1), 0);
}

TEST(Eval, BitsAndShifts) {
  EXPECT_EQ(i32(ScalarOp::and_, -1, 0x0f0f), 0x0f0f);
  EXPECT_EQ(i32(ScalarOp::or_, kMin32, 1), kMin32 + 1);
  EXPECT_EQ(i32(ScalarOp::xor_, -1, 1), -2);
  EXPECT_EQ(i32(ScalarOp::not_, 0), -1);
  EXPECT_EQ(i64(ScalarOp::not_, 5), -6);
  EXPECT_EQ(i32(ScalarOp::shl, 1, 31), kMin32);
  EXPECT_EQ(i32(ScalarOp::lshr, -1, 31), 1);
  EXPECT_EQ(i32(ScalarOp::ashr, kMin32, 31), -1);
  EXPECT_EQ(i64(ScalarOp::shl, 1, 63), kMin64);
  EXPECT_EQ(i64(ScalarOp::lshr, -1, 63), 1);
  EXPECT_EQ(i64(ScalarOp::ashr, kMin64, 63), -1);
  EXPECT_EQ(i32(ScalarOp::umulhi, -1, -1), -2);  // (2^32 - 1)^2 = (2^32 - 2) 2^32 + 1
  EXPECT_EQ(i32(ScalarOp::umulhi, kMin32, 6), 3);
  const DType b = DType::boolean;
  EXPECT_EQ(integer(b, ScalarOp::and_, 1, 0), 0);
  EXPECT_EQ(integer(b, ScalarOp::or_, 1, 0), 1);
  EXPECT_EQ(integer(b, ScalarOp::xor_, 1, 1), 0);
  EXPECT_EQ(integer(b, ScalarOp::not_, 0), 1);
  EXPECT_EQ(integer(b, ScalarOp::not_, 1), 0);
}

TEST(Eval, Select) {
  EXPECT_EQ(apply(ScalarOp::select, DType::i32, DType::boolean, {{0, 1}, {0, 5}, {0, 6}}).i, 5);
  EXPECT_EQ(apply(ScalarOp::select, DType::f32, DType::boolean, {{0, 0}, {5, 0}, {6, 0}}).f, 6);
}

TEST(Eval, FloatToInteger) {
  const auto to = [](DType type, double x) {
    return apply(ScalarOp::convert, type, DType::f64, {{x, 0}}).i;
  };
  for (const DType type : {DType::i32, DType::i64}) {
    EXPECT_EQ(to(type, 2.9), 2);
    EXPECT_EQ(to(type, -2.9), -2);
    EXPECT_EQ(to(type, NAN), 0);
  }
  EXPECT_EQ(to(DType::i32, 0x1p31), kMax32);
  EXPECT_EQ(to(DType::i32, 0x1p31 - 0.5), kMax32);
  EXPECT_EQ(to(DType::i32, -0x1p31), kMin32);
  EXPECT_EQ(to(DType::i32, -0x1p31 - 0.5), kMin32);
  EXPECT_EQ(to(DType::i32, -INFINITY), kMin32);
  EXPECT_EQ(to(DType::i64, 0x1p63), kMax64);
  EXPECT_EQ(to(DType::i64, -0x1p63), kMin64);
  EXPECT_EQ(to(DType::i64, INFINITY), kMax64);
  EXPECT_EQ(to(DType::i64, 0x1.fffffffffffffp62), 0x7ffffffffffffc00);
  EXPECT_EQ(to(DType::boolean, 0.0), 0);
  EXPECT_EQ(to(DType::boolean, -0.0), 0);
  EXPECT_EQ(to(DType::boolean, 0x1p-1074), 1);
  EXPECT_EQ(to(DType::boolean, NAN), 1);
}

TEST(Eval, IntegerConversions) {
  const auto convert = [](DType to, DType from, int64_t x) {
    return apply(ScalarOp::convert, to, from, {{0, x}});
  };
  EXPECT_EQ(convert(DType::i32, DType::i64, 0x180000000).i, kMin32);
  EXPECT_EQ(convert(DType::i64, DType::i32, -1).i, -1);
  EXPECT_EQ(convert(DType::boolean, DType::i32, 2).i, 1);
  EXPECT_EQ(convert(DType::i32, DType::boolean, 1).i, 1);
  EXPECT_EQ(convert(DType::f32, DType::boolean, 1).f, 1);
  EXPECT_EQ(convert(DType::f32, DType::i32, kMax32).f, 0x1p31);
  EXPECT_EQ(convert(DType::f32, DType::i32, 0x1000001).f, 0x1p24);
  // By way of f64 this would be rounded twice, to 2^54 + 2^31.
  EXPECT_EQ(convert(DType::f32, DType::i64, (int64_t{1} << 54) + (1 << 30) + 1).f, 0x1p54 + 0x1p31);
  EXPECT_EQ(convert(DType::f32, DType::i64, (int64_t{1} << 60) + (int64_t{1} << 36) + 1).f,
            0x1p60 + 0x1p37);
  EXPECT_EQ(convert(DType::f64, DType::i64, kMax64).f, 0x1p63);
  EXPECT_EQ(apply(ScalarOp::convert, DType::f32, DType::f64, {{0.1, 0}}).f, 0.1f);
  EXPECT_EQ(apply(ScalarOp::convert, DType::f32, DType::f64, {{1e300, 0}}).f, kInf);
}

TEST(Eval, Bitcast) {
  EXPECT_EQ(apply(ScalarOp::bitcast, DType::i32, DType::f32, {{-0.0, 0}}).i, kMin32);
  EXPECT_EQ(apply(ScalarOp::bitcast, DType::f32, DType::i32, {{0, 0x3f800000}}).f, 1);
  EXPECT_EQ(apply(ScalarOp::bitcast, DType::i64, DType::f64, {{1, 0}}).i, 0x3ff0000000000000);
  EXPECT_EQ(apply(ScalarOp::bitcast, DType::f64, DType::i64, {{0, kMin64}}).f, 0);
}

TEST(Eval, RealIsDoubleWithoutRounding) {
  const auto real = [](ScalarOp op, DType type, DType from, std::vector<ScalarValue> args) {
    return apply(op, type, from, std::move(args), Precision::real).f;
  };
  EXPECT_EQ(real(ScalarOp::add, DType::f32, DType::f32, {{1, 0}, {0x1p-40, 0}}), 1 + 0x1p-40);
  EXPECT_EQ(real(ScalarOp::exp, DType::f32, DType::f32, {{1, 0}}), std::exp(1.0));
  EXPECT_EQ(real(ScalarOp::rsqrt, DType::f32, DType::f32, {{2, 0}}), 1 / std::sqrt(2.0));
  EXPECT_EQ(real(ScalarOp::round_bf16, DType::f32, DType::f32, {{0.1, 0}}), 0.1);
  EXPECT_EQ(real(ScalarOp::round_f16, DType::f32, DType::f32, {{0.1, 0}}), 0.1);
  EXPECT_EQ(real(ScalarOp::convert, DType::f32, DType::f64, {{0.1, 0}}), 0.1);
}

TEST(Eval, F64FunctionsAreTheLibrarys) {
  EXPECT_EQ(f64(ScalarOp::exp, 0.3), std::exp(0.3));
  EXPECT_EQ(f64(ScalarOp::log, 0.3), std::log(0.3));
  EXPECT_EQ(f64(ScalarOp::tanh, 0.3), std::tanh(0.3));
  EXPECT_EQ(f64(ScalarOp::erf, 0.3), std::erf(0.3));
  EXPECT_EQ(f64(ScalarOp::sin, 0.3), std::sin(0.3));
  EXPECT_EQ(f64(ScalarOp::cos, 0.3), std::cos(0.3));
}

// The interpreter's path through expand_math agrees with the block evaluator (separate code for
// every operation).
TEST(Eval, FunctionsEqualTheirExpansion) {
  std::vector<uint32_t> bits(test::kBlock);
  for (int i = 0; i < test::kBlock; ++i) bits[i] = static_cast<uint32_t>(i) * 1048583u;
  const float special[] = {0.0f, -0.0f, kInf, -kInf, kNaN, kTiny, -kTiny, 1, -1, 0x1p-126f};
  for (size_t i = 0; i < std::size(special); ++i) bits[i] = std::bit_cast<uint32_t>(special[i]);
  for (const ScalarOp op : {ScalarOp::exp, ScalarOp::log, ScalarOp::tanh, ScalarOp::erf,
                            ScalarOp::sin, ScalarOp::cos, ScalarOp::rsqrt}) {
    Body body;
    const int32_t root = expand_math(op, body.param(DType::f32, 0)).id;
    test::BlockEvaluator evaluator(body, root);
    const uint32_t* results = evaluator.run(bits.data());
    for (int i = 0; i < test::kBlock; ++i)
      EXPECT_SAME(f32(op, std::bit_cast<float>(bits[i])), std::bit_cast<float>(results[i]));
  }
}

TEST(Functions, SpecialValues) {
  EXPECT_SAME(f32(ScalarOp::exp, 0), 1.0f);
  EXPECT_SAME(f32(ScalarOp::exp, -0.0f), 1.0f);
  EXPECT_SAME(f32(ScalarOp::exp, -kInf), 0.0f);
  EXPECT_SAME(f32(ScalarOp::exp, kInf), kInf);
  EXPECT_SAME(f32(ScalarOp::exp, -103.97f), kTiny);
  EXPECT_SAME(f32(ScalarOp::exp, -103.98f), 0.0f);
  EXPECT_SAME(f32(ScalarOp::exp, 88.72284f), kInf);
  EXPECT_SAME(f32(ScalarOp::exp, 88.72283f), 0x1.ffff08p127f);
  EXPECT_SAME(f32(ScalarOp::log, 1), 0.0f);
  EXPECT_SAME(f32(ScalarOp::log, 0), -kInf);
  EXPECT_SAME(f32(ScalarOp::log, -0.0f), -kInf);
  EXPECT_SAME(f32(ScalarOp::log, -1), kNaN);
  EXPECT_SAME(f32(ScalarOp::log, -kInf), kNaN);
  EXPECT_SAME(f32(ScalarOp::log, kInf), kInf);
  EXPECT_SAME(f32(ScalarOp::tanh, -0.0f), -0.0f);
  EXPECT_SAME(f32(ScalarOp::tanh, kInf), 1.0f);
  EXPECT_SAME(f32(ScalarOp::tanh, -kInf), -1.0f);
  EXPECT_SAME(f32(ScalarOp::tanh, kTiny), kTiny);
  EXPECT_SAME(f32(ScalarOp::erf, -0.0f), -0.0f);
  EXPECT_SAME(f32(ScalarOp::erf, kInf), 1.0f);
  EXPECT_SAME(f32(ScalarOp::erf, -kInf), -1.0f);
  EXPECT_SAME(f32(ScalarOp::sin, -0.0f), -0.0f);
  EXPECT_SAME(f32(ScalarOp::sin, kTiny), kTiny);
  EXPECT_SAME(f32(ScalarOp::sin, kInf), kNaN);
  EXPECT_SAME(f32(ScalarOp::cos, -0.0f), 1.0f);
  EXPECT_SAME(f32(ScalarOp::cos, -kInf), kNaN);
  for (const ScalarOp op : {ScalarOp::exp, ScalarOp::log, ScalarOp::tanh, ScalarOp::erf,
                            ScalarOp::sin, ScalarOp::cos, ScalarOp::rsqrt})
    EXPECT_SAME(f32(op, kNaN), kNaN);
}

// Nearest of two 16-bit neighbours by exact arithmetic in double, ties to the even one.
uint16_t nearest(double x, uint16_t low, uint16_t high, double low_value, double high_value) {
  const double down = x - low_value, up = high_value - x;
  if (down != up) return down < up ? low : high;
  return low % 2 == 0 ? low : high;
}

// Around each 16-bit value and each middle of two: the f32 numbers just below, at and above.
TEST(Rounding, AllBf16Neighbourhoods) {
  for (uint32_t h = 0; h < 0x7f80; ++h) {
    const float low = from_bf16(static_cast<uint16_t>(h));
    const float high = from_bf16(static_cast<uint16_t>(h + 1));
    ASSERT_EQ(std::bit_cast<uint32_t>(low), h << 16);
    for (const uint32_t offset : {0u, 1u, 0x4000u, 0x7fffu, 0x8000u, 0x8001u, 0xc000u, 0xffffu}) {
      const float x = std::bit_cast<float>((h << 16) + offset);
      uint16_t expected = nearest(x, static_cast<uint16_t>(h), static_cast<uint16_t>(h + 1), low,
                                  std::isinf(high) ? 0x1p128 : high);
      if (x < 0x1p-126f) expected = 0;
      ASSERT_EQ(to_bf16(x), expected) << x;
      ASSERT_EQ(to_bf16(-x), expected | 0x8000) << x;
      ASSERT_PRED2(same, f32(ScalarOp::round_bf16, x), from_bf16(expected));
    }
  }
  EXPECT_SAME(f32(ScalarOp::round_bf16, kInf), kInf);
  EXPECT_SAME(f32(ScalarOp::round_bf16, -kInf), -kInf);
  EXPECT_SAME(f32(ScalarOp::round_bf16, kNaN), kNaN);
  EXPECT_SAME(f32(ScalarOp::round_bf16, -0.0f), -0.0f);
  EXPECT_SAME(f32(ScalarOp::round_bf16, -0x1.fffffcp-127f), -0.0f);
  EXPECT_TRUE(std::isnan(from_bf16(to_bf16(std::bit_cast<float>(0x7f800001)))));
}

TEST(Rounding, AllF16Neighbourhoods) {
  for (uint32_t h = 0; h < 0x7c00; ++h) {
    const double low = std::ldexp(h < 0x400 ? h : (h & 0x3ff) + 0x400,
                                  h < 0x400 ? -24 : static_cast<int>(h >> 10) - 25);
    const double high = low + std::ldexp(1, h < 0x400 ? -24 : static_cast<int>(h >> 10) - 25);
    ASSERT_EQ(from_f16(static_cast<uint16_t>(h)), low);
    ASSERT_EQ(from_f16(static_cast<uint16_t>(h | 0x8000)), -low);
    const auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(middle, (low + high) / 2);
    const auto start = static_cast<float>(low);
    for (const float x :
         {start, std::nextafter(start, kInf), std::nextafter(middle, 0.0f), middle,
          std::nextafter(middle, kInf), std::nextafter(static_cast<float>(high), 0.0f)}) {
      const uint16_t expected =
          nearest(x, static_cast<uint16_t>(h), static_cast<uint16_t>(h + 1), low, high);
      ASSERT_EQ(to_f16(x), expected) << x;
      ASSERT_EQ(to_f16(-x), expected | 0x8000) << x;
      ASSERT_PRED2(same, f32(ScalarOp::round_f16, x), from_f16(expected));
    }
  }
  EXPECT_SAME(f32(ScalarOp::round_f16, 65519.996f), 65504.0f);
  EXPECT_SAME(f32(ScalarOp::round_f16, 65520), kInf);
  EXPECT_SAME(f32(ScalarOp::round_f16, -1e30f), -kInf);
  EXPECT_SAME(f32(ScalarOp::round_f16, -kTiny), -0.0f);
  EXPECT_SAME(f32(ScalarOp::round_f16, kNaN), kNaN);
  EXPECT_EQ(from_f16(0x7c00), kInf);
  EXPECT_TRUE(std::isnan(from_f16(0x7e00)));
  EXPECT_TRUE(std::isnan(from_f16(to_f16(std::bit_cast<float>(0x7f800001)))));
}

// The values by the definition of the format: `bits` of fraction, biased exponents.
double float8_value(int code, int bits, int bias) {
  const int exponent = code >> bits, fraction = code & ((1 << bits) - 1);
  return exponent == 0 ? std::ldexp(fraction, 1 - bias - bits)
                       : std::ldexp(fraction + (1 << bits), exponent - bias - bits);
}

TEST(Rounding, AllFloat8Neighbourhoods) {
  struct Format {
    ScalarOp round;
    int bits, bias, largest;  // the code of the largest number
    uint8_t (*to)(float);
    float (*from)(uint8_t);
  };
  for (const Format& f : {Format{ScalarOp::round_e4m3, 3, 7, 0x7e, to_e4m3, from_e4m3},
                          Format{ScalarOp::round_e5m2, 2, 15, 0x7b, to_e5m2, from_e5m2}})
    for (int code = 0; code < f.largest; ++code) {
      const double low = float8_value(code, f.bits, f.bias), high = float8_value(code + 1, f.bits, f.bias);
      ASSERT_EQ(f.from(static_cast<uint8_t>(code)), low);
      ASSERT_EQ(f.from(static_cast<uint8_t>(code | 0x80)), -low);
      const auto start = static_cast<float>(low), middle = static_cast<float>((low + high) / 2);
      for (const float x : {start, std::nextafter(start, kInf), std::nextafter(middle, 0.0f), middle,
                            std::nextafter(middle, kInf), std::nextafter(static_cast<float>(high), 0.0f)}) {
        const uint16_t expected =
            nearest(x, static_cast<uint16_t>(code), static_cast<uint16_t>(code + 1), low, high);
        ASSERT_EQ(f.to(x), expected) << x;
        ASSERT_EQ(f.to(-x), expected | 0x80) << x;
        ASSERT_PRED2(same, f32(f.round, x), f.from(static_cast<uint8_t>(expected)));
      }
    }
  EXPECT_SAME(f32(ScalarOp::round_e4m3, 1e6f), 448.0f);
  EXPECT_SAME(f32(ScalarOp::round_e4m3, -kInf), -448.0f);
  EXPECT_SAME(f32(ScalarOp::round_e4m3, kNaN), kNaN);
  EXPECT_SAME(f32(ScalarOp::round_e4m3, -kTiny), -0.0f);
  EXPECT_SAME(f32(ScalarOp::round_e5m2, 61439.996f), 57344.0f);
  EXPECT_SAME(f32(ScalarOp::round_e5m2, 61440), kInf);
  EXPECT_SAME(f32(ScalarOp::round_e5m2, -kInf), -kInf);
  EXPECT_SAME(f32(ScalarOp::round_e5m2, kNaN), kNaN);
  EXPECT_TRUE(std::isnan(from_e4m3(0x7f)) && std::isnan(from_e5m2(0x7d)));
}

TEST(Rounding, RoundTo) {
  Body body;
  const Expr x = body.param(DType::f32, 0), i = body.param(DType::i32, 1);
  EXPECT_EQ(round_to(DType::f32, x).id, x.id);
  EXPECT_EQ(round_to(DType::i32, i).id, i.id);
  const int32_t bf16 = round_to(DType::bf16, x).id, f16 = round_to(DType::f16, x).id,
                u8 = round_to(DType::u8, i).id;
  const std::vector<ScalarValue> params = {{0.1f, 0}, {0, -1}};
  EXPECT_EQ(evaluate(body, bf16, params).f, 0x1.9ap-4);
  EXPECT_EQ(evaluate(body, f16, params).f, 0x1.998p-4);
  EXPECT_EQ(evaluate(body, u8, params).i, 255);
  EXPECT_EQ(scalar_type(DType::bf16), DType::f32);
  EXPECT_EQ(scalar_type(DType::f16), DType::f32);
  EXPECT_EQ(scalar_type(DType::u8), DType::i32);
  EXPECT_EQ(scalar_type(DType::boolean), DType::boolean);
}

// Known answers of the Random123 distribution (kat_vectors, philox4x32 with 10 rounds): counter,
// key, first word.
TEST(Philox, KnownAnswers) {
  struct Vector {
    uint32_t counter[4], key[2], word;
  };
  const Vector vectors[] = {
      {{0, 0, 0, 0}, {0, 0}, 0x6627e8d5},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}, 0x408f276d},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, 0xd16cfe09},
  };
  Body body;
  const Expr bits = philox(body.param(DType::i64, 0), body.param(DType::i64, 1),
                           body.param(DType::i64, 2), body.param(DType::i64, 3));
  const auto join = [](uint32_t low, uint32_t high) {
    return static_cast<int64_t>(static_cast<uint64_t>(high) << 32 | low);
  };
  for (const Vector& v : vectors) {
    const std::vector<ScalarValue> params = {{0, join(v.key[0], v.key[1])},
                                             {0, join(v.counter[2], 0)},
                                             {0, join(v.counter[3], 0)},
                                             {0, join(v.counter[0], v.counter[1])}};
    EXPECT_EQ(static_cast<uint32_t>(evaluate(body, bits.id, params).i), v.word);
  }
}

TEST(Philox, UniformNumbers) {
  Body body;
  const Expr bits = philox(body.constant_int(DType::i64, 42), body.constant_int(DType::i64, 1),
                           body.constant_int(DType::i64, 2), body.param(DType::i64, 0));
  const Expr uniform = uniform01(bits);
  double sum = 0, squares = 0;
  constexpr int kCount = 4000;
  for (int i = 0; i < kCount; ++i) {
    const double x = evaluate(body, uniform.id, {{0, i}}).f;
    ASSERT_GE(x, 0);
    ASSERT_LT(x, 1);
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kCount, 0.5, 0.02);  // standard error 0.0046
  EXPECT_NEAR(squares / kCount, 1.0 / 3, 0.02);
  Body fixed;
  EXPECT_EQ(evaluate(fixed, uniform01(fixed.constant_int(DType::i32, -1)).id, {}).f, 1 - 0x1p-24);
  EXPECT_EQ(evaluate(fixed, uniform01(fixed.constant_int(DType::i32, 255)).id, {}).f, 0);
}

}  // namespace
}  // namespace corten::ir
