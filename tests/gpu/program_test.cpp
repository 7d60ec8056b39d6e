// Programs of a device, executed on the CPU: passes, memory, arguments, groups, products and
// captured graphs are those of a GPU.
#include <gtest/gtest.h>

#include "base/json.h"
#include "corten/amp.h"
#include "corten/models.h"
#include "corten/optim.h"
#include "corten/random.h"
#include "gpu/cpu_device.h"
#include "gpu/mirror.h"
#include "gpu/samples.h"
#include "models/presets.h"
#include "runtime/device_function.h"
#include "runtime/inspect.h"
#include "runtime/null_device.h"
#include "train/model_setup.h"
#include "train/train_step.h"

namespace corten::cuda::test {
namespace {

TEST(DeviceProgram, HasTheCpusBits) {
  CpuDevice device;
  Network network;
  const auto arguments = [](int step) {
    return std::vector<Tensor>{tokens({3, 7}, static_cast<uint64_t>(step), 50),
                               tokens({3, 7}, static_cast<uint64_t>(step) + 9, 10),
                               scalar(0.01 + 0.001 * step)};
  };
  Comparison c;
  try {
    c = compare_with_cpu([&](const std::vector<Tensor>& in) { return network.step(in); }, arguments,
                         4, device, device.modules());
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
  EXPECT_EQ(c.replayed, 3);
  EXPECT_EQ(c.arena_allocated, c.info.arena_bytes);
  EXPECT_EQ(device.allocated_bytes(), 0);
}

TEST(DeviceProgram, TrainsGpt2AsTheCpuDoes) {
  CpuDevice device;
  auto model =
      make_gpt2({.vocab_size = 61, .n_positions = 16, .n_embd = 32, .n_layer = 2, .n_head = 4});
  model->initialize(1);
  manual_seed(1);
  optim::AdamW optimizer(optim::weight_decay_groups(*model, 0.1), {});
  const auto arguments = [](int step) {
    return std::vector<Tensor>{tokens({2, 13}, static_cast<uint64_t>(step), 61),
                               tokens({2, 13}, static_cast<uint64_t>(step) + 5, 61)};
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
  EXPECT_EQ(c.info.attentions, 4u);
  ASSERT_EQ(c.cpu.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(c.cpu[i], c.device[i], 2e-5) << "step " << i;
  EXPECT_LT(c.cpu[2], c.cpu[0] + 1);
}

// Grouped queries, and in bf16.
TEST(DeviceProgram, TrainsLlamaAsTheCpuDoes) {
  CpuDevice device;
  const Json config = Json::object({{"model_type", "llama"},
                                    {"hidden_size", 64},
                                    {"intermediate_size", 96},
                                    {"num_attention_heads", 4},
                                    {"num_key_value_heads", 2},
                                    {"num_hidden_layers", 2},
                                    {"max_position_embeddings", 32},
                                    {"vocab_size", 61}});
  const std::unique_ptr<CausalLM> model = build_model(config.dump(), "", 1);
  manual_seed(1);
  optim::AdamW optimizer(optim::weight_decay_groups(*model, 0.1), {});
  const auto arguments = [](int step) {
    return std::vector<Tensor>{tokens({2, 19}, static_cast<uint64_t>(step), 61),
                               tokens({2, 19}, static_cast<uint64_t>(step) + 5, 61)};
  };
  const auto step = [&](const std::vector<Tensor>& in) {
    Tensor loss;
    {
      const Autocast autocast(DType::bf16);
      loss = model->loss(in[0], in[1]);
    }
    loss.backward();
    optim::clip_grad_norm_(model->parameters(), 1.0);
    optimizer.step();
    optimizer.zero_grad();
    return std::vector<Tensor>{loss.detach()};
  };
  Comparison c;
  try {
    c = compare_with_cpu(step, arguments, 2, device, device.modules());
  } catch (const Error& e) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    throw;
  }
  EXPECT_EQ(c.info.attentions, 4u);
  ASSERT_EQ(c.cpu.size(), 2u);
  for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(c.cpu[i], c.device[i], 0.01) << "step " << i;
}

DeviceProgramInfo plan_gpt2(int64_t layers, int64_t vocabulary, int64_t batch, int64_t seq) {
  const runtime::NullDeviceScope no_values;
  Json config = preset_config("gpt2");
  config.set("n_layer", layers);
  config.set("vocab_size", vocabulary);
  const std::unique_ptr<CausalLM> model = build_model(config.dump(), "", 1);
  TrainStep step(
      *model, {.batch = batch, .seq = seq, .dtype = DType::bf16, .optim = {.clip_grad_norm = 1.0}});
  step.plan();
  return plan_for_device(*runtime::inspect(step.compiled()).recorded, true)->info();
}

// Memory grows with the length, not with its square: attention's matrices of weights are nowhere.
TEST(DeviceProgram, HasNoMatricesOfWeights) {
  const DeviceProgramInfo shorter = plan_gpt2(2, 100, 2, 512), longer = plan_gpt2(2, 100, 2, 1024);
  EXPECT_EQ(longer.attentions, 4u);
  EXPECT_LT(static_cast<double>(longer.arena_bytes),
            2.1 * static_cast<double>(shorter.arena_bytes));
}

// A function with its state on the device: what the host reads and writes in between is seen by
// both.
TEST(DeviceFunction, KeepsStateOnTheDevice) {
  CpuDevice device;
  const auto arguments = [](int step) {
    return std::vector<Tensor>{tokens({3, 7}, static_cast<uint64_t>(step), 50),
                               tokens({3, 7}, static_cast<uint64_t>(step) + 9, 10),
                               scalar(0.01 + 0.001 * step)};
  };
  Network there, here;
  CompiledFunction there_compiled =
      compile([&](const std::vector<Tensor>& in) { return there.step(in); });
  CompiledFunction here_compiled =
      compile([&](const std::vector<Tensor>& in) { return here.step(in); });
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
    EXPECT_NE(there.gain.to_vector<float>(), here.gain.to_vector<float>())
        << "the host has the new value before it was fetched";
    state.fetch();
    for (size_t i = 0; i < there.parameters.size(); ++i)
      EXPECT_EQ(there.parameters[i].to_vector<float>(), here.parameters[i].to_vector<float>())
          << "parameter " << i;
    EXPECT_GT(device.graph_launches, 3u);
  }
  EXPECT_EQ(device.allocated_bytes(), 0);
}

// What `train --device cuda` does: steps, evaluations and checkpoints' values.
TEST(DeviceFunction, TrainsForTheTrainer) {
  CpuDevice device;
  const auto make = [] {
    auto model =
        make_gpt2({.vocab_size = 61, .n_positions = 16, .n_embd = 32, .n_layer = 2, .n_head = 4});
    model->initialize(1);
    return model;
  };
  const StepSettings settings{.batch = 4,
                              .seq = 13,
                              .virtual_shards = 2,
                              .dtype = DType::bf16,
                              .optim = {.clip_grad_norm = 1.0}};
  const auto train = [&](CausalLM& model, bool on_device, std::vector<double>& losses) {
    manual_seed(1);
    TrainStep step(model, settings);
    if (on_device) {
      step.use_device(std::make_unique<runtime::DeviceState>(device, device.modules()));
      step.plan();
      EXPECT_EQ(step.planned_bytes(), step.touched_bytes());
      StepSettings without = settings;
      without.cuda = true;
      TrainStep planned(model, without);
      planned.plan();
      EXPECT_EQ(planned.planned_bytes() - static_cast<uint64_t>(planned.device_workspace_bytes()),
                step.planned_bytes() - static_cast<uint64_t>(step.device_workspace_bytes()));
    }
    std::vector<int64_t> ids(26), targets(26);
    for (int64_t i = 0; i < 4; ++i) {
      for (size_t k = 0; k < step.ids().size(); ++k)
        step.ids()[k] = (i * 7 + static_cast<int64_t>(k) * 3) % 61;
      for (size_t k = 0; k < step.ids().size(); ++k) step.targets()[k] = (step.ids()[k] + 3) % 61;
      losses.push_back(static_cast<double>(step.run(0.01).loss));
      std::copy_n(step.ids().begin(), ids.size(), ids.begin());
      std::copy_n(step.targets().begin(), targets.size(), targets.begin());
      losses.push_back(step.evaluate(ids, targets).loss / static_cast<double>(ids.size()));
    }
    step.fetch();
    EXPECT_EQ(find_tensor(step.state(), "optimizer.step")->item<int64_t>(), 4);
  };
  auto there = make(), here = make();
  std::vector<double> got, want;
  try {
    train(*there, true, got);
  } catch (const Error&) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    throw;
  }
  train(*here, false, want);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 0.02) << "loss " << i;
  EXPECT_LT(got[6], got[0] - 0.3);
  const std::vector<Tensor> a = there->parameters(), b = here->parameters();
  for (size_t i = 0; i < a.size(); ++i) {
    const std::vector<float> x = a[i].to_vector<float>(), y = b[i].to_vector<float>();
    for (size_t k = 0; k < x.size(); ++k) ASSERT_NEAR(x[k], y[k], 0.09) << "parameter " << i;
  }
}

// A capture that fails, at a call within it or at once, ends; the work is done one by one from then on.
TEST(DeviceProgram, RunsWithoutAGraphWhereTheDeviceRefusesOne) {
  Network network;
  const auto arguments = [](int step) {
    return std::vector<Tensor>{tokens({3, 7}, static_cast<uint64_t>(step), 50),
                               tokens({3, 7}, static_cast<uint64_t>(step) + 9, 10),
                               scalar(0.01 + 0.001 * step)};
  };
  for (const int fails : {0, 1, 5}) {
    CpuDevice device;
    device.fails_in_capture = fails;
    if (fails == 0) device.no_capture = "stream capture is not supported";
    Comparison c;
    try {
      c = compare_with_cpu([&](const std::vector<Tensor>& in) { return network.step(in); },
                           arguments, 4, device, device.modules());
    } catch (const Error& e) {
      if (!device.missing.empty()) GTEST_SKIP() << device.missing;
      throw;
    }
    EXPECT_TRUE(c.same_bits) << c.where;
    EXPECT_EQ(c.info.uncaptured, fails ? "operation not permitted when stream is capturing"
                                       : "stream capture is not supported");
    EXPECT_EQ(c.replayed, 0);
    EXPECT_FALSE(device.capturing());
    EXPECT_EQ(device.graph_launches, 0u);
    EXPECT_EQ(device.allocated_bytes(), 0);
  }
}

// Arguments that are more than a launch may have lie in a table in the device's memory.
TEST(DeviceProgram, KernelsHaveAsManyArgumentsAsTheyNeed) {
  CpuDevice device;
  const auto arguments = [](int step) {
    std::vector<Tensor> in;
    for (uint64_t i = 0; i < 250; ++i)
      in.push_back(numbers({2, 2, 2, 2, 2}, i + 300 * static_cast<uint64_t>(step)));
    return in;
  };
  // In no two neighbours do dimensions lie alike: each operand has an address and all its strides.
  const auto add_all = [](const std::vector<Tensor>& in) {
    Tensor x = in[0].permute({4, 1, 3, 2, 0});
    for (size_t i = 1; i < in.size(); ++i) x = x + (i % 2 ? in[i] : in[i].permute({4, 1, 3, 2, 0}));
    return std::vector<Tensor>{x};
  };
  CompiledFunction compiled = compile(add_all);
  compiled.plan(arguments(0));
  const auto plan = plan_for_device(*runtime::inspect(compiled).recorded, device.info());
  bool many = false;
  for (const GpuStep& step : plan->kernels().steps) {
    const codegen::gpu::KernelText& text = plan->texts()[static_cast<size_t>(step.text)];
    many |= text.words * 8 > kMaxParameterBytes;
    EXPECT_TRUE(text.grouped || text.words * 8 <= kMaxParameterBytes) << text.words;
  }
  int most = 0;
  for (const auto& t : plan->texts()) most = std::max(most, t.words);
  EXPECT_TRUE(many) << most << " words, " << plan->texts().size() << " texts";
  Comparison c;
  try {
    c = compare_with_cpu(add_all, arguments, 2, device, device.modules());
  } catch (const Error&) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    throw;
  }
  EXPECT_TRUE(c.same_bits) << c.where;
}

