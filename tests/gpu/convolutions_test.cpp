// Convolutions of programs of a device: what is asked of its library, and what comes out.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "base/format.h"
#include "codegen/object_cache.h"
#include "cuda/binaries.h"
#include "cuda/load.h"
#include "cuda/product_plans.h"
#include "cuda/step_costs.h"
#include "gpu/cpu_device.h"
#include "gpu/mirror.h"
#include "gpu/vision.h"
#include "runtime/inspect.h"

namespace corten::cuda::test {
namespace {

using Kind = Convolution::Kind;

std::unique_ptr<DevicePlan> plan_of(const Function& function,
                                    const std::vector<Tensor>& arguments) {
  CompiledFunction compiled = compile(function);
  compiled.plan(arguments);
  return plan_for_device(*runtime::inspect(compiled).recorded, true);
}
std::vector<Tensor> arguments_of(const ConvolutionCase& c) {
  return {numbers(c.x, 1), numbers(c.w, 2), numbers({c.w[0]}, 3)};
}

TEST(Convolutions, HaveTheCpusBitsInF32) {
  CpuDevice device;
  const std::vector<ConvolutionCase>& cases = convolution_cases();
  const Function all = [&](const std::vector<Tensor>& in) {
    std::vector<Tensor> out;
    for (size_t i = 0; i < cases.size(); ++i)
      for (Tensor& t : convolve(cases[i], DType::f32, {in[3 * i], in[3 * i + 1], in[3 * i + 2]}))
        out.push_back(std::move(t));
    return out;
  };
  const auto arguments = [&](int) {
    std::vector<Tensor> in;
    for (const ConvolutionCase& c : cases)
      for (Tensor& t : arguments_of(c)) in.push_back(std::move(t));
    return in;
  };
  Comparison c;
  try {
    c = compare_with_cpu(all, arguments, 2, device, device.modules());
  } catch (const Error&) {
    if (device.missing.empty()) throw;
    GTEST_SKIP() << device.missing;
  }
  EXPECT_TRUE(c.same_bits) << c.where;
  EXPECT_EQ(c.info.convolutions, 3 * cases.size());
}

// Results are rounded once; gradients of weights are not rounded to the operands' type at all.
TEST(Convolutions, OfHalvesAreRoundedOnce) {
  for (const DType dtype : {DType::bf16, DType::f16})
    for (const ConvolutionCase& c : {convolution_cases()[0], convolution_cases()[2]}) {
      CpuDevice device;
      const auto arguments = [&](int) { return arguments_of(c); };
      const auto compare = [&](size_t result) {
        return compare_with_cpu(
            [&](const std::vector<Tensor>& in) {
              return std::vector<Tensor>{convolve(c, dtype, in)[result]};
            },
            arguments, 1, device, device.modules());
      };
      try {
        const double unit = dtype == DType::bf16 ? 1.0 / 128 : 1.0 / 1024;
        for (size_t result = 0; result < (c.bias ? 4u : 3u); ++result) {
          const Comparison got = compare(result);
          const bool wide = result >= 2;  // of the weight and the bias
          // The loss's gradient is what was rounded, to neighbours where sums differ.
          EXPECT_LE(got.difference, wide ? unit / 8 : unit) << result << ": " << got.where;
        }
      } catch (const Error&) {
        if (device.missing.empty()) throw;
        GTEST_SKIP() << device.missing;
      }
    }
}

// What the plan says without a device: kinds, types, workspace within the arena, FLOPs.
TEST(Convolutions, ArePlanned) {
  const ConvolutionCase& c = convolution_cases()[1];
  const auto types = [&](DType dtype) {
    std::map<Kind, ProductType> out;
    const auto plan = plan_of([&](const std::vector<Tensor>& in) { return convolve(c, dtype, in); },
                              arguments_of(c));
    for (const auto& [step, planned] : plan->convolutions()) {
      out[planned.of.kind] = planned.of.type;
      EXPECT_GT(planned.max_workspace, 0);
      EXPECT_GE(planned.workspace, 0);
      EXPECT_GE(plan->info().arena_bytes, planned.max_workspace);
      // [3, 4, 10, 7] by [8, 2, 3, 2] to [3, 8, 5, 6].
      EXPECT_EQ(planned.flops(), 2.0 * 3 * 8 * 5 * 6 * 2 * 3 * 2);
    }
    EXPECT_EQ(plan->info().convolutions, 3u);
    EXPECT_EQ(plan->info().flops, 3 * 2.0 * 3 * 8 * 5 * 6 * 2 * 3 * 2);
    size_t forward = 0, backward = 0;
    for (const StepCost& cost : step_costs(plan->partition(), plan->kernels())) {
      forward += cost.family == "convolutions, forward";
      backward += cost.family == "convolutions, backward";
    }
    EXPECT_EQ(forward, 1u);
    EXPECT_EQ(backward, 2u);
    return out;
  };
  using Types = std::map<Kind, ProductType>;
  EXPECT_EQ(types(DType::f32), (Types{{Kind::forward, ProductType::f32},
                                      {Kind::data_gradient, ProductType::f32},
                                      {Kind::weight_gradient, ProductType::f32}}));
  // Halves in f32 lose nothing in tf32.
  EXPECT_EQ(types(DType::bf16), (Types{{Kind::forward, ProductType::tf32},  // with a bias
                                       {Kind::data_gradient, ProductType::bf16},
                                       {Kind::weight_gradient, ProductType::tf32}}));
  set_float32_matmul_precision("high");
  EXPECT_EQ(types(DType::f32).at(Kind::forward), ProductType::tf32);
  set_float32_matmul_precision("highest");
}

// Images that are not where the library reads them are copied.
TEST(Convolutions, OfViews) {
  CpuDevice device;
  const Tensor w = numbers({4, 3, 3, 3}, 2);
  const auto arguments = [&](int) { return std::vector<Tensor>{numbers({2, 6, 7, 8}, 1)}; };
  const Function function = [&](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{conv2d(in[0].slice(1, 1, 4), w),
                               conv2d(in[0].slice(3, 1, 8).slice(1, 0, 3), w),
                               conv2d(in[0].slice(1, 0, 3).transpose(2, 3), w)};
  };
  Comparison c;
  try {
    c = compare_with_cpu(function, arguments, 1, device, device.modules());
  } catch (const Error&) {
    if (device.missing.empty()) throw;
    GTEST_SKIP() << device.missing;
  }
  EXPECT_TRUE(c.same_bits) << c.where;
  EXPECT_EQ(c.info.convolutions, 3u);
}

TEST(Convolutions, WithoutImagesAreNoCalls) {
  CpuDevice device;
  const ConvolutionCase c{{0, 3, 5, 5}, {4, 3, 3, 3}, {}};
  Comparison got;
  try {
    got =
        compare_with_cpu([&](const std::vector<Tensor>& in) { return convolve(c, DType::f32, in); },
                         [&](int) { return arguments_of(c); }, 1, device, device.modules());
  } catch (const Error&) {
    if (device.missing.empty()) throw;
    GTEST_SKIP() << device.missing;
  }
  EXPECT_TRUE(got.same_bits) << got.where;
  EXPECT_EQ(device.planned_convolutions, 0u);
}

TEST(Convolutions, NeedALibrary) {
  CpuDevice device;
  device.no_convolutions = "no cuDNN: install it";
  const Tensor w = numbers({4, 3, 3, 3}, 2);
  try {
    compare_with_cpu(
        [&](const std::vector<Tensor>& in) { return std::vector<Tensor>{conv2d(in[0], w)}; },
        [&](int) {
          return std::vector<Tensor>{numbers({2, 3, 7, 8}, 1)};
        },
        1, device, device.modules());
    ADD_FAILURE();
  } catch (const Error& e) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    EXPECT_EQ(e.kind(), ErrorKind::Resource);
    EXPECT_EQ(std::string(e.what()), device.no_convolutions);
  }
}

// What a device's library proposed once is what later processes use.
TEST(ConvolutionPlans, AreKept) {
  CpuDevice device;
  device.products =
      format("made at {}", std::chrono::system_clock::now().time_since_epoch().count());
  Convolution c{
      .images = 2, .channels = 3, .size = {5, 5}, .filters = 4, .kernel = {3, 3}, .out = {3, 3}};
  convolution_plan(device, c, 1 << 20);
  EXPECT_EQ(convolution_plan(device, c, 1 << 20).workspace_bytes, 1 << 20);
  const bool kept = !codegen::object_cache().folder().empty();
  EXPECT_EQ(device.planned_convolutions, kept ? 1u : 2u);
  const size_t before = device.planned_convolutions;
  convolution_plan(device, c, 2 << 20);
  c.kind = Kind::data_gradient;
  convolution_plan(device, c, 1 << 20);
  c.stride[1] = 2;
  convolution_plan(device, c, 1 << 20);
  device.products += "b";
  convolution_plan(device, c, 1 << 20);
  EXPECT_EQ(device.planned_convolutions, before + 4);
}

void check_training(const std::string& type, DType dtype, double tolerance) {
  CpuDevice device;
  ImageNetwork network(type, dtype);
  Comparison c;
  try {
    c = compare_with_cpu([&](const std::vector<Tensor>& in) { return network.train(in); },
                         ImageNetwork::arguments, 3, device, device.modules());
  } catch (const Error&) {
    if (device.missing.empty()) throw;
    GTEST_SKIP() << device.missing;
  }
  EXPECT_GT(c.info.convolutions, 1u);
  ASSERT_EQ(c.cpu.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(c.cpu[i], c.device[i], tolerance) << "step " << i;
  EXPECT_NE(c.cpu[0], c.cpu[2]);
  if (tolerance == 0) EXPECT_TRUE(c.same_bits) << c.where;
}
// Convolution, batch norm with its running statistics, pooling.
TEST(ImageModels, ResNetTrainsWithTheCpusBits) {
  check_training("resnet", DType::f32, 0);
}
TEST(ImageModels, ResNetTrainsInBf16) {
  check_training("resnet", DType::bf16, 0.03);
}
TEST(ImageModels, VitTrainsAsTheCpuDoes) {
  check_training("vit", DType::f32, 2e-5);
}
TEST(ImageModels, VitTrainsInBf16) {
  check_training("vit", DType::bf16, 0.02);
}

// Convolutions, batch norm, pooling: every kernel between the library's calls compiles.
TEST(ImageModels, KernelsForSm80AndSm90) {
  std::string missing;
  Plugin* plugin = find_plugin(missing);
  if (plugin) missing = plugin->compiler().missing;
  if (!missing.empty()) GTEST_SKIP() << missing;
  ImageNetwork network("resnet", DType::bf16);
  const auto plan = plan_of([&](const std::vector<Tensor>& in) { return network.train(in); },
                            ImageNetwork::arguments(0));
  for (const char* architecture : {"sm_80", "sm_90"})
    for (const Binary& b : compile_kernels(plan->texts(), architecture, 2))
      for (const KernelResources& r : b.resources)
        EXPECT_LE(r.spill_store_bytes + r.spill_load_bytes, 256) << r.name;
}

TEST(ImageModels, Infer) {
  for (const std::string type : {"resnet", "vit"}) {
    SCOPED_TRACE(type);
    CpuDevice device;
    ImageNetwork network(type, DType::f32);
    network.model->eval();
    Comparison c;
    try {
      c = compare_with_cpu([&](const std::vector<Tensor>& in) { return network.infer(in); },
                           ImageNetwork::arguments, 2, device, device.modules());
    } catch (const Error&) {
      if (device.missing.empty()) throw;
      GTEST_SKIP() << device.missing;
    }
    EXPECT_GT(c.info.convolutions, 0u);
    EXPECT_LT(c.difference, type == "resnet" ? 1e-30 : 1e-4) << c.where;
  }
}

}  // namespace
}  // namespace corten::cuda::test
