// How long gradients live in a compiled step: until their parameter is updated, where nothing has to wait for all of them.
#include <gtest/gtest.h>

#include "corten/corten.h"
#include "models/presets.h"
#include "runtime/null_device.h"
#include "train/model_setup.h"
#include "train/train_step.h"

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
  EXPECT_LT(bytes, (kLayers + 2) * kGradient);
}

// What the parts of the compiler achieve together: logits in pieces, attention in tiles, cheap values computed again.
TEST(UpdateMemory, Gpt2StepNeedsNoMoreThanItDid) {
  const runtime::NullDeviceScope null;
  const std::unique_ptr<CausalLM> model = build_model(preset_config("gpt2").dump(), "", 1);
  for (double clip : {0.0, 1.0}) {
    StepSettings settings{.batch = 4, .seq = 1024, .dtype = DType::bf16};
    settings.optim.clip_grad_norm = clip;
    TrainStep step(*model, settings);
    step.plan();
    EXPECT_LT(step.planned_bytes(), 2'800'000'000u) << "clipping at " << clip;
    EXPECT_GT(step.planned_bytes(), 12u * 124'439'808u);
  }
}

}  // namespace
}  // namespace corten