// A call that begins before the one before it has ended has only its own faults.
TEST(DeviceFunction, FaultsAreTheCallsOwn) {
  CpuDevice device;
  device.lazy = true;
  CompiledFunction f = compile([](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{embedding(in[0], in[1])};
  });
  runtime::DeviceState state(device, device.modules());
  runtime::DeviceFunction on_device(f, state);
  const Tensor weight = numbers({5, 3}, 1);
  const auto in = [&](int64_t index) {
    return std::vector<Tensor>{from_vector(std::vector<int64_t>{1, index}, {2}), weight};
  };
  try {
    on_device(in(2));
  } catch (const Error&) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    throw;
  }
  auto good = on_device.begin(in(3)), wrong = on_device.begin(in(7)), after = on_device.begin(in(4)),
       again = on_device.begin(in(9));
  EXPECT_EQ(on_device.end(good)[0].to_vector<float>().size(), 6u);
  const auto fault = [&](runtime::DeviceFunction::Call call) {
    try {
      on_device.end(call);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_NE(fault(wrong).find("index 7 is out of range"), std::string::npos);
  EXPECT_EQ(fault(after), "");
  EXPECT_NE(fault(again).find("index 9 is out of range"), std::string::npos);
  EXPECT_EQ(fault(on_device.begin(in(0))), "");
}

// Whatever it is that does not fit: how much there is, and what would help.
TEST(DeviceFunction, OutOfMemoryHasNumbers) {
  const Tensor big = numbers({1 << 18}, 1);  // 1 MiB
  const auto refused = [&](int64_t bytes, bool as_argument) {
    CpuDevice device;
    device.memory_bytes = bytes;
    CompiledFunction f = compile([&](const std::vector<Tensor>& in) {
      return std::vector<Tensor>{as_argument ? sum(in[0]) : sum(big * in[0])};
    });
    runtime::DeviceState state(device, device.modules());
    runtime::DeviceFunction on_device(f, state);
    try {
      on_device({as_argument ? big : scalar(1)});
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::Resource);
      return std::string(e.what());
    }
    return std::string("nothing was refused");
  };
  for (const bool as_argument : {false, true}) {
    const std::string text = refused(200 << 10, as_argument);
    EXPECT_NE(text.find("out of memory on this CPU: 1.00 MiB were asked for ("), std::string::npos)
        << text;
    EXPECT_NE(text.find("of 200.00 KiB are free"), std::string::npos) << text;
    EXPECT_NE(text.find("lower the batch"), std::string::npos) << text;
  }
}

TEST(DeviceProgram, ReportsAnIndexThatIsOutOfRange) {
  CpuDevice device;
  const auto arguments = [](int) {
    return std::vector<Tensor>{from_vector(std::vector<int64_t>{1, 7}, {2}), numbers({5, 3}, 1)};
  };
  try {
    compare_with_cpu(
        [](const std::vector<Tensor>& in) { return std::vector<Tensor>{embedding(in[0], in[1])}; },
        arguments, 1, device, device.modules());
    FAIL();
  } catch (const Error& e) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    EXPECT_NE(std::string(e.what()).find("index 7 is out of range 0..4"), std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace corten::cuda::test
