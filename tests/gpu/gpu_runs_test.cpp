// Runs on a GPU: steps that overlap, memory budgets, generation. Skipped without one.
#include <gtest/gtest.h>

#include <cmath>

#include "base/format.h"
#include "corten/generate.h"
#include "corten/models.h"
#include "corten/random.h"
#include "gpu/card.h"
#include "gpu/samples.h"
#include "runtime/device_function.h"
#include "train/train_step.h"

namespace corten::cuda::test {
namespace {

constexpr int64_t kVocabulary = 500, kBatch = 4, kSeq = 64;

std::unique_ptr<CausalLM> model() {
  auto out = make_gpt2(
      {.vocab_size = kVocabulary, .n_positions = kSeq, .n_embd = 128, .n_layer = 2, .n_head = 4});
  out->initialize(1);
  return out;
}

struct Trained {
  std::vector<float> losses;
  int64_t arena_bytes = 0;
};
Trained train(Device& device, int steps, bool overlap, DType dtype, int64_t budget = 0) {
  const auto gpt2 = model();
  manual_seed(1);
  TrainStep step(*gpt2, {.batch = kBatch,
                         .seq = kSeq,
                         .dtype = dtype,
                         .memory_budget = budget,
                         .optim = {.clip_grad_norm = 1.0}});
  step.use_device(std::make_unique<runtime::DeviceState>(device));
  Trained out;
  for (int i = 0; i < steps; ++i) {
    for (size_t k = 0; k < step.ids().size(); ++k) {
      step.ids()[k] = (i * 7 + static_cast<int64_t>(k) * 3) % kVocabulary;
      step.targets()[k] = (step.ids()[k] + 3) % kVocabulary;
    }
    step.begin(1e-3);
    if (overlap && i == 0) continue;  // one step is always in flight
    out.losses.push_back(step.end().loss);
  }
  if (overlap) out.losses.push_back(step.end().loss);
  out.arena_bytes = step.info().arena_bytes;
  return out;
}

TEST(Gpu, StepsThatOverlapHaveTheSameBits) {
  DEVICE_OR_SKIP(device);
  const Trained one_by_one = train(*device, 50, false, DType::bf16);
  const Trained overlapping = train(*device, 50, true, DType::bf16);
  EXPECT_EQ(one_by_one.losses, overlapping.losses);
  EXPECT_LT(overlapping.losses.back(), overlapping.losses.front() - 1);
  report("50 steps that overlap: the bits of steps one by one",
         one_by_one.losses == overlapping.losses ? "yes" : "no");
}

// Values that are computed again have the bits of those that were kept.
TEST(Gpu, KeepsToABudget) {
  DEVICE_OR_SKIP(device);
  const Trained all = train(*device, 5, false, DType::f32);
  const auto gpt2 = model();
  TrainStep planned(*gpt2, {.batch = kBatch,
                            .seq = kSeq,
                            .optim = {.clip_grad_norm = 1.0},
                            .cuda = true});
  planned.plan();
  const auto budget = static_cast<int64_t>(planned.planned_bytes()) - all.arena_bytes / 5;
  const Trained less = train(*device, 5, false, DType::f32, budget);
  EXPECT_LE(less.arena_bytes, all.arena_bytes * 4 / 5);
  EXPECT_EQ(less.losses, all.losses);
  report("arena of a step without and with a budget",
         format("{} and {} KiB", all.arena_bytes >> 10, less.arena_bytes >> 10));
}

TEST(Gpu, GeneratesTheCpusTokens) {
  DEVICE_OR_SKIP(device);
  const auto gpt2 = model();
  runtime::DeviceState state(*device);
  DecodeSession there(*gpt2, 1, kSeq, true, false, &state), here(*gpt2, 1, kSeq);
  const std::vector<int64_t> prompt{3, 14, 15, 92, 65};
  std::vector<float> got = there.prefill(prompt), want = here.prefill(prompt);
  double worst = 0;
  for (int64_t i = 0; i < 40; ++i) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t k = 0; k < got.size(); ++k)
      worst = std::max(worst, static_cast<double>(std::fabs(got[k] - want[k])));
    const int64_t token = i * 37 % kVocabulary;
    got = there.decode({token});
    want = here.decode({token});
  }
  EXPECT_LT(worst, 1e-3);
  report("40 tokens decoded in f32: largest difference of a logit", format("{:.1e}", worst));
}

}  // namespace
}  // namespace corten::cuda::test
