// Reductions over columns of every number of chunks: one thread a column, or a group that shares it.
#include <gtest/gtest.h>

#include <random>

#include "gpu/run_problem.h"

namespace corten::codegen::test {
namespace {

using namespace ir;

// The sum of a column, and that of its squared distances from another sum: two stages.
Problem columns(int64_t rows, int64_t inner, Tree tree, bool two_stages) {
  Problem p;
  Kernel& k = p.kernel;
  k.form = KernelForm::columns;
  k.outer_rank = 2;
  k.operands = {{DType::f32, false}, {DType::f32, true}};
  k.accesses = {{0, InnerStride::one}, {1, InnerStride::one}};
  Body& b = k.body;
  const Expr x = b.load(DType::f32, 0);
  Expr s = b.reduce(ScalarOp::reduce_sum, x, tree);
  if (two_stages) s = b.reduce(ScalarOp::reduce_sum, (x - s) * (x - s), tree);
  k.stores = {{1, s.id}};
  constexpr int64_t kOuter = 2;
  p.launch.outer[0] = kOuter;
  p.launch.outer[1] = rows;
  p.launch.inner = inner;
  p.launch.accesses.resize(2);
  p.launch.accesses[0].strides[0] = rows * inner;
  p.launch.accesses[0].strides[1] = inner;
  p.launch.accesses[1].strides[0] = inner;
  std::mt19937_64 random(static_cast<uint64_t>(rows));
  std::string bytes;
  for (int64_t i = 0; i < kOuter * rows * inner; ++i) {
    const float x = static_cast<float>(static_cast<int64_t>(random() % 20000) - 10000) / 1500;
    bytes.append(reinterpret_cast<const char*>(&x), 4);
  }
  p.operands = {bytes, std::string(static_cast<size_t>(kOuter * inner) * 4, '\0')};
  return p;
}

TEST(Columns, OfEveryLength) {
  std::vector<Problem> problems;
  std::vector<Execution> executions;
  std::vector<gpu::KernelText> texts;
  int groups = 0;
  for (const int64_t rows : {0, 1, 2, 3, 31, 32, 33, 64, 65, 100, 127, 129, 513, 1000})
    for (const int64_t inner : {1, 16, 37})
      for (const Tree tree : {Tree{1, 1}, Tree{1, 64}, Tree{4, 8}})
        for (const bool two_stages : {false, true}) {
          problems.push_back(columns(rows, inner, tree, two_stages));
          executions.push_back(prepare(problems.back()));
          texts.push_back(executions.back().text);
          groups += executions.back().schedule.group > 1;
        }
  EXPECT_GT(groups, 100);
  std::string missing;
  const auto module = HostModule::compile(texts, missing);
  if (!module) GTEST_SKIP() << missing;
  for (size_t i = 0; i < problems.size(); ++i)
    EXPECT_EQ(compare(*module, problems[i], executions[i], i), "")
        << problems[i].launch.outer[1] << " rows of " << problems[i].launch.inner << ", "
        << to_string(executions[i].schedule);
}

}  // namespace
}  // namespace corten::codegen::test
