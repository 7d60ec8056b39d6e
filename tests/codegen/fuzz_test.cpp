// Random kernels: compiled code must give the interpreter's bits for every instruction set.
//
// CORTEN_FUZZ_SEEDS=n runs n kernels per form (default 60); CORTEN_FUZZ_SEED=s only that one.
#include <gtest/gtest.h>

#include "base/env.h"
#include "base/format.h"
#include "codegen/harness.h"
#include "random_kernel.h"

namespace corten::codegen::test {
namespace {

using namespace ir;

void fuzz(KernelForm form) {
  const int64_t only = env_int("CORTEN_FUZZ_SEED", -1), seeds = env_int("CORTEN_FUZZ_SEEDS", 60),
                first = env_int("CORTEN_FUZZ_FIRST", 0);
  for (int64_t seed = only >= 0 ? only : first; seed < (only >= 0 ? only + 1 : first + seeds);
       ++seed) {
    const Problem p = RandomKernel(static_cast<uint64_t>(seed), form).make();
    if (only >= 0) printf("%s", describe(p).c_str());
    EXPECT_EQ(compare(p, static_cast<uint64_t>(seed)), "") << "seed " << seed << "\n"
                                                           << describe(p);
  }
}

TEST(Fuzz, Rows) {
  fuzz(KernelForm::rows);
}
TEST(Fuzz, Columns) {
  fuzz(KernelForm::columns);
}
TEST(Fuzz, Scatter) {
  fuzz(KernelForm::scatter);
}

}  // namespace
}  // namespace corten::codegen::test
