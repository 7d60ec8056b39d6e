// A training step takes no memory of its own: everything was planned.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "corten/compile.h"
#include "corten/memory.h"
#include "corten/models.h"
#include "corten/optim.h"
#include "corten/random.h"
#include "corten/vision.h"
#include "train/train_step.h"

namespace {

constexpr size_t kLarge = 64 << 10;
std::atomic<bool> watching = false;
std::atomic<size_t> largest = 0;

void* take(size_t size, size_t alignment) {
  if (watching && size > largest) largest = size;
  void* p = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (!p) throw std::bad_alloc();
  return p;
}

}  // namespace

void* operator new(size_t size) { return take(size, alignof(std::max_align_t)); }
void* operator new(size_t size, std::align_val_t alignment) {
  return take(size, static_cast<size_t>(alignment));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }

namespace corten::testing {
namespace {

TEST(Allocation, NothingLargeInAStep) {
  GPT2Config config;
  config.vocab_size = 1024;
  config.n_embd = 128;
  config.n_layer = 2;
  config.n_head = 4;
  config.n_positions = 256;
  const std::unique_ptr<CausalLM> model = make_gpt2(config);
  model->initialize(1);
  TrainStep step(*model, {.batch = 4, .seq = 256, .dtype = DType::bf16});
  auto run = [&] {
    for (size_t i = 0; i < step.ids().size(); ++i) step.ids()[i] = step.targets()[i] = static_cast<int64_t>(i % 1000);
    return step.run(1e-3).loss;
  };
  run();
  run();  // traces once more
  ASSERT_GT(step.plan().arena_bytes, 4 << 20) << "too small to show anything";
  const int64_t reserved = memory_reserved();
  largest = 0;
  watching = true;
  std::vector<char> large(2 * kLarge);  // this test would see one
  EXPECT_GE(largest.exchange(0), 2 * kLarge);
  run();
  watching = false;
  EXPECT_LE(largest, kLarge);
  EXPECT_EQ(memory_reserved(), reserved);
}

// Convolutions lay their patches out in planned workspace.
TEST(Allocation, NothingLargeInAStepOnImages) {
  auto model = AutoModelForImageClassification::from_config(
      R"({"model_type": "resnet", "embedding_size": 16, "hidden_sizes": [32, 64], "depths": [1, 2],
          "num_labels": 10})");
  model->initialize(1);
  optim::SGD optimizer(model->parameters(), {.lr = 0.01, .momentum = 0.9});
  CompiledFunction step = compile([&](const std::vector<Tensor>& in) {
    Tensor loss = model->loss(in[0], in[1]);
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    return std::vector<Tensor>{loss.detach()};
  });
  const std::vector<Tensor> batch = {normal_init({4, 3, 96, 96}, 0, 1, 1, "pixels"),
                                     tensor({1, 2, 3, 4})};
  for (int i = 0; i < 3; ++i) step(batch);
  const int64_t reserved = memory_reserved();
  largest = 0;
  watching = true;
  step(batch);
  watching = false;
  EXPECT_LE(largest, kLarge);
  EXPECT_EQ(memory_reserved(), reserved);
}

}  // namespace
}  // namespace corten::testing
