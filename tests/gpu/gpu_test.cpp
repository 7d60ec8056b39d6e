// What needs a GPU. Skipped without one; `./run gpu-check` runs all of it and writes the figures
// into one table.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>

#include "base/env.h"
#include "base/half.h"
#include "base/thread_pool.h"
#include "codegen/gpu/arguments.h"
#include "corten/models.h"
#include "corten/random.h"
#include "cuda/attention/attention_kernels.h"
#include "cuda/binaries.h"
#include "cuda/device_comm.h"
#include "cuda/load.h"
#include "gpu/card.h"
#include "gpu/mirror.h"
#include "gpu/run_attention.h"
#include "gpu/run_problem.h"
#include "gpu/run_step.h"
#include "gpu/samples.h"
#include "gpu/steps.h"
#include "kernel/interpret.h"
#include "models/presets.h"
#include "random_kernel.h"
#include "train/model_setup.h"

namespace corten::cuda::test {
namespace {

using codegen::gpu::KernelText;

void raise(const Status& status) {
  if (!status.empty()) resource_error("{}", status);
}

std::string architecture(const Device& device) {
  return format("sm_{}{}", device.info().major, device.info().minor);
}

class GpuRunner final : public Runner {
 public:
  GpuRunner(Device& device, std::span<const KernelText> texts) : device_(device) {
    for (const Binary& b :
         compile_kernels(texts, architecture(device), default_thread_pool().num_threads()))
      raise(device_.load_module(b.cubin, modules_.emplace_back()));
  }
  ~GpuRunner() override {
    clear();
    for (uint64_t m : modules_) device_.unload_module(m);
  }
  uint64_t put(const std::string& bytes) override {
    uint64_t address = 0;
    raise(device_.allocate(static_cast<int64_t>(bytes.size()) + 16, address));
    memory_.push_back(address);
    raise(device_.to_device(address, bytes.data(), static_cast<int64_t>(bytes.size())));
    raise(device_.synchronize());
    return address;
  }
  std::string get(uint64_t address, size_t bytes) override {
    std::string out(bytes, '\0');
    raise(device_.to_host(out.data(), address, static_cast<int64_t>(bytes)));
    raise(device_.synchronize());
    return out;
  }
  void clear() override {
    for (uint64_t m : memory_) device_.release(m);
    memory_.clear();
  }
  /// Asks for a launch that is not grouped.
  void start(const KernelText& text, std::vector<int64_t> words, int64_t blocks) {
    uint64_t function = 0;
    raise(find(text, function));
    void* arguments[] = {words.data()};
    raise(device_.launch(function, blocks, text.threads, arguments, text.shared_bytes));
  }
  /// The median of some runs, each behind one that is not counted.
  double milliseconds(const std::function<void()>& run) {
    uint64_t before = 0, after = 0;
    raise(device_.create_event(before));
    raise(device_.create_event(after));
    std::vector<double> times;
    run();
    for (int i = 0; i < 11; ++i) {
      raise(device_.record_event(before));
      run();
      raise(device_.record_event(after));
      float ms = 0;
      raise(device_.milliseconds(before, after, ms));
      times.push_back(static_cast<double>(ms));
    }
    device_.release_event(before);
    device_.release_event(after);
    std::nth_element(times.begin(), times.begin() + 5, times.end());
    return times[5];
  }
  std::string run(const KernelText& text, const std::vector<int64_t>& words, int launches,
                  int64_t blocks, uint64_t) override {
    if (blocks == 0) return "";
    uint64_t function = 0;
    Status status = find(text, function);
    if (!status.empty()) return status;
    uint64_t table = 0;
    std::vector<int64_t> copy = words;
    if (text.grouped) table = put({reinterpret_cast<const char*>(words.data()), words.size() * 8});
    void* single[] = {copy.data()};
    void* grouped[] = {&table, &launches};
    status = device_.launch(function, blocks, text.threads, text.grouped ? grouped : single,
                            text.shared_bytes);
    return status.empty() ? device_.synchronize() : status;
  }

