// A training loop of one's own: a tiny GPT-2 learns to count, compiled as one program per step.
#include <cstdio>

#include "corten/corten.h"
#include "corten/models.h"
#include "corten/optim.h"

using namespace corten;

constexpr int64_t kBatch = 8, kSeq = 32, kVocab = 64, kSteps = 200;

/// Sequences in which each token is three more than the one before: {ids, targets}, [kBatch, kSeq]
/// each.
std::pair<Tensor, Tensor> make_batch(int64_t step) {
  std::vector<int64_t> ids, targets;
  for (int64_t b = 0; b < kBatch; ++b)
    for (int64_t t = 0; t < kSeq; ++t) {
      ids.push_back((7 * step + 5 * b + 3 * t) % kVocab);
      targets.push_back((ids.back() + 3) % kVocab);
    }
  return {from_vector(ids, {kBatch, kSeq}), from_vector(targets, {kBatch, kSeq})};
}

int main() {
  auto model = make_gpt2(
      {.vocab_size = kVocab, .n_positions = kSeq, .n_embd = 64, .n_layer = 2, .n_head = 4});
  model->initialize(/*seed=*/1);
  manual_seed(1);  // of dropout
  std::printf("%lld parameters\n", static_cast<long long>(model->num_parameters()));

  optim::AdamW optimizer(optim::weight_decay_groups(*model, 0.1), {.betas = {0.9, 0.95}});
  const optim::LrSchedule schedule{.kind = optim::LrSchedule::Kind::cosine,
                                   .lr = 3e-3,
                                   .min_lr = 3e-4,
                                   .warmup_steps = 20,
                                   .decay_steps = kSteps};

  // The whole step is one program: forward, backward, clipping and update. Weights and moments are
  // found by the compiler; what changes from step to step comes in as a tensor.
  auto step = compile([&](const std::vector<Tensor>& in) {
    Tensor loss = model->loss(in[0], in[1]);
    loss.backward();
    Tensor norm = optim::clip_grad_norm_(model->parameters(), 1.0);
    optimizer.set_lr(in[2]);
    optimizer.step();
    optimizer.zero_grad();
    return std::vector<Tensor>{loss.detach(), norm};
  });

  for (int64_t s = 0; s < kSteps; ++s) {
    auto [ids, targets] = make_batch(s);
    std::vector<Tensor> out = step({ids, targets, scalar(schedule.at(s))});
    if (s % 20 == 0 || s == kSteps - 1)
      std::printf("step %3lld  loss %.4f  gradient norm %.3f\n", static_cast<long long>(s),
                  out[0].item(), out[1].item());
  }
  const ProgramInfo& info = step.info();
  std::printf("one step: %lld kernels, %lld matrix products, %.1f MB planned\n",
              static_cast<long long>(info.kernels), static_cast<long long>(info.gemms),
              static_cast<double>(info.arena_bytes) / 1e6);

  model->save_pretrained("counting-gpt2");  // a folder that transformers reads, too
}
