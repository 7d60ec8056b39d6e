// Tensors on a device, and ops on them one by one, with a CPU in the place of the GPU: kernels are
// the text of the GPU's.
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "base/file.h"
#include "corten/memory.h"
#include "gpu/cpu_device.h"
#include "gpu/on_device.h"
#include "gpu/samples.h"
#include "io/tensor_bytes.h"
#include "runtime/devices.h"
#include "runtime/eager_device.h"
#include "temp_folder.h"

namespace corten::testing {
namespace {

using cuda::test::CpuDevice;
using cuda::test::Network;
using cuda::test::numbers;
using cuda::test::tokens;

/// "cuda:0" is a CPU that does its work as late as can be.
class OnDevice : public ::testing::Test {
 protected:
  OnDevice() {
    device_.lazy = device_.batched = true;
    installed_ = std::make_unique<runtime::InstalledDevice>(0, device_, device_.modules());
    std::string missing;
    if (!codegen::test::HostModule::compile({}, missing)) reason_ = missing;
  }
  void SetUp() override {
    if (!reason_.empty()) GTEST_SKIP() << reason_;
  }
  ~OnDevice() override {
    manual_seed(0);  // the generator's numbers were where it was last used
    installed_.reset();
    EXPECT_EQ(device_.allocated_bytes(), 0);
  }
  CpuDevice device_;
  std::unique_ptr<runtime::InstalledDevice> installed_;
  std::string reason_;
};

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Device, HasAName) {
  EXPECT_EQ(Device("cpu"), Device());
  EXPECT_EQ(Device("cuda"), Device(DeviceType::cuda, 0));
  EXPECT_EQ(Device("cuda:3").index, 3);
  EXPECT_EQ(Device("cuda:3").to_string(), "cuda:3");
  EXPECT_EQ(Device().to_string(), "cpu");
  for (const char* wrong :
       {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1 ", "cpu:1", "cuda:99999", "CUDA"})
    EXPECT_EQ(message_of([&] { Device(wrong).to_string(); }),
              "\"" + std::string(wrong) + "\" is no device: \"cpu\", \"cuda\" and \"cuda:1\" are");
}

TEST_F(OnDevice, TensorsLieThere) {
  const Tensor x = numbers({3, 4}, 1);
  EXPECT_EQ(x.device(), Device("cpu"));
  const Tensor y = x.to("cuda");
  EXPECT_EQ(y.device(), Device("cuda:0"));
  EXPECT_TRUE(y.is_cuda());
  EXPECT_EQ(y.to("cuda:0").impl(), y.impl()) << "nothing to do";
  EXPECT_EQ(y.cpu().device(), Device());
  EXPECT_EQ(bits(y.cpu()), bits(x));
  EXPECT_EQ(bits(y), bits(x));
  EXPECT_EQ(y.select(0, 1).select(0, 2).item<float>(), x.select(0, 1).select(0, 2).item<float>());
  EXPECT_EQ(bits(y.t()), bits(x.t()));
  EXPECT_EQ(bits(x.t().cuda()), bits(x.t()));
  EXPECT_EQ(tensor({1.0, 2.5}).cuda().to_string(), "tensor([1.0000, 2.5000], device='cuda:0')");
  EXPECT_EQ(bits(zeros({2, 3}, DType::bf16, "cuda")), bits(zeros({2, 3})));
  EXPECT_EQ(zeros({2, 3}, DType::bf16, "cuda").dtype(), DType::bf16);
  EXPECT_EQ(bits(full({2, 3}, 1.5, DType::f32, "cuda")), bits(full({2, 3}, 1.5)));
  EXPECT_TRUE(std::signbit(full({3}, -0.0, DType::f32, "cuda").to_vector<float>()[2]));
  EXPECT_EQ(bits(arange(3, 17, 4, "cuda")), bits(arange(3, 17, 4)));
  EXPECT_EQ(arange(5, "cuda").device(), Device("cuda"));
  EXPECT_EQ(ones_like(y).device(), Device("cuda"));
  EXPECT_EQ(bits(ones_like(y)), bits(ones({3, 4})));
  EXPECT_EQ(zeros({0, 4}, DType::f32, "cuda").to_vector<float>().size(), 0u);
  EXPECT_EQ(bits(zeros({0, 4}, DType::f32, "cuda").sum({0})), bits(zeros({4})));
}

TEST_F(OnDevice, TheDeviceSaysWhatItIs) {
  EXPECT_TRUE(cuda::is_available());
  EXPECT_GE(cuda::device_count(), 1);
  EXPECT_EQ(cuda::get_device_properties("cuda").name, "this CPU");
  EXPECT_EQ(cuda::mem_get_info().second, device_.memory_bytes);
  EXPECT_EQ(message_of([] { cuda::synchronize("cpu"); }), "[synchronize] cpu is no GPU");
  EXPECT_NO_THROW(cuda::synchronize());
}

TEST_F(OnDevice, RandomNumbersAreTheCpus) {
  manual_seed(7);
  const Tensor a = rand({5, 3}), b = randn({1000}), mask = dropout(ones({40, 40}), 0.3);
  manual_seed(7);
  const Tensor x = rand({5, 3}, "cuda"), y = randn({1000}, "cuda"),
               z = dropout(ones({40, 40}, DType::f32, "cuda"), 0.3);
  EXPECT_TRUE(x.is_cuda() && y.is_cuda() && z.is_cuda());
  EXPECT_EQ(bits(x), bits(a));
  EXPECT_EQ(bits(y), bits(b));
  EXPECT_EQ(bits(z), bits(mask));
}

// Writing through views, as on the CPU: a script of writes in both places.
TEST_F(OnDevice, InPlaceWritesAreSeenByViews) {
  const auto script = [](const Tensor& start, const Device& place) {
    Tensor x = start.clone(), row = x.select(0, 1), piece = x.slice(1, 1, 3), turned = x.t();
    EXPECT_EQ(x.device(), place);
    row.fill_(3);
    piece.add_(row.slice(0, 0, 2));
    turned.select(0, 0).mul_(2);
    turned.slice(0, 2, 4).copy_(numbers({2, 3}, 9));  // from the CPU
    x.zero_grad();
    Tensor kept = x.clone();
    x.zero_();
    x.add_(1.5);
    x.div_(kept);
    EXPECT_EQ(row.device(), place);
    return std::vector<Tensor>{x, kept, row, turned};
  };
  const Tensor start = numbers({3, 4}, 3);
  const auto want = script(start, "cpu"), got = script(start.cuda(), "cuda");
  for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(bits(got[i]), bits(want[i])) << i;
  Tensor host = zeros({3, 4});
  host.copy_(got[1]);
  EXPECT_EQ(host.device(), Device());
  EXPECT_EQ(bits(host), bits(want[1]));
}

TEST_F(OnDevice, DevicesDoNotMix) {
  const Tensor x = numbers({2, 3}, 1), y = x.cuda();
  EXPECT_EQ(
      message_of([&] { x + y; }),
      "[add] operands lie on cuda:0 and cpu (f32[2,3]): move one with to(\"cuda:0\") or cpu()");
  EXPECT_EQ(message_of([&] { matmul(y, x.t()); }).substr(0, 40),
            "[matmul] operands lie on cuda:0 and cpu ");
  // Numbers of the CPU may be anywhere, as in PyTorch.
  EXPECT_EQ(bits(y * scalar(1.5)), bits(x * 1.5));
  EXPECT_EQ(bits(scalar(2) - y), bits(2.0 - x));
  EXPECT_TRUE((scalar(2) * scalar(3)).device().is_cpu());
  EXPECT_EQ(message_of([] { zeros({2}, DType::f32, "cuda:7"); }).find("no error"),
            std::string::npos);
}

TEST_F(OnDevice, IndicesOutOfRangeAreRaised) {
  const Tensor table = numbers({5, 3}, 1).cuda(),
               ids = from_vector(std::vector<int64_t>{0, 7}, {2}).cuda();
  const Tensor rows = embedding(ids, table);
  const std::string message = message_of([&] { rows.cpu(); });
  EXPECT_NE(message.find("index 7 is out of range 0..4"), std::string::npos) << message;
  EXPECT_NE(message.find("eager_device_test.cpp"), std::string::npos) << message;
  EXPECT_NO_THROW(cuda::synchronize()) << "once";
  embedding(ids, table);
  EXPECT_THROW(cuda::synchronize(), Error);
}

TEST_F(OnDevice, OpsHaveTheCpusBits) {
  ops_have_the_cpus_bits();
}

TEST_F(OnDevice, Float8HasTheCpusBits) {
  float8_has_the_cpus_bits();
}

// Operands that begin anywhere, and products of them.
TEST_F(OnDevice, ViewsAreReadWhereTheyLie) {
  const Tensor base = numbers({9, 11}, 4);
  const auto script = [](const Tensor& x) {
    std::vector<Tensor> out;
    for (int64_t i = 0; i < 5; ++i) {
      const Tensor piece = x.slice(1, i, i + 6).slice(0, i, i + 4);
      out.push_back(piece * 2.0);
      out.push_back(piece.to(DType::bf16));
      out.push_back(piece.to(DType::bf16).slice(1, i, 6).sum({1}));
      out.push_back(matmul(piece, piece.t()));
      out.push_back(softmax(piece.t(), -1));
      out.push_back(concat({piece, piece.slice(0, 1, 3)}, 0));
    }
    return out;
  };
  const auto got = script(base.cuda()), want = script(base);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(bits(got[i]), bits(want[i])) << i;
}

TEST_F(OnDevice, GradientsCrossDevices) {
  Tensor x = numbers({3, 4}, 1), w = numbers({4}, 2).cuda();
  x.set_requires_grad();
  w.set_requires_grad();
  const Tensor y = (x * 2.0).cuda() * w;
  EXPECT_TRUE(y.requires_grad());
  (y.cpu() * x).sum().backward();
  EXPECT_TRUE(x.grad().device().is_cpu());
  EXPECT_TRUE(w.grad().is_cuda());
  Tensor x2 = numbers({3, 4}, 1), w2 = numbers({4}, 2);
  x2.set_requires_grad();
  w2.set_requires_grad();
  ((x2 * 2.0) * w2 * x2).sum().backward();
  EXPECT_EQ(bits(x.grad()), bits(x2.grad()));
  EXPECT_EQ(bits(w.grad()), bits(w2.grad()));
  // Seeds that are numbers become gradients of the leaf's device.
  Tensor z = numbers({3}, 1).cuda();
  z.set_requires_grad();
  z.sum().backward();
  EXPECT_TRUE(z.grad().is_cuda());
  EXPECT_EQ(bits(z.grad()), bits(ones({3})));
}

TEST_F(OnDevice, MemoryIsCounted) {
  empty_cache("cuda");
  const int64_t before = memory_allocated("cuda"), host = memory_allocated();
  reset_peak_memory_stats("cuda");
  {
    const Tensor x = zeros({1 << 20}, DType::f32, "cuda");
    EXPECT_EQ(memory_allocated("cuda") - before, 4 << 20);
    EXPECT_LT(memory_allocated() - host, 1 << 16);
    const Tensor y = x + 1.0;
    EXPECT_GE(memory_allocated("cuda") - before, 8 << 20);
  }
  EXPECT_GE(max_memory_allocated("cuda:0") - before, 8 << 20);
  EXPECT_GE(memory_reserved("cuda"), memory_allocated("cuda") + (8 << 20));
  EXPECT_NE(memory_summary("cuda").find("CUDA OOMs: 0"), std::string::npos);
  empty_cache("cuda");
  EXPECT_LE(memory_reserved("cuda"), 4 << 20);
  record_memory_history(true);
  const Tensor kept = softmax(numbers({30, 30}, 1).cuda(), -1);
  const MemorySnapshot snapshot = memory_snapshot("cuda");
  TempFolder folder;
  dump_snapshot(folder / "device.pickle", "cuda");
  record_memory_history(false);
  EXPECT_EQ(read_file(folder / "device.pickle").substr(0, 2), "\x80\x02");
  bool named = false;
  for (const MemoryEvent& e : snapshot.trace)
    for (const MemoryFrame& f : e.frames)
      named |= f.name == "softmax" && f.filename.ends_with("eager_device_test.cpp");
  EXPECT_TRUE(named);
  EXPECT_EQ(memory_allocated("cuda:5"), 0) << "asking does not open a device";
}

TEST_F(OnDevice, ProgramsAndKernelsAreRemembered) {
  runtime::EagerDevice& eager = installed_->eager();
  const Tensor x = numbers({5, 6}, 1).cuda();
  const Tensor a = x * 2.0;
  const size_t programs = eager.programs();
  const Tensor b = a * 3.0, c = (x + 0.5) * 1.25;
  EXPECT_EQ(eager.programs(), programs + 1) << "numbers are operands, not parts of programs";
  EXPECT_EQ(bits(c), bits((numbers({5, 6}, 1) + 0.5) * 1.25));
}

TEST_F(OnDevice, TheFirstNanIsNamed) {
  const Tensor x = tensor({-1.0, 4.0}).cuda();
  set_detect_anomaly(true);
  const std::string message = message_of([&] { sqrt(x + 0.0) * 2.0; });
  set_detect_anomaly(false);
  EXPECT_EQ(message, "the first NaN was made by [sqrt] f32[2]");
}

TEST_F(OnDevice, OneThreadUsesADevice) {
  const Tensor x = numbers({2}, 1).cuda();
  std::string message;
  std::thread([&] { message = message_of([&] { x + 1.0; }); }).join();
  EXPECT_EQ(message,
            "tensors on cuda:0 are used by the thread that used it first, and by no other");
}

// Training steps op by op: modules, dropout, clipping and optimizers, with the CPU's bits where no
// attention is involved.
TEST_F(OnDevice, TrainsAsTheCpuDoes) {
  const auto train = [](const Device& place) {
    Network network;
    for (Tensor& p : network.parameters) {
      p = p.detach().to(place).clone();
      p.set_requires_grad();
    }
    network.table = network.parameters[0], network.w1 = network.parameters[1],
    network.b1 = network.parameters[2];
    network.w2 = network.parameters[3], network.gain = network.parameters[4],
    network.shift = network.parameters[5];
    network.optimizer = std::make_unique<optim::AdamW>(network.parameters,
                                                       optim::AdamWOptions{.weight_decay = 0.1});
    std::vector<Tensor> out;
    for (uint64_t step = 0; step < 3; ++step) {
      const auto results = network.step({tokens({3, 7}, step, 50).to(place),
                                         tokens({3, 7}, step + 9, 10).to(place), scalar(0.01)});
      out.insert(out.end(), results.begin(), results.end());
    }
    out.insert(out.end(), network.parameters.begin(), network.parameters.end());
    return out;
  };
  const auto got = train("cuda"), want = train("cpu");
  for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(bits(got[i]), bits(want[i])) << i;
}

// Autocast, loss scaling with a step that is skipped, regions that run again, a folder that is
// saved and read.
TEST_F(OnDevice, MixedPrecisionAndStateAreTheCpus) {
  struct Mlp : nn::Module {
    nn::Linear up{6, 16}, down{16, 3};
    nn::LayerNorm norm{6};
    Mlp() {
      register_module("up", up), register_module("down", down), register_module("norm", norm);
    }
    Tensor forward(const Tensor& x) override {
      return down(
          checkpoint([&](const Tensor& in) { return dropout(gelu(up(norm(in))), 0.25); }, x));
    }
  };
  TempFolder folder;
  const auto train = [&](const Device& place) {
    Mlp mlp;
    manual_seed(5);
    mlp.to(place);
    mlp.initialize(2);
    optim::SGD optimizer(mlp, {.lr = 0.1, .momentum = 0.9});
    GradScaler scaler({.init_scale = 256});
    std::vector<Tensor> out;
    for (uint64_t step = 0; step < 3; ++step) {
      Tensor loss;
      {
        const Autocast autocast(DType::bf16);
        loss = cross_entropy(mlp(numbers({4, 6}, step).to(place)), tokens({4}, step, 3).to(place));
      }
      scaler.scale(step == 1 ? loss * 1e38 * 1e38 : loss).backward();
      scaler.step(optimizer);
      scaler.update();
      optimizer.zero_grad();
      out.push_back(loss.detach());
    }
    EXPECT_EQ(scaler.get_skipped_steps(), 1);
    EXPECT_EQ(scaler.get_scale(), 128);
    const std::string path = folder / (place.is_cuda() ? "cuda.safetensors" : "cpu.safetensors");
    write_state(path, mlp.state_dict());
    Mlp again;
    again.to(place);
    again.load_state_dict(read_state(path));
    for (const auto& [name, tensor] : again.state_dict()) {
      EXPECT_EQ(tensor.device(), place) << name;
      EXPECT_EQ(bits(tensor), bits(*find_tensor(mlp.state_dict(), name))) << name;
      out.push_back(tensor.clone());
    }
    return out;
  };
  const auto got = train("cuda"), want = train("cpu");
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const std::vector<double> a = got[i].to_vector<double>(), b = want[i].to_vector<double>();
    for (size_t k = 0; k < a.size(); ++k)
      ASSERT_NEAR(a[k], b[k], 5e-3 * (1 + std::abs(b[k])))
          << i << ": products of bf16 are the library's";
  }
}

// Each device's handles and memory are its own; what one thread asks for in turn does not mix.
TEST_F(OnDevice, TwoDevicesInTurn) {
  CpuDevice other;
  other.lazy = other.batched = true;
  {
    const runtime::InstalledDevice second(1, other, other.modules());
    const Tensor x = numbers({6, 8}, 1), w = numbers({8, 8}, 2);
    Tensor a = x.to("cuda:0"), b = x.to("cuda:1"), want = x;
    const Tensor wa = w.to("cuda:0"), wb = w.to("cuda:1");
    CompiledFunction on_a = compile(
                         [&](const std::vector<Tensor>& in) {
                           return std::vector<Tensor>{tanh(matmul(in[0], wa))};
                         }),
                     on_b = compile([&](const std::vector<Tensor>& in) {
                       return std::vector<Tensor>{tanh(matmul(in[0], wb))};
                     });
    for (int i = 0; i < 3; ++i) {
      a = softmax(a * 0.5 + 1, -1);
      b = softmax(b * 0.5 + 1, -1);
      a = on_a({a})[0];
      b = on_b({b})[0];
      want = tanh(matmul(softmax(want * 0.5 + 1, -1), w));
    }
    EXPECT_EQ(a.device(), Device("cuda:0"));
    EXPECT_EQ(b.device(), Device("cuda:1"));
    EXPECT_EQ(bits(a), bits(b));
    EXPECT_EQ(bits(a.to("cuda:1")), bits(b));
    const std::vector<double> got = a.to_vector<double>(), near = want.to_vector<double>();
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], near[i], 1e-5);
    EXPECT_NE(message_of([&] { (a + b).item<float>(); }).find("lie on cuda:0 and cuda:1"),
              std::string::npos);
    cuda::synchronize("cuda:1");
    cuda::synchronize("cuda:0");
    std::thread([&] {
      EXPECT_EQ(cuda::mem_get_info("cuda:1").second, other.memory_bytes);
      EXPECT_EQ(message_of([] { cuda::synchronize("cuda:1"); }),
                "tensors on cuda:1 are used by the thread that used it first, and by no other");
    }).join();
  }
  EXPECT_EQ(other.allocated_bytes(), 0);
}

