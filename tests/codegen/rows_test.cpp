// Kernels of the rows form, written by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "codegen/harness.h"

namespace corten::codegen::test {
namespace {

using namespace ir;

std::vector<float> normal(size_t n, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> d;
  std::vector<float> x(n);
  for (float& v : x) v = d(random);
  return x;
}

// An access to a dense operand [outer..., inner].
Launch::Access dense(std::vector<int64_t> outer, int64_t inner) {
  Launch::Access a;
  int64_t stride = inner;
  for (size_t d = outer.size(); d-- > 0; stride *= outer[d]) a.strides[d] = stride;
  return a;
}

// in [rows, n] -> out [rows, n], both f32.
Problem row_problem(int64_t rows, int64_t n, const std::function<Expr(Body&, Expr)>& f) {
  Problem p;
  p.kernel.outer_rank = 1;
  p.kernel.operands = {{DType::f32, false}, {DType::f32, true}};
  p.kernel.accesses = {{0, InnerStride::one}, {1, InnerStride::one}};
  const Expr x = p.kernel.body.load(DType::f32, 0);
  p.kernel.stores = {{1, f(p.kernel.body, x).id}};
  p.launch.outer[0] = rows;
  p.launch.inner = n;
  p.launch.accesses = {dense({rows}, n), dense({rows}, n)};
  p.operands = {bytes_of(normal(static_cast<size_t>(rows * n))),
                std::string(static_cast<size_t>(rows * n) * 4, '\0')};
  return p;
}

Expr softmax(Body& b, Expr x) {
  const Expr e = exp(x - b.reduce(ScalarOp::reduce_max, x, kRowTree));
  return e / b.reduce(ScalarOp::reduce_sum, e, kRowTree);
}

Expr layer_norm(Body& b, Expr x) {
  const Expr mean = b.reduce(ScalarOp::reduce_sum, x, kRowTree) * (1.0 / 768);
  const Expr centred = x - mean;
  const Expr variance = b.reduce(ScalarOp::reduce_sum, centred * centred, kRowTree) * (1.0 / 768);
  return centred * rsqrt(variance + 1e-5);
}

TEST(Rows, PointwiseOfManySizes) {
  for (int64_t n : {0, 1, 15, 16, 17, 63, 64, 65, 127, 1000, 1023, 1024, 1025, 4097})
    EXPECT_EQ(compare(row_problem(3, n, [](Body&, Expr x) { return x * 2.0 + 1.0; }), 3), "") << n;
}

TEST(Rows, SoftmaxOfManySizes) {
  for (int64_t n : {0, 1, 15, 16, 17, 63, 64, 65, 1000, 1023, 1024, 1025, 2048, 4097})
    EXPECT_EQ(compare(row_problem(5, n, softmax), 7), "") << n;
}

TEST(Rows, SoftmaxAddsUpToOne) {
  const Problem p = row_problem(4, 1000, softmax);
  for (const Target& t : targets()) {
    const auto y = values_of<float>(run(p, t)[1]);
    for (int r = 0; r < 4; ++r) {
      double sum = 0;
      for (int i = 0; i < 1000; ++i) sum += y[static_cast<size_t>(r * 1000 + i)];
      EXPECT_NEAR(sum, 1, 1e-5);
    }
  }
}

TEST(Rows, LayerNorm) {
  for (int64_t n : {1, 768, 1500, 5000})
    EXPECT_EQ(compare(row_problem(3, n, layer_norm), 1), "") << n;
}

TEST(Rows, EveryTree) {
  for (Tree t : {Tree{64, 1024}, Tree{1, 1}, Tree{1, 64}, Tree{16, 64}, Tree{32, 32}, Tree{8, 100},
                 Tree{128, 1024}, Tree{2, 3}})
    for (int64_t n : {0, 1, 64, 100, 1000, 3000})
      EXPECT_EQ(compare(row_problem(2, n,
                                    [&](Body& b, Expr x) {
                                      return x - b.reduce(ScalarOp::reduce_sum, x, t);
                                    }),
                        2),
                "")
          << t.lanes << "x" << t.chunk << ", " << n;
}

}  // namespace
}  // namespace corten::codegen::test
