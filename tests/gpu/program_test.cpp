// Programs of a device, executed on the CPU: passes, memory, arguments, groups, products and captured graphs are those of a GPU.
#include <gtest/gtest.h>

#include "corten/models.h"
#include "corten/optim.h"
#include "corten/random.h"
#include "gpu/cpu_device.h"
#include "gpu/mirror.h"
#include "gpu/samples.h"
#include "runtime/device_function.h"

namespace corten::cuda::test {
namespace {

TEST(DeviceProgram, HasTheCpusBits) {
  CpuDevice device;
  Network network;
  const auto arguments = [](int step) {
    return std::vector<Tensor>{tokens({3, 7}, static_cast<uint64_t>(step), 50), tokens({3, 7}, static_cast<uint64_t>(step) + 9, 10),
                               scalar(0.01 + 0.001 * step)};
  };
  Comparison c;
  try {
    c = compare_with_cpu([&](const std::vector<Tensor>& in) { return network.step(in); }, arguments, 4, device, device.modules());
  } catch (const Error& e) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    throw;
  }
  EXPECT_TRUE(c.same_bits) << c.where;
  EXPECT_EQ(c.info.copies, std::vector<std::string>{});
  EXPECT_GT(c.info.products, 4u);
  EXPECT_LT(c.info.groups, c.info.launches);
  // The first run launches one by one, later ones as a graph; the program's memory was given back.
  EXPECT_EQ(device.graph_launches, 3u);
  EXPECT_EQ(device.allocated_bytes(), 0);
}

TEST(DeviceProgram, TrainsGpt2AsTheCpuDoes) {
  CpuDevice device;
  auto model = make_gpt2({.vocab_size = 61, .n_positions = 16, .n_embd = 32, .n_layer = 2, .n_head = 4});
  model->initialize(1);
  manual_seed(1);
  optim::AdamW optimizer(optim::weight_decay_groups(*model, 0.1), {});
  const auto arguments = [](int step) {
    return std::vector<Tensor>{tokens({2, 13}, static_cast<uint64_t>(step), 61), tokens({2, 13}, static_cast<uint64_t>(step) + 5, 61)};
  };
  const auto step = [&](const std::vector<Tensor>& in) {
    const Tensor loss = model->loss(in[0], in[1]);
    loss.backward();
    optim::clip_grad_norm_(model->parameters(), 1.0);
    optimizer.step();
    optimizer.zero_grad();
    return std::vector<Tensor>{loss.detach()};
  };
  Comparison c;
  try {
    c = compare_with_cpu(step, arguments, 3, device, device.modules());
  } catch (const Error& e) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    throw;
  }
  // Attention is computed in another order.
  ASSERT_EQ(c.cpu.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(c.cpu[i], c.device[i], 2e-5) << "step " << i;
  EXPECT_LT(c.cpu[2], c.cpu[0] + 1);
}

// A function with its state on the device: what the host reads and writes in between is seen by both.
TEST(DeviceFunction, KeepsStateOnTheDevice) {
  CpuDevice device;
  const auto arguments = [](int step) {
    return std::vector<Tensor>{tokens({3, 7}, static_cast<uint64_t>(step), 50), tokens({3, 7}, static_cast<uint64_t>(step) + 9, 10),
                               scalar(0.01 + 0.001 * step)};
  };
  Network there, here;
  CompiledFunction there_compiled = compile([&](const std::vector<Tensor>& in) { return there.step(in); });
  CompiledFunction here_compiled = compile([&](const std::vector<Tensor>& in) { return here.step(in); });
  {
    runtime::DeviceState state(device, device.modules());
    runtime::DeviceFunction on_device(there_compiled, state);
    for (int step = 0; step < 6; ++step) {
      std::vector<Tensor> got;
      try {
        got = on_device(arguments(step));
      } catch (const Error&) {
        if (!device.missing.empty()) GTEST_SKIP() << device.missing;
        throw;
      }
      const std::vector<Tensor> want = here_compiled(arguments(step));
      EXPECT_EQ(got[0].item<float>(), want[0].item<float>()) << "step " << step;
      EXPECT_EQ(got[1].item<float>(), want[1].item<float>()) << "step " << step;
      if (step == 2) {  // the host looks at the weights
        state.fetch();
        EXPECT_EQ(there.w1.to_vector<float>(), here.w1.to_vector<float>());
      }
      if (step == 3) {  // and gives them new values
        state.fetch();
        const NoGradGuard no_grad;
        for (Network* n : {&there, &here}) n->w2.copy_(numbers({40, 10}, 77));
      }
    }
    EXPECT_NE(there.gain.to_vector<float>(), here.gain.to_vector<float>()) << "the host has the new value before it was fetched";
    state.fetch();
    for (size_t i = 0; i < there.parameters.size(); ++i)
      EXPECT_EQ(there.parameters[i].to_vector<float>(), here.parameters[i].to_vector<float>()) << "parameter " << i;
    EXPECT_GT(device.graph_launches, 3u);
  }
  EXPECT_EQ(device.allocated_bytes(), 0);
}

TEST(DeviceProgram, ReportsAnIndexThatIsOutOfRange) {
  CpuDevice device;
  const auto arguments = [](int) { return std::vector<Tensor>{from_vector(std::vector<int64_t>{1, 7}, {2}), numbers({5, 3}, 1)}; };
  try {
    compare_with_cpu([](const std::vector<Tensor>& in) { return std::vector<Tensor>{embedding(in[0], in[1])}; }, arguments, 1, device,
                     device.modules());
    FAIL();
  } catch (const Error& e) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    EXPECT_NE(std::string(e.what()).find("index 7 is out of range 0..4"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace corten::cuda::test
