// What steps cost, and where the time of an execution goes.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "cuda/step_costs.h"
#include "gpu/cpu_device.h"
#include "gpu/mirror.h"
#include "gpu/samples.h"
#include "gpu/steps.h"
#include "runtime/device_function.h"
#include "train/bench_device.h"

namespace corten::cuda::test {
namespace {

TEST(StepCosts, OfATrainingStep) {
  // Three blocks of width 768, 8 x 1024 tokens, a head for 50,257 tokens.
  const ModelStep& step = model_step("gpt2", DType::bf16);
  const std::vector<StepCost> costs = step_costs(step.partition(), step.kernels());
  ASSERT_EQ(costs.size(), step.kernels().steps.size());
  double forward = 0, backward = 0;
  int64_t update = 0, casts = 0, launches = 0;
  for (const StepCost& c : costs) {
    if (c.family == "products, forward") forward += c.flops;
    if (c.family == "products, backward") backward += c.flops;
    if (c.family == "update") update += c.bytes;
    if (c.family == "casts") casts += c.bytes;
    launches += c.launches;
  }
  const double weights = 3.0 * 12 * 768 * 768 + 768.0 * 50257;
  EXPECT_EQ(forward, 2 * weights * 8 * 1024);
  EXPECT_EQ(backward, 2 * forward);
  // AdamW behind clipping reads weight, gradient and two moments and writes all but the gradient.
  const double parameters = weights + 1024 * 768 + 3 * (13 * 768) + 2 * 768;
  EXPECT_NEAR(static_cast<double>(update), 7 * 4 * parameters, 0.01 * 28 * parameters);
  // Weights of products are read as f32 and written as bf16.
  EXPECT_NEAR(static_cast<double>(casts), 6 * weights, 0.01 * 6 * weights);
  EXPECT_EQ(launches, static_cast<int64_t>(step.kernels().launches()) +
                          std::count_if(costs.begin(), costs.end(),
                                        [](const StepCost& c) { return c.flops > 0; }));

  // What has nothing to wait for shares a launch: conversions of weights, what ends the sums over
  // tokens, the optimizer; and the norm's additions are one kernel.
  std::map<std::string, int> steps;
  for (const StepCost& c : costs) ++steps[c.family];
  EXPECT_EQ(steps["casts"], 1);
  EXPECT_LE(steps["update"], 2);
  EXPECT_LE(steps["single numbers"], 8);
  EXPECT_LE(steps["sums of columns"], 3 * 8 + 4);

  const Ceilings ceilings{.bandwidth = 1e12, .half = 1e15, .single = 1e14};
  const std::vector<FamilyCost> families = family_costs(costs, ceilings);
  double floor = 0;
  for (const StepCost& c : costs)
    floor += std::max(static_cast<double>(c.bytes) / 1e12,
                      c.flops / (c.dtype == DType::bf16 ? 1e15 : 1e14));
  double sum = 0;
  for (const FamilyCost& f : families) sum += f.floor_seconds;
  EXPECT_NEAR(sum, floor, 1e-9 * floor);
}

TEST(DeviceProfile, SaysWhereTheTimeGoes) {
  CpuDevice device;
  Network network;
  CompiledFunction compiled =
      compile([&](const std::vector<Tensor>& in) { return network.step(in); });
  runtime::DeviceState state(device, device.modules());
  runtime::DeviceFunction function(compiled, state);
  EXPECT_THROW(function.profile(), Error);
  const auto arguments = [](int step) {
    return std::vector<Tensor>{tokens({3, 7}, static_cast<uint64_t>(step), 50),
                               tokens({3, 7}, static_cast<uint64_t>(step) + 9, 10), scalar(0.01)};
  };
  std::vector<Tensor> out;
  try {
    for (int i = 0; i < 3; ++i) out = function(arguments(i));
  } catch (const Error& e) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    throw;
  }
  for (const char* no_trace : {"", "no tracer here"}) {
    device.no_trace = no_trace;
    const DeviceProfile p = function.profile();
    EXPECT_EQ(p.note, no_trace);
    EXPECT_EQ(p.traced, p.note.empty());
    ASSERT_EQ(p.ms.size(), p.costs.size());
    // Everything that was executed belongs to a step.
    EXPECT_NEAR(std::accumulate(p.ms.begin(), p.ms.end(), 0.0), p.busy_ms, 1e-6 * p.busy_ms);
    EXPECT_GT(p.busy_ms, 0);
    EXPECT_LE(p.busy_ms, p.wall_ms);
    for (size_t s = 0; s < p.ms.size(); ++s) EXPECT_GT(p.ms[s], 0) << s << " " << p.costs[s].what;
  }
  // A profile is a step as any other.
  const double loss = function(arguments(2))[0].item<double>();
  EXPECT_LT(loss, out[0].item<double>());
}

// Kernels of attention, next to each other and to products, belong to their steps.
TEST(DeviceProfile, KnowsAttentionsKernels) {
  CpuDevice device;
  CompiledFunction compiled = compile([](const std::vector<Tensor>& in) {
    Tensor x = in[0].detach();
    x.set_requires_grad();
    const Tensor y = matmul(scaled_dot_product_attention(x, x, x), in[1]);
    sum(scaled_dot_product_attention(y, y, y)).backward();
    return std::vector<Tensor>{x.grad()};
  });
  runtime::DeviceState state(device, device.modules());
  runtime::DeviceFunction function(compiled, state);
  try {
    function({numbers({2, 9, 8}, 1), numbers({2, 8, 8}, 2)});
  } catch (const Error& e) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    throw;
  }
  const DeviceProfile p = function.profile();
  size_t attentions = 0;
  for (size_t s = 0; s < p.ms.size(); ++s) {
    EXPECT_GT(p.ms[s], 0) << s << " " << p.costs[s].what;
    attentions += p.costs[s].what.starts_with("attention");
  }
  EXPECT_EQ(attentions, 4u);
  EXPECT_NEAR(std::accumulate(p.ms.begin(), p.ms.end(), 0.0), p.busy_ms, 1e-6 * p.busy_ms);
}

