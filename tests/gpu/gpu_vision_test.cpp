// Convolutions, image models and products with biases on a GPU. Skipped without one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/format.h"
#include "cuda/product_plans.h"
#include "gpu/card.h"
#include "gpu/mirror.h"
#include "gpu/vision.h"

namespace corten::cuda::test {
namespace {

void raise(const Status& status) {
  if (!status.empty()) resource_error("{}", status);
}

TEST(Gpu, Convolutions) {
  DEVICE_OR_SKIP(device);
  CONVOLUTIONS_OR_SKIP(device);
  std::string text;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    double worst = 0;
    for (const ConvolutionCase& c : convolution_cases()) {
      const Comparison got = compare_with_cpu(
          [&](const std::vector<Tensor>& in) { return convolve(c, dtype, in); },
          [&](int) {
            return std::vector<Tensor>{numbers(c.x, 1), numbers(c.w, 2), numbers({c.w[0]}, 3)};
          },
          2, *device);
      EXPECT_EQ(got.info.convolutions, 3u);
      EXPECT_LT(got.difference, dtype == DType::f32   ? 1e-5
                                : dtype == DType::f16 ? 4e-3
                                                      : 0.03)
          << name(dtype) << ": " << got.where;
      worst = std::max(worst, got.difference);
    }
    text += format("{}{} {:.1e}", text.empty() ? "" : ", ", name(dtype), worst);
  }
  report("convolutions and gradients: largest difference to the CPU", text);
}

// The same bits in every run; the CPU's losses but for rounding.
TEST(Gpu, TrainsImageModelsAsTheCpuDoes) {
  DEVICE_OR_SKIP(device);
  CONVOLUTIONS_OR_SKIP(device);
  for (const std::string type : {"resnet", "vit"})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      std::vector<double> losses[2];
      double worst = 0;
      for (int run : {0, 1}) {
        ImageNetwork network(type, dtype);
        const Comparison c =
            compare_with_cpu([&](const std::vector<Tensor>& in) { return network.train(in); },
                             ImageNetwork::arguments, 20, *device);
        losses[run] = c.device;
        for (size_t i = 0; i < c.cpu.size(); ++i)
          worst = std::max(worst, std::fabs(c.cpu[i] - c.device[i]));
      }
      EXPECT_EQ(losses[0], losses[1]) << type << ' ' << name(dtype);
      EXPECT_LT(worst, dtype == DType::f32 ? 0.01 : 0.2) << type << ' ' << name(dtype);
      report(
          format("20 steps of a small {} in {}: largest difference of a loss", type, name(dtype)),
          format("{:.1e}", worst));
    }
}

// A product that adds a bias has the bits of the product and an addition.
TEST(Gpu, BiasesOfProducts) {
  DEVICE_OR_SKIP(device);
  const int64_t m = 200, n = 136, k = 520;
  const auto values = [](int64_t count, uint64_t seed) {
    return numbers({count}, seed).to_vector<float>();
  };
  for (const ProductType type : {ProductType::f32, ProductType::tf32}) {
    Product p{.type = type, .m = m, .n = n, .k = k, .lda = k, .ldb = n, .ldc = n};
    uint64_t memory[5] = {};
    const int64_t sizes[5] = {m * k, k * n, m * n, n, kMaxWorkspace / 4};
    for (size_t i = 0; i < 5; ++i) raise(device->allocate(4 * sizes[i], memory[i]));
    const std::vector<float> bias = values(n, 3);
    const std::vector<float> operands[2] = {values(m * k, 1), values(k * n, 2)};
    for (size_t i : {0u, 1u}) raise(device->to_device(memory[i], operands[i].data(), 4 * sizes[i]));
    raise(device->to_device(memory[3], bias.data(), 4 * n));
    std::vector<float> out[2];
    ProductPlan plans[2];
    for (const bool biased : {false, true}) {
      p.bias = biased;
      raise(device->plan_product(p, plans[biased]));
      raise(device->run_product(p, plans[biased],
                                {.a = memory[0], .b = memory[1], .c = memory[2], .bias = memory[3],
                                 .workspace = memory[4]}));
      out[biased].resize(static_cast<size_t>(m * n));
      raise(device->to_host(out[biased].data(), memory[2], 4 * m * n));
      raise(device->synchronize());
    }
    EXPECT_EQ(plans[0].algorithm, plans[1].algorithm);
    for (size_t i = 0; i < out[0].size(); ++i)
      ASSERT_EQ(out[0][i] + bias[i % static_cast<size_t>(n)], out[1][i]);
    for (uint64_t a : memory) raise(device->release(a));
  }
  report("a bias as epilogue: the bits of an addition", "yes");
}

}  // namespace
}  // namespace corten::cuda::test