TEST_F(OnDevice, Gpt2TrainsOpByOpAsCompiled) {
  gpt2_trains_op_by_op_as_compiled();
  EXPECT_GT(device_.graph_launches, 0u) << "the third call is one graph";
}

TEST_F(OnDevice, CompiledFunctionsRunWhereTheirStateLies) {
  Tensor state = numbers({4}, 1).cuda(), count = scalar(0, DType::i64);
  CompiledFunction f = compile([&](const std::vector<Tensor>& in) {
    NoGradGuard no_grad;
    count.add_(1.0);
    state.add_(in[0] * in[1]);
    return std::vector<Tensor>{state.sum() + count};
  });
  const Tensor x = numbers({4, 2}, 2).cuda();
  Tensor want = numbers({4}, 1);
  for (int i = 0; i < 4; ++i) {
    const Tensor got = f({x.select(1, 0), scalar(i)})[0];
    want.add_(numbers({4, 2}, 2).select(1, 0) * scalar(i));
    EXPECT_EQ(bits(got), bits(want.sum() + scalar(i + 1)));
  }
  EXPECT_EQ(count.item<int>(), 4);
  EXPECT_EQ(bits(state), bits(want));
  EXPECT_NE(f.explain().find("program on cuda:0"), std::string::npos);
  EXPECT_GT(f.info().kernels, 0);
  EXPECT_EQ(message_of([&] {
              f({numbers({4}, 2), scalar(1)});
            }),
            "a compiled function runs on one device, but argument 0 (f32[4]) lies on cpu and state "
            "1 (f32[4]) on cuda:0: move one of them");
}

TEST_F(OnDevice, CompiledFunctionsFollowTheirModule) {
  nn::Linear layer(3, 2);
  layer.initialize(1);
  CompiledFunction f = compile([&](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{dropout(layer(in[0]), 0.5)};
  });
  const Tensor x = numbers({5, 3}, 2);
  manual_seed(1);
  const std::string want = bits(f({x})[0]);
  layer.cuda();
  EXPECT_EQ(bits(f({x.cuda()})[0]), want);
  layer.cpu();
  EXPECT_EQ(bits(f({x})[0]), want);
  ASSERT_EQ(f.compilations().size(), 3u);
  EXPECT_EQ(f.compilations()[1].reason, "its state lies on cuda:0 now, not on cpu");
  EXPECT_TRUE(default_generator().seed.device().is_cpu()) << "0-d state follows";
}

}  // namespace
}  // namespace corten::testing