TEST(BenchOnDevice, AnOp) {
  CpuDevice device;
  BenchOpOptions options;
  options.op = "rms_norm";
  options.shapes = {"40x96"};
  BenchOpResult r;
  try {
    r = bench_op_on_device(options, device, device.modules());
  } catch (const Error& e) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    throw;
  }
  const double bytes = 2 * 4 * 40 * 96;
  EXPECT_GT(r.ms_min, 0);
  EXPECT_LE(r.ms_min, r.ms_median);
  EXPECT_NEAR(r.gbytes_per_s, bytes / (r.ms_median * 1e-3) * 1e-9, 1e-6 * r.gbytes_per_s);
  EXPECT_GT(r.copy_gbytes_per_s, r.gbytes_per_s);
  EXPECT_GT(r.bandwidth_fraction, 0);
  EXPECT_NEAR(r.floor_ms, bytes / r.copy_gbytes_per_s * 1e-6, 1e-6 * r.floor_ms);
  EXPECT_EQ(r.peak_bytes, bytes);
  EXPECT_EQ(device.allocated_bytes(), 0);
}

TEST(BenchOnDevice, AStep) {
  CpuDevice device;
  Network network;
  CompiledFunction compiled =
      compile([&](const std::vector<Tensor>& in) { return network.step(in); });
  runtime::DeviceState state(device, device.modules());
  runtime::DeviceFunction function(compiled, state);
  try {
    function({tokens({3, 7}, 1, 50), tokens({3, 7}, 2, 10), scalar(0.01)});
  } catch (const Error& e) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    throw;
  }
  const size_t before = device.graph_launches;
  const DeviceStepTimes t =
      device_step_times(function, device, {.bandwidth = 1e9, .half = 1e12, .single = 1e12});
  EXPECT_GE(device.graph_launches, before + 11);  // ten that are timed, one that is traced
  EXPECT_GT(t.step_ms, 0);
  EXPECT_TRUE(t.traced);
  EXPECT_GT(t.busy_ms, 0);
  EXPECT_LE(t.busy_ms, t.wall_ms);
  EXPECT_EQ(t.launches, static_cast<int64_t>(function.info().launches));
  EXPECT_GT(t.make_ms, t.kernels_ms);
  double ms = 0;
  int64_t launches = 0;
  bool update = false;
  for (const DeviceStepTimes::Family& f : t.families) {
    ms += f.ms;
    launches += f.launches;
    EXPECT_GE(f.floor_ms, static_cast<double>(f.bytes) * 1e-6);
    update |= f.name == "update";
  }
  EXPECT_TRUE(update);
  EXPECT_NEAR(ms, t.busy_ms, 1e-6 * ms);
  EXPECT_EQ(launches, t.launches + t.products);
}

}  // namespace
}  // namespace corten::cuda::test
