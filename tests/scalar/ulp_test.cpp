// Accuracy of the f32 functions against the C library in double. By default a strided subset of all
// arguments plus the neighbourhoods of exponent boundaries; all 2^32 with CORTEN_EXHAUSTIVE=1
// (some minutes per function).
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <thread>

#include "block_eval.h"
#include "ir/scalar.h"

namespace corten::test {
namespace {

using ir::ScalarOp;

/// |got - exact| in units of the last place that an f32 of exact's size has; infinite where NaN, a
/// zero's sign or an infinity is wrong. Infinity counts as 2^128.
double ulp_error(float got, double exact) {
  if (std::isnan(exact) || std::isnan(got))
    return std::isnan(exact) && std::isnan(got) ? 0 : INFINITY;
  if (std::signbit(got) != std::signbit(exact)) return INFINITY;
  if (std::isinf(exact) && std::isinf(got)) return 0;
  const double limit = std::min(std::fabs(exact), 0x1p128);
  const double value = std::isinf(got) ? 0x1p128 : std::fabs(static_cast<double>(got));
  const auto exponent = static_cast<int>(std::bit_cast<uint64_t>(limit) >> 52) - 1023;
  const auto places = static_cast<uint64_t>(1023 + 23 - std::clamp(exponent, -126, 127));
  return std::fabs(value - limit) * std::bit_cast<double>(places << 52);
}

struct Worst {
  double error = 0;
  uint32_t bits = 0;
  uint64_t count = 0;
  void add(double e, uint32_t at) {
    ++count;
    if (e > error) error = e, bits = at;
  }
  void merge(const Worst& other) {
    count += other.count;
    if (other.error > error) error = other.error, bits = other.bits;
  }
};

struct Case {
  ScalarOp op;
  double (*reference)(double);
  double budget;             // units in the last place
  float largest = INFINITY;  // what no result may exceed
};

double error(const Case& c, float got, double exact) {
  return std::fabs(got) > c.largest ? INFINITY : ulp_error(got, exact);
}

// Blocks of arguments `stride` apart: argument i of block b is (b * kBlock + i) * stride.
Worst measure(const Case& c, uint64_t stride) {
  const uint64_t blocks = ((uint64_t{1} << 32) / stride + kBlock - 1) / kBlock;
  constexpr int kThreads = 2;
  Worst worst[kThreads];
  const auto work = [&](int thread) {
    ir::Body body;
    const ir::Expr root = expand_math(c.op, body.param(DType::f32, 0));
    BlockEvaluator evaluator(body, root.id);
    std::vector<uint32_t> bits(kBlock);
    for (uint64_t b = thread; b < blocks; b += kThreads) {
      for (int i = 0; i < kBlock; ++i) bits[i] = static_cast<uint32_t>((b * kBlock + i) * stride);
      const uint32_t* results = evaluator.run(bits.data());
      for (int i = 0; i < kBlock; ++i) {
        const double exact = c.reference(std::bit_cast<float>(bits[i]));
        worst[thread].add(error(c, std::bit_cast<float>(results[i]), exact), bits[i]);
      }
    }
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  worst[0].merge(worst[1]);
  return worst[0];
}

Worst measure_boundaries(const Case& c) {
  std::vector<uint32_t> bits;
  for (uint32_t exponent = 0; exponent < 512; ++exponent)  // with the sign bit on top
    for (int offset = -64; offset < 64; ++offset) bits.push_back((exponent << 23) + offset);
  ir::Body body;
  const ir::Expr root = expand_math(c.op, body.param(DType::f32, 0));
  BlockEvaluator evaluator(body, root.id);
  Worst worst;
  for (size_t start = 0; start < bits.size(); start += kBlock) {
    const uint32_t* results = evaluator.run(&bits[start]);
    for (int i = 0; i < kBlock; ++i) {
      const uint32_t at = bits[start + i];
      worst.add(error(c, std::bit_cast<float>(results[i]), c.reference(std::bit_cast<float>(at))),
                at);
    }
  }
  return worst;
}

class Ulp : public testing::TestWithParam<Case> {};

TEST_P(Ulp, WithinBudget) {
  const Case& c = GetParam();
  const char* exhaustive = std::getenv("CORTEN_EXHAUSTIVE");
  const uint64_t stride = exhaustive && *exhaustive == '1' ? 1 : 257;
  Worst worst = measure(c, stride);
  worst.merge(measure_boundaries(c));
  std::printf("%s: %.4f ulp at %a (%#010x), %llu arguments\n", std::string(name(c.op)).c_str(),
              worst.error, std::bit_cast<float>(worst.bits), worst.bits,
              static_cast<unsigned long long>(worst.count));
  EXPECT_LE(worst.error, c.budget);
}

INSTANTIATE_TEST_SUITE_P(
    Functions, Ulp,
    testing::Values(Case{ScalarOp::exp, std::exp, 0.9}, Case{ScalarOp::log, std::log, 0.9},
                    Case{ScalarOp::tanh, std::tanh, 1.4, 1}, Case{ScalarOp::erf, std::erf, 1.3, 1},
                    Case{ScalarOp::sin, std::sin, 1.5, 1}, Case{ScalarOp::cos, std::cos, 1.5, 1},
                    Case{ScalarOp::rsqrt, [](double x) { return 1 / std::sqrt(x); }, 1.5}),
    [](const auto& info) { return std::string(name(info.param.op)); });

}  // namespace
}  // namespace corten::test
