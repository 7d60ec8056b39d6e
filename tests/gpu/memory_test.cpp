// What makes a device's arena smaller: logits in pieces of rows, values that are computed again.
#include <gtest/gtest.h>

#include <cstdlib>

#include "corten/models.h"
#include "corten/optim.h"
#include "corten/random.h"
#include "gpu/cpu_device.h"
#include "gpu/mirror.h"
#include "gpu/samples.h"
#include "runtime/device_function.h"

namespace corten::cuda::test {
namespace {

class ScopedVariable {
 public:
  ScopedVariable(const char* name, const std::string& value) : name_(name) {
    setenv(name, value.c_str(), 1);
  }
  ~ScopedVariable() { unsetenv(name_); }
  ScopedVariable(const ScopedVariable&) = delete;

 private:
  const char* name_;
};

// Two steps of a small GPT-2 whose logits, 4 x 40 rows of 300 numbers, are its largest values.
Comparison train(CpuDevice& device, DType dtype, int64_t layers,
                 int64_t budget = std::numeric_limits<int64_t>::max()) {
  auto model = make_gpt2(
      {.vocab_size = 300, .n_positions = 40, .n_embd = 16, .n_layer = layers, .n_head = 2});
  model->initialize(1);
  manual_seed(1);
  optim::AdamW optimizer(optim::weight_decay_groups(*model, 0.1), {});
  const auto arguments = [](int step) {
    return std::vector<Tensor>{tokens({4, 40}, static_cast<uint64_t>(step), 300),
                               tokens({4, 40}, static_cast<uint64_t>(step) + 5, 300)};
  };
  const auto step = [&](const std::vector<Tensor>& in) {
    Tensor loss;
    {
      const Autocast autocast(dtype, dtype != DType::f32);
      loss = model->loss(in[0], in[1]);
    }
    loss.backward();
    optim::clip_grad_norm_(model->parameters(), 1.0);
    optimizer.step();
    optimizer.zero_grad();
    return std::vector<Tensor>{loss.detach()};
  };
  return compare_with_cpu(step, arguments, 2, device, device.modules(), 0, budget);
}

constexpr int64_t kRowBytes = 300 * 2;

TEST(DeviceMemory, LogitsInPiecesHaveTheSameBits) {
  CpuDevice device;
  const Comparison whole = train(device, DType::bf16, 1);
  if (!device.missing.empty()) GTEST_SKIP() << device.missing;
  const ScopedVariable pieces("CORTEN_CHUNK_BYTES", std::to_string(64 * kRowBytes));
  const Comparison chunked = train(device, DType::bf16, 1);
  EXPECT_EQ(whole.device, chunked.device);
  // Three pieces of at most 64 rows: logits, gradients of the rows and of the head's weight.
  EXPECT_EQ(chunked.info.products, whole.info.products + 3 * 2);
  EXPECT_LT(chunked.info.arena_bytes, whole.info.arena_bytes);
}

TEST(DeviceMemory, KeepsToABudgetByComputingAgain) {
  CpuDevice device;
  const Comparison all = train(device, DType::f32, 2);
  if (!device.missing.empty()) GTEST_SKIP() << device.missing;
  EXPECT_EQ(all.info.recomputed, 0);
  const int64_t budget = all.info.arena_bytes * 8 / 10;
  const Comparison less = train(device, DType::f32, 2, budget);
  EXPECT_EQ(all.device, less.device);
  EXPECT_LE(less.info.arena_bytes, budget);
  EXPECT_GT(less.info.recomputed, 0);
}

// A budget of the step is one on the device too, and the functions of a device share one arena.
TEST(DeviceMemory, FunctionsKeepToTheirBudgetAndShareTheArena) {
  CpuDevice device;
  auto model =
      make_gpt2({.vocab_size = 300, .n_positions = 40, .n_embd = 16, .n_layer = 2, .n_head = 2});
  model->initialize(1);
  const auto loss = [&](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{model->loss(in[0], in[1])};
  };
  const auto gradient = [&](const std::vector<Tensor>& in) {
    const Tensor mean = model->loss(in[0], in[1]);
    return std::vector<Tensor>{mean.detach(), grad({mean}, model->parameters())[0]};
  };
  const std::vector<Tensor> in{tokens({4, 40}, 1, 300), tokens({4, 40}, 2, 300)};
  runtime::DeviceState state(device, device.modules());
  CompiledFunction free = compile(gradient), small = compile(loss);
  runtime::DeviceFunction on_device(free, state), evaluation(small, state);
  Tensor want;
  try {
    want = on_device(in)[1];
  } catch (const Error&) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    throw;
  }
  const int64_t arena = on_device.info().arena_bytes, before = device.allocated_bytes();
  evaluation(in);
  EXPECT_LT(device.allocated_bytes() - before, evaluation.info().arena_bytes);
  EXPECT_EQ(on_device(in)[1].to_vector<float>(), want.to_vector<float>());

  const int64_t needed = free.info().state_bytes + free.info().argument_bytes +
                         free.info().output_bytes + device.info().workspace_bytes;
  CompiledFunction less = compile(gradient, {.memory_budget = needed + arena * 9 / 10});
  runtime::DeviceFunction fits(less, state);
  EXPECT_EQ(fits(in)[1].to_vector<float>(), want.to_vector<float>());
  EXPECT_LE(fits.info().arena_bytes, arena * 9 / 10);
  CompiledFunction least = compile(gradient, {.memory_budget = needed + arena / 10});
  runtime::DeviceFunction refuses(least, state);
  try {
    refuses(in);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Resource);
    EXPECT_NE(std::string(e.what()).find("of the device, however much it computes again"),
              std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace corten::cuda::test
