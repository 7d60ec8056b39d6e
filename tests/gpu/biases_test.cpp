// Biases as epilogues of products: where, and with which bits.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/format.h"
#include "corten/amp.h"
#include "cuda/step_costs.h"
#include "gpu/cpu_device.h"
#include "gpu/mirror.h"
#include "gpu/samples.h"
#include "runtime/inspect.h"

namespace corten::cuda::test {
namespace {

struct Executed {
  Comparison compared;
  size_t epilogues = 0, additions = 0;  // of biases: by products, by kernels
};

// As a program of a device, and the same without fusion, which leaves all biases to kernels.
Executed run(const Function& function, const std::vector<Tensor>& arguments) {
  CpuDevice device;
  Executed out;
  const auto same = [&](int) { return arguments; };
  try {
    out.compared = compare_with_cpu(function, same, 1, device, device.modules());
    setenv("CORTEN_DISABLE", "fuse", 1);
    const Comparison unfused = compare_with_cpu(function, same, 1, device, device.modules());
    unsetenv("CORTEN_DISABLE");
    EXPECT_TRUE(unfused.same_bits) << unfused.where;
  } catch (const Error& e) {
    unsetenv("CORTEN_DISABLE");
    if (device.missing.empty()) throw;
    out.compared.where = device.missing;
  }
  CompiledFunction compiled = compile(function);
  compiled.plan(arguments);
  const auto plan = plan_for_device(*runtime::inspect(compiled).recorded, true);
  for (const auto& [step, calls] : plan->products()) out.epilogues += calls.product.bias;
  for (const ir::Node& n : plan->graph.nodes()) out.additions += n.op->name == "add";
  return out;
}

// A result of a program lies in memory: its product writes it.
TEST(Biases, AreEpiloguesWhereNothingElseAddsThem) {
  const Tensor w = numbers({40, 24}, 2), all = numbers({80}, 3), x = numbers({7, 24}, 4);
  const Executed plain = run(
      [&](const std::vector<Tensor>& in) {
        return std::vector<Tensor>{linear(in[0], w, all.slice(0, 4, 44))};
      },
      {x});
  EXPECT_TRUE(plain.compared.same_bits) << plain.compared.where;
  EXPECT_EQ(plain.epilogues, 1u);
  EXPECT_EQ(plain.additions, 0u);
}

// Read by a kernel alone, which adds it for nothing; the library's bias must be at a multiple of 16
// bytes.
TEST(Biases, StayInKernelsThatReadTheProduct) {
  const Tensor w = numbers({40, 24}, 2), all = numbers({80}, 3), x = numbers({7, 24}, 4);
  const Executed fused = run(
      [&](const std::vector<Tensor>& in) {
        return std::vector<Tensor>{gelu(linear(in[0], w, all.slice(0, 0, 40)))};
      },
      {x});
  EXPECT_TRUE(fused.compared.same_bits) << fused.compared.where;
  EXPECT_EQ(fused.epilogues, 0u);
  const Executed unaligned = run(
      [&](const std::vector<Tensor>& in) {
        return std::vector<Tensor>{linear(in[0], w, all.slice(0, 1, 41))};
      },
      {x});
  EXPECT_TRUE(unaligned.compared.same_bits) << unaligned.compared.where;
  EXPECT_EQ(unaligned.epilogues, 0u);
  EXPECT_EQ(unaligned.additions, 1u);
}

// Two products whose second reads the sum of the first; a bf16 result is rounded once, by a kernel.
TEST(Biases, BetweenProducts) {
  const Tensor w1 = numbers({40, 24}, 2), b1 = numbers({40}, 3), w2 = numbers({8, 40}, 5),
               b2 = numbers({8}, 6), x = numbers({7, 24}, 4);
  const auto function = [&](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{linear(linear(in[0], w1, b1), w2, b2)};
  };
  const Executed wide = run(function, {x});
  EXPECT_TRUE(wide.compared.same_bits) << wide.compared.where;
  EXPECT_EQ(wide.epilogues, 2u);
  const Executed half = run(
      [&](const std::vector<Tensor>& in) {
        const Autocast autocast(DType::bf16);
        return function(in);
      },
      {x});
  EXPECT_LT(half.compared.difference, 0.01);
  EXPECT_EQ(half.epilogues, 0u);
}

}  // namespace
}  // namespace corten::cuda::test