 private:
  Status find(const KernelText& text, uint64_t& function) const {
    Status status = "no module";
    for (size_t m = 0; m < modules_.size() && !status.empty(); ++m)
      status = device_.find_function(modules_[m], text.name, function);
    return status;
  }
  Device& device_;
  std::vector<uint64_t> modules_, memory_;
};

TEST(Gpu, IsDescribed) {
  DEVICE_OR_SKIP(device);
  const DeviceInfo& d = device->info();
  const CompilerInfo compiler = plugin().compiler();
  const DriverInfo driver = plugin().driver();
  report("device", format("{}, sm_{}{}, {} multiprocessors, {:.1f} GiB", d.name, d.major, d.minor,
                          d.multiprocessors, static_cast<double>(d.memory_bytes) / (1 << 30)));
  report("driver, compiler", format("CUDA {}.{}, NVRTC {}.{}", driver.version / 1000,
                                    driver.version % 1000 / 10, compiler.major, compiler.minor));
}

void check_random(ir::KernelForm form, const char* name) {
  DEVICE_OR_SKIP(device);
  using namespace codegen::test;
  std::vector<Problem> problems;
  std::vector<Execution> executions;
  std::vector<KernelText> texts;
  const int64_t seeds = env_int("CORTEN_FUZZ_SEEDS", 60);
  for (int64_t seed = 0; seed < seeds; ++seed) {
    problems.push_back(RandomKernel(static_cast<uint64_t>(seed), form).make());
    // Double-precision functions are the device's own.
    executions.push_back(prepare(problems.back()));
    texts.push_back(executions.back().text);
  }
  GpuRunner runner(*device, texts);
  int same = 0, skipped = 0;
  for (size_t i = 0; i < problems.size(); ++i) {
    const Problem& p = problems[i];
    const bool library = std::any_of(
        p.kernel.body.nodes().begin(), p.kernel.body.nodes().end(), [](const ir::ScalarNode& n) {
          return n.type == DType::f64 && n.op >= ir::ScalarOp::exp && n.op != ir::ScalarOp::rsqrt;
        });
    if (library) {
      ++skipped;
      continue;
    }
    runner.clear();
    Problem copy = p;
    std::vector<void*> pointers;
    for (std::string& bytes : copy.operands) pointers.push_back(bytes.data());
    ir::KernelFault expected, found;
    interpret(copy.kernel, copy.launch, pointers.data(), ir::Precision::exact, &expected);
    if (expected.flagged) continue;
    std::vector<uint64_t> addresses;
    for (const std::string& bytes : p.operands) addresses.push_back(runner.put(bytes));
    const uint64_t fault = runner.put(std::string(sizeof found, '\0'));
    std::vector<int64_t> words;
    codegen::gpu::pack_arguments(p.kernel, p.launch, addresses, fault, words);
    ASSERT_EQ(runner.run(executions[i].text, words, 1,
                         codegen::gpu::block_count(p.kernel, p.launch, executions[i].schedule), 0),
              "");
    std::vector<std::string> got;
    for (size_t k = 0; k < addresses.size(); ++k)
      got.push_back(runner.get(addresses[k], p.operands[k].size()));
    const std::string different = difference(p.kernel, copy.operands, got);
    EXPECT_EQ(different, "") << "seed " << i << "\n" << describe(p) << executions[i].text.text;
    same += different.empty();
  }
  report(format("random kernels, {}: same bits as the interpreter", name),
         format("{} of {}", same, problems.size() - static_cast<size_t>(skipped)));
}

TEST(Gpu, RandomRows) {
  check_random(ir::KernelForm::rows, "rows");
}
TEST(Gpu, RandomColumns) {
  check_random(ir::KernelForm::columns, "columns");
}
TEST(Gpu, RandomScatters) {
  check_random(ir::KernelForm::scatter, "scatters");
}

void check_model(const std::string& model, DType dtype) {
  DEVICE_OR_SKIP(device);
  const StepKernels& kernels = model_step(model, dtype).kernels();
  GpuRunner runner(*device, kernels.texts);
  const std::string different = run_texts(runner, kernels);
  EXPECT_EQ(different, "");
  report(format("kernels of a {} step in {}: same bits as the interpreter", model, name(dtype)),
         different.empty() ? format("all {}", kernels.texts.size()) : "no");
}

TEST(Gpu, Gpt2Kernels) {
  check_model("gpt2", DType::bf16);
}
TEST(Gpu, LlamaKernels) {
  check_model("llama", DType::bf16);
}

TEST(Gpu, Products) {
  DEVICE_OR_SKIP(device);
  GpuRunner memory(*device, {});
  double worst = 0;
  int count = 0;
  for (const ProductType type :
       {ProductType::f32, ProductType::bf16, ProductType::f16, ProductType::f64})
    for (const bool ta : {false, true})
      for (const bool tb : {false, true})
        for (const int64_t batch : {1, 3}) {
          Product p{.type = type,
                    .transpose_a = ta,
                    .transpose_b = tb,
                    .m = 40,
                    .n = 72,
                    .k = 136,
                    .batch = batch};
          p.wide_result = type == ProductType::bf16 && batch == 3;
          p.lda = ta ? p.m : p.k;
          p.ldb = tb ? p.k : p.n;
          p.ldc = p.n;
          p.stride_a = p.m * p.k;
          p.stride_b = p.k * p.n;
          p.stride_c = p.m * p.n;
          const auto make = [&](int64_t n, uint64_t seed, std::vector<double>& values) {
            std::string bytes;
            for (int64_t i = 0; i < n; ++i) {
              seed = seed * 6364136223846793005u + 1442695040888963407u;
              const float x = from_bf16(to_bf16(
                  static_cast<float>(static_cast<int64_t>(seed >> 40)) / 8388608.0f - 1.0f));
              values.push_back(static_cast<double>(x));
              const double d = static_cast<double>(x);
              const uint16_t h = type == ProductType::bf16 ? to_bf16(x) : to_f16(x);
              if (type == ProductType::f64)
                bytes.append(reinterpret_cast<const char*>(&d), 8);
              else if (type == ProductType::f32)
                bytes.append(reinterpret_cast<const char*>(&x), 4);
              else
                bytes.append(reinterpret_cast<const char*>(&h), 2);
            }
            return bytes;
          };
          std::vector<double> x, y;
          const uint64_t a = memory.put(make(batch * p.m * p.k, 1, x)),
                         b = memory.put(make(batch * p.k * p.n, 2, y));
          const size_t size = type == ProductType::f64                    ? 8
                              : type == ProductType::f32 || p.wide_result ? 4
                                                                          : 2;
          const size_t bytes = static_cast<size_t>(batch * p.m * p.n) * size;
          ProductPlan plan;
          raise(device->plan_product(p, plan));
          const uint64_t workspace =
              memory.put(std::string(static_cast<size_t>(plan.workspace_bytes) + 16, '\0'));
          std::string results[2];
          for (std::string& r : results) {
            const uint64_t c = memory.put(std::string(bytes, '\0'));
            raise(device->run_product(p, plan, {.a = a, .b = b, .c = c, .workspace = workspace}));
            r = memory.get(c, bytes);
          }
          EXPECT_EQ(results[0], results[1]) << "two runs differ";
          // Added to zeros, and then to itself.
          if (size >= 4) {
            Product sum = p;
            sum.accumulate = true;
            raise(device->plan_product(sum, plan));
            const uint64_t c = memory.put(std::string(bytes, '\0')),
                           room = memory.put(
                               std::string(static_cast<size_t>(plan.workspace_bytes) + 16, '\0'));
            raise(device->run_product(sum, plan, {.a = a, .b = b, .c = c, .workspace = room}));
            const std::string once = memory.get(c, bytes);
            raise(device->run_product(sum, plan, {.a = a, .b = b, .c = c, .workspace = room}));
            const std::string twice = memory.get(c, bytes);
            for (size_t at = 0; at < bytes; at += size) {
              double d[2] = {};
              float f[2] = {};
              for (int r = 0; r < 2; ++r) {
                const char* from = (r ? twice : once).data() + at;
                if (size == 8)
                  std::memcpy(&d[r], from, 8);
                else
                  std::memcpy(&f[r], from, 4), d[r] = static_cast<double>(f[r]);
              }
              ASSERT_NEAR(d[1], 2 * d[0], 1e-4);
            }
          }
          for (int64_t q = 0; q < batch; ++q)
            for (int64_t i = 0; i < p.m; ++i)
              for (int64_t j = 0; j < p.n; ++j) {
                double want = 0;
                for (int64_t k = 0; k < p.k; ++k)
                  want +=
                      x[static_cast<size_t>(q * p.stride_a +
                                            (ta ? k * p.lda + i : i * p.lda + k))] *
                      y[static_cast<size_t>(q * p.stride_b + (tb ? j * p.ldb + k : k * p.ldb + j))];
                const char* at =
                    results[0].data() + static_cast<size_t>(q * p.stride_c + i * p.ldc + j) * size;
                double got = 0;
                float f = 0;
                uint16_t h = 0;
                if (size == 8)
                  std::memcpy(&got, at, 8);
                else if (size == 4)
                  std::memcpy(&f, at, 4), got = static_cast<double>(f);
                else
                  std::memcpy(&h, at, 2),
                      got = static_cast<double>(type == ProductType::bf16 ? from_bf16(h)
                                                                          : from_f16(h));
                const double bound = size == 2 ? 0.01 * std::fabs(want) + 0.01 : 1e-4;
                ASSERT_NEAR(got, want, bound)
                    << "type " << static_cast<int>(type) << ta << tb << batch;
                worst = std::max(worst, size == 2 ? 0 : std::fabs(got - want));
              }
          memory.clear();
          ++count;
        }
  report("products: right, and the same bits twice",
         format("{} kinds, f32 off by at most {:.1e}", count, worst));
}

TEST(Gpu, ProductsOfManyMatrices) {
  DEVICE_OR_SKIP(device);
  const Comparison c = compare_with_cpu(
      [](const std::vector<Tensor>& in) { return std::vector<Tensor>{matmul(in[0], in[1])}; },
      [](int step) {
        const auto seed = static_cast<uint64_t>(step);
        return std::vector<Tensor>{numbers({70000, 8, 4}, seed), numbers({70000, 4, 8}, seed + 9)};
      },
      2, *device);
  EXPECT_LT(c.difference, 1e-5) << c.where;
  report("a product of 70,000 matrices: largest difference", format("{:.1e}", c.difference));
}

TEST(Gpu, Attention) {
  DEVICE_OR_SKIP(device);
  const auto problems = attention_samples();
  std::vector<KernelText> texts;
  for (const auto& x : problems)
    for (KernelText& t : attention_texts(*x)) texts.push_back(std::move(t));
  GpuRunner runner(*device, texts);
  size_t right = 0;
  for (const auto& x : problems) {
    runner.clear();
    ASSERT_EQ(run_attention(runner, *x), "");
    const std::string different = attention_difference(*x), bits = x->bits();
    EXPECT_EQ(different, "");
    ASSERT_EQ(run_attention(runner, *x), "");
    EXPECT_EQ(bits, x->bits()) << x->text() << ": two runs differ";
    right += different.empty();
  }
  report("attention: the definition's results, and the same bits twice",
         format("{} of {} problems", right, problems.size()));
}

// Heads of a GPT-2 and of a LLaMA, causal.
TEST(Gpu, AttentionsSpeed) {
  DEVICE_OR_SKIP(device);
  struct Size {
    int64_t batch, heads, length, size;
  };
  for (const Size& s : {Size{8, 12, 1024, 64}, Size{4, 32, 2048, 64}, Size{4, 16, 4096, 128}}) {
    AttentionArgs a;
    a.dtype = DType::bf16;
    a.batch[1] = s.batch, a.batch[2] = s.heads;
    a.queries = a.keys = s.length;
    a.head_size = s.size;
    a.scale = 0.125f;
    a.causal = true;
    const int64_t bytes = s.batch * s.heads * s.length * s.size * 2;
    std::string numbers(static_cast<size_t>(bytes), '\0');
    uint64_t seed = 1;
    for (size_t i = 0; i < numbers.size(); i += 2) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      const uint16_t x =
          to_bf16(static_cast<float>(static_cast<int64_t>(seed >> 40)) / 8388608.0f - 1.0f);
      std::memcpy(numbers.data() + i, &x, 2);
    }
    std::vector<KernelText> texts;
    for (AttentionTensor* t : {&a.q, &a.k, &a.v, &a.out, &a.g, &a.dq, &a.dk, &a.dv}) {
      t->batch_stride[1] = s.length * s.heads * s.size;
      t->batch_stride[2] = s.size;
      t->row_stride = s.heads * s.size;
    }
    for (const bool gradient : {false, true})
      for (AttentionKernel& k : attention_kernels(a, gradient)) texts.push_back(std::move(k.text));
    GpuRunner runner(*device, texts);
    for (AttentionTensor* t : {&a.q, &a.k, &a.v, &a.out, &a.g, &a.dq, &a.dk, &a.dv})
      t->data = reinterpret_cast<void*>(runner.put(numbers));
    a.lse = reinterpret_cast<float*>(
        runner.put(std::string(static_cast<size_t>(s.batch * s.heads * s.length * 4), '\0')));
    const uint64_t workspace =
        runner.put(std::string(static_cast<size_t>(attention_workspace_bytes(a, true)), '\0'));
    const std::vector<int64_t> words = attention_words(a, {}, workspace);
    std::string text;
    for (const bool gradient : {false, true}) {
      const std::vector<AttentionKernel> kernels = attention_kernels(a, gradient);
      const double ms = runner.milliseconds([&] {
        for (const AttentionKernel& k : kernels) runner.start(k.text, words, k.blocks);
      });
      text += format("{}{:.3f} ms, {:.0f} TFLOP/s", gradient ? "; backward " : "forward ", ms,
                     attention_flops(a, gradient) / ms * 1e-9);
    }
    report(format("attention, bf16, causal, {} x {} x {} x {}", s.batch, s.heads, s.length, s.size),
           text);
  }
}

TEST(Gpu, PointwiseAndReductionsHaveTheCpusBits) {
  DEVICE_OR_SKIP(device);
  const auto arguments = [](int step) {
    return std::vector<Tensor>{numbers({300, 768}, static_cast<uint64_t>(step)), numbers({768}, 7)};
  };
  const auto function = [](const std::vector<Tensor>& in) {
    const Tensor x = layer_norm(gelu(in[0]), in[1], in[1]);
    return std::vector<Tensor>{sum(softmax(x, -1) * x), sum(exp(x), {0}), x};
  };
  const Comparison c = compare_with_cpu(function, arguments, 3, *device);
  EXPECT_TRUE(c.same_bits) << c.where;
  EXPECT_EQ(c.replayed, 2) << c.info.uncaptured;
  report("a program without products: same bits as the CPU", c.same_bits ? "yes" : c.where);
}

TEST(Gpu, TrainsANetworkAsTheCpuDoes) {
  DEVICE_OR_SKIP(device);
  Network network;
  const auto arguments = [](int step) {
    return std::vector<Tensor>{tokens({3, 7}, static_cast<uint64_t>(step), 50),
                               tokens({3, 7}, static_cast<uint64_t>(step) + 9, 10), scalar(0.01)};
  };
  const Comparison c = compare_with_cpu(
      [&](const std::vector<Tensor>& in) { return network.step(in); }, arguments, 20, *device);
  EXPECT_LT(c.difference, 1e-2) << c.where;
  report("20 steps of a network: largest difference to the CPU", format("{:.1e}", c.difference));
}

TEST(Gpu, TrainsGpt2AsTheCpuDoes) {
  DEVICE_OR_SKIP(device);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    auto model =
        make_gpt2({.vocab_size = 500, .n_positions = 64, .n_embd = 128, .n_layer = 2, .n_head = 4});
    model->initialize(1);
    manual_seed(1);
    optim::AdamW optimizer(optim::weight_decay_groups(*model, 0.1), {});
    const auto arguments = [](int step) {
      const Tensor ids = tokens({4, 65}, static_cast<uint64_t>(step % 8), 500);
      return std::vector<Tensor>{ids.slice(1, 0, 64).contiguous(),
                                 ids.slice(1, 1, 65).contiguous()};
    };
    const auto step = [&](const std::vector<Tensor>& in) {
      Tensor loss;
      {
        const Autocast autocast(dtype);
        loss = model->loss(in[0], in[1]);
      }
      loss.backward();
      optim::clip_grad_norm_(model->parameters(), 1.0);
      optimizer.step();
      optimizer.zero_grad();
      return std::vector<Tensor>{loss.detach()};
    };
    const Comparison c = compare_with_cpu(step, arguments, 200, *device);
    double worst = 0;
    for (size_t i = 0; i < c.cpu.size(); ++i)
      worst = std::max(worst, std::fabs(c.cpu[i] - c.device[i]));
    EXPECT_LT(worst, dtype == DType::f32 ? 0.02 : 0.1);
    EXPECT_LT(c.device.back(), c.device.front() - 0.5);
    report(format("200 steps of a small GPT-2 in {}: largest difference of a loss", name(dtype)),
           format("{:.1e}", worst));
  }
}

