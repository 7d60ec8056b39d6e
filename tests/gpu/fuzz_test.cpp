// Random kernels: the text of their GPU kernels, executed on the CPU, must give the interpreter's
// bits.
//
// CORTEN_FUZZ_SEEDS=n runs n kernels per form (default 60); CORTEN_FUZZ_SEED=s only that one.
#include <gtest/gtest.h>

#include "base/env.h"
#include "gpu/run_problem.h"
#include "random_kernel.h"

namespace corten::codegen::test {
namespace {

void fuzz(ir::KernelForm form) {
  const int64_t only = env_int("CORTEN_FUZZ_SEED", -1), seeds = env_int("CORTEN_FUZZ_SEEDS", 60),
                first = only >= 0 ? only : env_int("CORTEN_FUZZ_FIRST", 0),
                last = only >= 0 ? only + 1 : first + seeds;
  // Compiled together: most of the time is the compiler's start.
  std::vector<Problem> problems;
  std::vector<Execution> executions;
  for (int64_t seed = first; seed < last; ++seed) {
    problems.push_back(RandomKernel(static_cast<uint64_t>(seed), form).make());
    executions.push_back(prepare(problems.back()));
  }
  std::vector<gpu::KernelText> texts;
  for (const Execution& e : executions) texts.push_back(e.text);
  std::string missing;
  const auto module = HostModule::compile(texts, missing);
  if (!module) GTEST_SKIP() << missing;
  for (size_t i = 0; i < problems.size(); ++i)
    EXPECT_EQ(compare(*module, problems[i], executions[i], static_cast<uint64_t>(i)), "")
        << "seed " << first + static_cast<int64_t>(i) << "\n"
        << describe(problems[i]) << executions[i].text.text;
}

TEST(Fuzz, Rows) {
  fuzz(ir::KernelForm::rows);
}
TEST(Fuzz, Columns) {
  fuzz(ir::KernelForm::columns);
}
TEST(Fuzz, Scatter) {
  fuzz(ir::KernelForm::scatter);
}

}  // namespace
}  // namespace corten::codegen::test
