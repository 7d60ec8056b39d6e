// Whole runs on a device whose work is done as late as can be: a step that is begun before the last one
// has ended changes nothing.
#include <gtest/gtest.h>

#include <cstring>

#include "base/file.h"
#include "base/strings.h"
#include "gpu/cpu_device.h"
#include "gpu/samples.h"
#include "runtime/device_function.h"
#include "train/training.h"

namespace corten::cuda::test {
namespace {

// The bytes of a file's tensors, which come behind a header of so many bytes.
std::string tensors_of(const std::string& path) {
  const std::string bytes = read_file(path);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  return bytes.substr(8 + header);
}

// Checkpoints and evaluations behind every step, against a run whose steps overlap, and which is stopped
// in between and resumed.
TEST(DeviceTrainer, StepsThatOverlapHaveTheSameBits) {
  CpuDevice device;
  TrainOptions options;
  options.cuda_device = [&] {
    return std::make_unique<runtime::DeviceState>(device, device.modules());
  };
  const auto sets = [](const std::string& every) {
    return std::vector<std::string>{"train.device=cuda",       "train.steps=5",
                                    "train.save_every=" + every, "train.eval_every=" + every,
                                    "train.eval_batches=1",    "train.virtual_shards=1",
                                    "model.n_layer=1",         "model.n_embd=16",
                                    "data.seq=8"};
  };
  corten::testing::TinyRun one_by_one, overlapping;
  TrainResult want;
  try {
    want = one_by_one.train(sets("1"), options);
  } catch (const Error&) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    throw;
  }
  ASSERT_EQ(want.failure, "");
  device.lazy = true;
  const TrainResult stopped = overlapping.train(sets("5"), options, 2);
  EXPECT_NE(stopped.stopped, StopSignal::None);
  EXPECT_EQ(stopped.steps, 3) << "the step in flight is ended, not lost";
  options.resume = true;
  const TrainResult got = overlapping.train(sets("5"), options);
  EXPECT_EQ(got.losses, want.losses);
  EXPECT_EQ(got.tokens, want.tokens);
  EXPECT_EQ(got.val_loss, want.val_loss);
  for (const char* name : {"model.safetensors", "training_state.safetensors"})
    EXPECT_TRUE(tensors_of(join_path(got.checkpoint, name)) ==
                tensors_of(join_path(want.checkpoint, name)))
        << name;
  EXPECT_EQ(device.allocated_bytes(), 0);
}

// Calls in flight keep their arguments, and faults are raised where they end.
TEST(DeviceFunction, CallsOverlap) {
  CpuDevice device;
  device.lazy = true;
  CompiledFunction function = compile([](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{embedding(in[0], in[1])};
  });
  runtime::DeviceState state(device, device.modules());
  runtime::DeviceFunction on_device(function, state);
  const Tensor table = numbers({5, 3}, 1);
  std::vector<int64_t> ids{0, 1};
  const auto begin = [&](int64_t a, int64_t b) {
    ids = {a, b};  // the buffer is the same for all calls
    return on_device.begin({from_memory(ids.data(), {2}, DType::i64, nullptr), table});
  };
  std::vector<float> rows = table.to_vector<float>();
  const auto row = [&](int64_t a, int64_t b) {
    std::vector<float> out(rows.begin() + 3 * a, rows.begin() + 3 * a + 3);
    out.insert(out.end(), rows.begin() + 3 * b, rows.begin() + 3 * b + 3);
    return out;
  };
  runtime::DeviceFunction::Call first, second, third;
  try {
    first = begin(1, 2);
  } catch (const Error&) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    throw;
  }
  second = begin(3, 4);
  third = begin(0, 7);
  EXPECT_EQ(on_device.end(first)[0].to_vector<float>(), row(1, 2));
  EXPECT_EQ(on_device.end(second)[0].to_vector<float>(), row(3, 4));
  EXPECT_THROW(on_device.end(third), Error);
  EXPECT_EQ(on_device.end(begin(4, 0))[0].to_vector<float>(), row(4, 0));
}

}  // namespace
}  // namespace corten::cuda::test