TEST(Gpu, StepOfGpt2) {
  DEVICE_OR_SKIP(device);
  Json config = preset_config("gpt2");
  for (const char* field : {"resid_pdrop", "embd_pdrop", "attn_pdrop"}) config.set(field, 0.0);
  const std::unique_ptr<CausalLM> model = build_model(config.dump(), "", 1);
  optim::AdamW optimizer(optim::weight_decay_groups(*model, 0.1), {});
  constexpr int64_t kBatch = 4, kSeq = 1024;
  const auto arguments = [](int step) {
    return std::vector<Tensor>{tokens({kBatch, kSeq}, static_cast<uint64_t>(step), 50257),
                               tokens({kBatch, kSeq}, static_cast<uint64_t>(step) + 5, 50257)};
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
  const Comparison c = compare_with_cpu(step, arguments, 12, *device, {}, 0);
  std::vector<double> ms(c.step_ms.begin() + 2, c.step_ms.end());
  std::sort(ms.begin(), ms.end());
  const double median = ms[ms.size() / 2];
  EXPECT_LT(c.device.back(), 12.0);
  EXPECT_TRUE(c.info.copies.empty()) << c.info.copies[0];
  // All steps but the first, which launches one by one, are the launch of one graph.
  EXPECT_EQ(c.info.uncaptured, "");
  EXPECT_EQ(c.replayed, 11);
  // The driver gives memory in pieces of 2 MiB.
  EXPECT_GE(c.arena_allocated, c.info.arena_bytes);
  EXPECT_LE(c.arena_allocated, c.info.arena_bytes + (int64_t{2} << 20));
  report("GPT-2 124M, bf16, 4 x 1024 tokens: step",
         format("{:.2f} ms, {:.0f} tokens/s", median, kBatch * kSeq / median * 1e3));
  report("  steps that were the launch of one graph", format("{} of {}", c.replayed, 12));
  report("  launches in one graph",
         format("{} kernels in {} groups, {} products, {} attentions", c.info.launches,
                c.info.groups, c.info.products, c.info.attentions));
  const auto mib = [](int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  report("  arena: planned, allocated, lower bound",
         format("{:.1f}, {:.1f}, {:.1f} MiB", mib(c.info.arena_bytes), mib(c.arena_allocated),
                mib(c.info.arena_lower_bound)));
}

// Two openings of one device, and two devices where there are, used in turn by one thread.
TEST(Gpu, DevicesInTurn) {
  DEVICE_OR_SKIP(device);
  const int count = static_cast<int>(plugin().driver().devices.size());
  std::unique_ptr<Device> other = open_device(count > 1 ? 1 : 0);
  const auto fill_and_read = [](Device& d, uint8_t byte) {
    uint64_t at = 0;
    raise(d.allocate(1000, at));
    raise(d.fill(at, byte, 1000));
    std::string got(1000, '\0');
    raise(d.to_host(got.data(), at, 1000));
    raise(d.synchronize());
    raise(d.release(at));
    EXPECT_EQ(got, std::string(1000, static_cast<char>(byte)));
  };
  for (uint8_t i = 1; i < 4; ++i) {
    fill_and_read(*device, i);
    fill_and_read(*other, static_cast<uint8_t>(i + 100));
  }
  other.reset();
  fill_and_read(*device, 9);
  int64_t free = 0, total = 0;
  std::thread([&] { EXPECT_EQ(device->memory(free, total), ""); }).join();
  EXPECT_GT(free, 0);
  report("devices used in turn by a thread", format("{} of {}", count > 1 ? 2 : 1, count));
}

// Every call as one rank of a group. Numbers are small and whole, so that sums are exact in any
// order and type.
void check_collectives(Device& device, comm::Comm& comm, DType dtype) {
  constexpr int64_t kCount = 1001;  // of each rank
  const int rank = comm.rank(), size = comm.size();
  const auto bytes = static_cast<int64_t>(size_of(dtype));
  const int64_t all_bytes = kCount * size * bytes;
  const auto encode = [&](double value, char* at) {
    const auto put = [&](auto v) { std::memcpy(at, &v, sizeof v); };
    switch (dtype) {
      case DType::f64:
        return put(value);
      case DType::bf16:
        return put(to_bf16(static_cast<float>(value)));
      case DType::f16:
        return put(to_f16(static_cast<float>(value)));
      case DType::i64:
        return put(static_cast<int64_t>(value));
      default:
        return put(static_cast<float>(value));
    }
  };
  // Element i of rank r, and of a buffer that has `count` elements.
  const auto element = [](int r, int64_t i) { return static_cast<double>(i % 3 + r % 4); };
  const auto text = [&](int64_t count, const std::function<double(int64_t)>& value) {
    std::string out(static_cast<size_t>(count * bytes), '\0');
    for (int64_t i = 0; i < count; ++i) encode(value(i), out.data() + i * bytes);
    return out;
  };
  uint64_t from = 0, to = 0;
  raise(device.allocate(all_bytes, from));
  raise(device.allocate(all_bytes, to));
  void *const in = reinterpret_cast<void*>(from), *const out = reinterpret_cast<void*>(to);
  const std::string own = text(kCount * size, [&](int64_t i) { return element(rank, i); });
  raise(device.to_device(from, own.data(), all_bytes));
  const auto expect = [&](const char* what, int64_t count,
                          const std::function<double(int64_t)>& value) {
    std::string got(static_cast<size_t>(count * bytes), '\0');
    raise(device.to_host(got.data(), to, count * bytes));
    comm.synchronize();
    EXPECT_EQ(got, text(count, value))
        << what << ", " << name(dtype) << ", rank " << rank << " of " << size;
  };
  const auto reduced = [&](int64_t i, comm::Reduction reduction) {
    double sum = 0, most = 0;
    for (int r = 0; r < size; ++r) {
      sum += element(r, i);
      most = std::max(most, element(r, i));
    }
    return reduction == comm::Reduction::max    ? most
           : reduction == comm::Reduction::mean ? sum / size
                                                : sum;
  };
  for (const auto reduction : {comm::Reduction::sum, comm::Reduction::max, comm::Reduction::mean}) {
    // A third of a sum is rounded, by NCCL in its own way.
    if (reduction == comm::Reduction::mean && (dtype == DType::i64 || (size & (size - 1)) != 0))
      continue;
    comm.all_reduce({in, kCount}, {out, kCount}, dtype, reduction);
    expect("all_reduce", kCount, [&](int64_t i) { return reduced(i, reduction); });
    comm.reduce_scatter({in, kCount * size}, {out, kCount}, dtype, reduction);
    expect("reduce_scatter", kCount,
           [&](int64_t i) { return reduced(rank * kCount + i, reduction); });
  }
  comm.all_gather({in, kCount}, {out, kCount * size}, dtype);
  expect("all_gather", kCount * size,
         [&](int64_t i) { return element(static_cast<int>(i / kCount), i % kCount); });
  raise(device.copy(to, from, kCount * bytes));
  comm.broadcast({out, kCount}, dtype, size - 1);
  expect("broadcast", kCount, [&](int64_t i) { return element(size - 1, i); });
  const int before = (rank + size - 1) % size;
  comm.exchange({in, kCount}, (rank + 1) % size, {out, kCount}, before, dtype);
  expect("exchange", kCount, [&](int64_t i) { return element(before, i); });
  if (rank > 0) {
    comm.recv({out, kCount}, dtype, rank - 1);
    expect("recv", kCount, [&](int64_t i) { return element(rank - 1, i); });
  }
  if (rank + 1 < size) comm.send({in, kCount}, dtype, rank + 1);
  comm.barrier();
  device.release(from);
  device.release(to);
}

// A group of one, and one of all devices if there are more.
TEST(Gpu, Collectives) {
  DEVICE_OR_SKIP(device);
  std::string first;
  if (const Status s = plugin().new_group_id(first); !s.empty()) GTEST_SKIP() << s;
  const int devices = static_cast<int>(plugin().driver().devices.size());
  for (int size = 1; size <= devices; size += std::max(1, devices - 1)) {
    const std::string id = new_group_id();
    std::vector<std::string> ranks(static_cast<size_t>(size));
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size; ++rank)
      threads.emplace_back([&, rank] {
        std::string& line = ranks[static_cast<size_t>(rank)];
        try {
          const std::unique_ptr<Device> own = open_device(rank);
          const auto comm = make_device_comm(*own, id, rank, size, 60);
          for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64})
            check_collectives(*own, *comm, dtype);
          line = comm->describe();
        } catch (const Error& e) {
          ADD_FAILURE() << e.what();
        }
      });
    for (std::thread& t : threads) t.join();
    report(format("collectives of a group of {}", size), ranks[0]);
  }
}

}  // namespace
}  // namespace corten::cuda::test
