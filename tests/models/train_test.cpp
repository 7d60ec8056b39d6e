#include <cmath>
#include <numbers>

#include "corten/optim.h"
#include "golden.h"

namespace corten {
namespace {

using testing::folder;
using testing::Golden;

constexpr int64_t kSteps = 50, kBatch = 4, kSeq = 16;
const std::vector<std::string> kTrained = {"gpt2_tied", "decoders/llama3", "decoders/gemma2"};

/// scripts/peers/training_loop.py: batch().
Tensor batch(int64_t step, int64_t first_token, int64_t vocab) {
  std::vector<int64_t> ids;
  for (int64_t b = 0; b < kBatch; ++b)
    for (int64_t t = first_token; t < first_token + kSeq; ++t)
      ids.push_back((17 * step + 5 * b * b + 3 * t) % vocab);
  return from_vector(ids, {kBatch, kSeq});
}

/// scripts/peers/training_loop.py: train_losses().
std::vector<float> train_losses(const std::string& name, bool compiled) {
  auto model = load_model(folder(name), DType::f32);  // eval mode: no dropout
  const int64_t vocab = model->vocab_size();
  optim::AdamW optimizer(optim::weight_decay_groups(*model, 0.1), {.betas = {0.9, 0.95}});
  const optim::LrSchedule schedule{.kind = optim::LrSchedule::Kind::cosine,
                                   .lr = 3e-3,
                                   .min_lr = 3e-4,
                                   .warmup_steps = 5,
                                   .decay_steps = kSteps};
  Function step = [&](const std::vector<Tensor>& in) {
    Tensor loss = model->loss(in[0], in[1]);
    loss.backward();
    optim::clip_grad_norm_(model->parameters(), 1.0);
    optimizer.set_lr(in[2]);
    optimizer.step();
    optimizer.zero_grad();
    return std::vector<Tensor>{loss.detach()};
  };
  CompiledFunction program = compile(step);
  std::vector<float> losses;
  for (int64_t s = 0; s < kSteps; ++s) {
    const std::vector<Tensor> in = {
        batch(s, 0, vocab), batch(s, 1, vocab),
        from_vector(std::vector<float>{static_cast<float>(schedule.at(s))}, {})};
    losses.push_back((compiled ? program(in) : step(in))[0].item<float>());
  }
  return losses;
}

TEST(Train, FiftyStepsAsPyTorch) {
  double worst = 0;
  for (const std::string& name : kTrained) {
    const std::vector<float> expected = Golden(name)["train_losses"].to_vector<float>();
    const std::vector<float> losses = train_losses(name, true);
    EXPECT_LT(losses.back(), 0.7 * losses.front()) << name;
    for (size_t i = 0; i < expected.size(); ++i)
      worst = std::max(worst, std::abs(losses[i] / double{expected[i]} - 1));
    EXPECT_LT(worst, 1e-5) << name;
  }
  RecordProperty("max_relative_difference", std::to_string(worst));
  printf("largest relative difference to PyTorch's losses: %.3g\n", worst);
}

TEST(Train, CompiledEqualsEagerToTheBit) {
  for (const std::string& name : kTrained)
    EXPECT_EQ(train_losses(name, true), train_losses(name, false)) << name;
}

}  // namespace
}  // namespace corten
