// How long gradients live in a compiled step: until their parameter is updated, where nothing has to wait for all of them.
#include <gtest/gtest.h>

#include "corten/corten.h"

namespace corten {
namespace {

constexpr int64_t kWidth = 512, kLayers = 6, kGradient = kWidth * kWidth * 4;  // bytes of one

/// Bytes of the arena of a step that trains kLayers square matrices on few rows.
int64_t arena_bytes(double clip) {
  std::vector<Tensor> weights;
  for (int64_t i = 0; i < kLayers; ++i) weights.push_back(randn({kWidth, kWidth}).mul_(0.02).set_requires_grad());
  optim::AdamW optimizer(weights, {.lr = 1e-3});
  CompiledFunction step = compile([&](const std::vector<Tensor>& in) {
    Tensor x = in[0];
    for (const Tensor& w : weights) x = tanh(matmul(x, w));
    Tensor loss = mean(x * x);
    loss.backward();
    const Tensor norm = clip > 0 ? optim::clip_grad_norm_(weights, clip) : optim::grad_norm(weights);
    optimizer.step();
    optimizer.zero_grad();
    return std::vector<Tensor>{loss.detach(), norm};
  });
  const std::vector<Tensor> in = {randn({8, kWidth})};
  step(in);  // makes the optimizer's state
  step(in);
  return step.info().arena_bytes;
}

TEST(UpdateMemory, GradientsAreUsedUpOneByOne) {
  EXPECT_LT(arena_bytes(0), 2 * kGradient);
}

TEST(UpdateMemory, ClippingKeepsThemAllButCopiesNone) {
  const int64_t bytes = arena_bytes(1.0);
  EXPECT_GE(bytes, kLayers * kGradient);
  EXPECT_LT(bytes, (kLayers + 1) * kGradient);
}

}  // namespace
}  // namespace corten
