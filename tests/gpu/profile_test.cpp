// Profiles of steps on a device: every launch is in them, and the steps are those of a run.
#include "diagnose/profile.h"

#include <gtest/gtest.h>

#include "gpu/cpu_device.h"
#include "runtime/device_function.h"
#include "train/training.h"

namespace corten::cuda::test {
namespace {

TEST(DeviceProfile, RecordsEveryLaunchOfARun) {
  CpuDevice device;
  const auto state = [&] {
    return std::make_unique<runtime::DeviceState>(device, device.modules());
  };
  const corten::testing::TinyRun run;
  const ResolvedConfig resolved = run.config(
      {"train.device=cuda", "train.virtual_shards=1", "model.n_layer=1", "data.seq=8"});
  std::vector<float> losses[2];
  for (const bool traced : {true, false}) {
    if (!traced) device.no_trace = "no tracing library";
    ProfileResult result;
    try {
      result = profile_training(resolved.config, {.steps = 2, .cuda_device = state});
    } catch (const Error&) {
      if (!device.missing.empty()) GTEST_SKIP() << device.missing;
      throw;
    }
    losses[traced] = result.losses;
    size_t launches = 0, steps = 0;
    double flops = 0;
    for (const runtime::RecordedRange& r : result.ranges) {
      EXPECT_LE(r.start_ns, r.end_ns);
      if (r.name == "device") {
        ++steps;
        EXPECT_EQ(r.detail, traced ? "traced by the device" : "no tracing library");
      }
      if (std::string_view(r.category) != "kernel") continue;
      ++launches;
      flops += r.flops;
      EXPECT_EQ(result.ranges[static_cast<size_t>(r.parent)].name, "device");
    }
    ASSERT_TRUE(result.plan);
    EXPECT_EQ(steps, 2u);
    EXPECT_EQ(launches, 2 * result.plan->report.steps.size());
    EXPECT_DOUBLE_EQ(flops, 2 * (result.plan->info.flops + result.plan->info.recomputed_flops));
    EXPECT_GT(result.plan->workspace_bytes, 0);
    bool products = false;
    for (const KeyAverage& row : result.averages)
      products = products || (row.name == "gemm" && row.total_us > 0);
    EXPECT_TRUE(products);
  }
  ASSERT_EQ(losses[0].size(), 2u);
  EXPECT_EQ(losses[0], losses[1]);
  EXPECT_NE(losses[0][0], losses[0][1]);
}

}  // namespace
}  // namespace corten::cuda::test
