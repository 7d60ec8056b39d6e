// Reductions over rows of every length class: parts of a warp, a warp, several warps with one chunk
// each, with several.
#include <gtest/gtest.h>

#include <random>

#include "base/half.h"
#include "gpu/run_problem.h"

namespace corten::codegen::test {
namespace {

using namespace ir;

// Softmax-like: two reductions of two levels and what follows them; then sums over other trees.
Problem rows(int64_t inner, int64_t outer, DType dtype, bool other_trees) {
  Problem p;
  Kernel& k = p.kernel;
  k.outer_rank = 1;
  k.operands = {{dtype, false}, {dtype, true}, {DType::f32, true}};
  k.accesses = {{0, InnerStride::one}, {1, InnerStride::one}, {2, InnerStride::zero}};
  Body& b = k.body;
  const Expr x = b.load(DType::f32, 0);
  const Expr e = exp(x - b.reduce(ScalarOp::reduce_max, x, kRowTree));
  Expr s = b.reduce(ScalarOp::reduce_sum, e, kRowTree);
  if (other_trees)
    s = s + b.reduce(ScalarOp::reduce_sum, x, kPairwiseTree) +
        b.reduce(ScalarOp::reduce_sum, x * x, Tree{1, 64});
  k.stores = {{1, round_to(dtype, e / s).id}, {2, s.id}};
  p.launch.outer[0] = outer;
  p.launch.inner = inner;
  p.launch.accesses.resize(3);
  p.launch.accesses[0].strides[0] = p.launch.accesses[1].strides[0] = inner;
  p.launch.accesses[2].strides[0] = 1;
  std::mt19937_64 random(static_cast<uint64_t>(inner));
  std::string bytes;
  for (int64_t i = 0; i < inner * outer; ++i) {
    const float x = static_cast<float>(static_cast<int64_t>(random() % 20000) - 10000) / 1500;
    const uint16_t h = to_bf16(x);
    if (dtype == DType::f32)
      bytes.append(reinterpret_cast<const char*>(&x), 4);
    else
      bytes.append(reinterpret_cast<const char*>(&h), 2);
  }
  p.operands = {bytes, std::string(bytes.size(), '\0'),
                std::string(static_cast<size_t>(outer) * 4, '\0')};
  return p;
}

TEST(Rows, OfEveryLength) {
  std::vector<Problem> problems;
  std::vector<Execution> executions;
  std::vector<gpu::KernelText> texts;
  for (const int64_t inner : {0,    1,    2,    3,    8,    31,   63,   64,   65,    768,   1000,
                              1023, 1024, 1025, 2048, 3000, 4096, 5001, 9000, 16384, 16385, 40000})
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const bool other : {false, true}) {
        problems.push_back(rows(inner, inner < 2000 ? 5 : 2, dtype, other));
        executions.push_back(prepare(problems.back()));
        texts.push_back(executions.back().text);
      }
  std::string missing;
  const auto module = HostModule::compile(texts, missing);
  if (!module) GTEST_SKIP() << missing;
  for (size_t i = 0; i < problems.size(); ++i)
    EXPECT_EQ(compare(*module, problems[i], executions[i], i), "")
        << "rows of " << problems[i].launch.inner << ", " << to_string(executions[i].schedule);
}

}  // namespace
}  // namespace corten::codegen::test
