// Tensors on a card, op by op. Skipped without one.
#include <gtest/gtest.h>

#include <chrono>

#include "base/format.h"
#include "corten/memory.h"
#include "corten/ops.h"
#include "gpu/card.h"
#include "gpu/on_device.h"
#include "gpu/samples.h"
#include "runtime/devices.h"

namespace corten::cuda::test {
namespace {

double us_per_call(const std::function<void()>& f, int calls) {
  f();
  synchronize();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) f();
  synchronize();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
             .count() /
         calls;
}

TEST(Gpu, EagerOpsHaveTheCpusBits) {
  DEVICE_OR_SKIP(device);
  const runtime::InstalledDevice installed(0, *device);
  testing::ops_have_the_cpus_bits();
}

TEST(Gpu, EagerFloat8HasTheCpusBits) {
  DEVICE_OR_SKIP(device);
  const runtime::InstalledDevice installed(0, *device);
  testing::float8_has_the_cpus_bits();
}

TEST(Gpu, EagerGpt2TrainsAsCompiled) {
  DEVICE_OR_SKIP(device);
  const runtime::InstalledDevice installed(0, *device);
  testing::gpt2_trains_op_by_op_as_compiled();
}

// What an op costs the host, and what the allocator holds.
TEST(Gpu, EagerOverhead) {
  DEVICE_OR_SKIP(device);
  const runtime::InstalledDevice installed(0, *device);
  {
    const Tensor x = numbers({64, 64}, 1).cuda(), y = numbers({64, 64}, 2).cuda();
    NoGradGuard no_grad;
    report("eager add of 64 x 64 (us per call)",
           format("{:.1f}", us_per_call([&] { x + y; }, 2000)));
    report("eager matmul of 64 x 64 (us per call)",
           format("{:.1f}", us_per_call([&] { matmul(x, y); }, 2000)));
    report("copy of one element to the host (us)",
           format("{:.1f}", us_per_call([&] { x.select(0, 0).select(0, 0).item(); }, 200)));
    const int64_t held = memory_allocated("cuda");
    for (int i = 0; i < 100; ++i) matmul(x, y);
    EXPECT_EQ(memory_allocated("cuda"), held);
  }
  empty_cache("cuda");
}

}  // namespace
}  // namespace corten::cuda::test
