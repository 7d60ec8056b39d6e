// Attention's kernels on the CPU, thread by thread, against the definition in double precision;
// what they ask of a GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "corten/ops.h"
#include "cuda/attention/attention_kernels.h"
#include "cuda/binaries.h"
#include "cuda/load.h"
#include "gpu/cpu_device.h"
#include "gpu/cpu_runner.h"
#include "gpu/mirror.h"
#include "gpu/run_attention.h"
#include "gpu/samples.h"

namespace corten::cuda::test {
namespace {

using codegen::gpu::KernelText;
using codegen::test::HostModule;

TEST(GpuAttention, IsTheDefinition) {
  const auto problems = attention_samples();
  std::vector<KernelText> texts;
  for (const auto& x : problems)
    for (KernelText& t : attention_texts(*x)) texts.push_back(std::move(t));
  std::string missing;
  const auto module = HostModule::compile(texts, missing, false);
  if (!module) GTEST_SKIP() << missing;
  CpuRunner runner(*module);
  for (const auto& x : problems) {
    runner.clear();
    ASSERT_EQ(run_attention(runner, *x), "");
    EXPECT_EQ(attention_difference(*x), "");
  }
}

// Where a block has 99 KiB of shared memory, as on sm_86, sm_89 and sm_120, gradients in f32 of large
// heads have smaller blocks.
TEST(GpuAttention, IsTheDefinitionWithLessSharedMemory) {
  std::vector<std::unique_ptr<AttentionProblem>> problems;
  for (const int64_t size : {64, 96, 128})
    for (const bool causal : {false, true})
      problems.push_back(std::make_unique<AttentionProblem>(
          corten::test::Shape{1, 2, 70, 50, size}, DType::f32, causal, corten::test::Mask::none, 0.0f,
          1u, int64_t{0}));
  std::vector<KernelText> texts;
  for (const auto& x : problems)
    for (KernelText& t : attention_texts(*x, kMinSharedBytes)) {
      EXPECT_LE(t.shared_bytes, kMinSharedBytes) << t.name;
      texts.push_back(std::move(t));
    }
  // What has room enough is what it is elsewhere.
  const auto name_of = [](AttentionProblem& x, int limit) {
    return attention_texts(x, limit).back().name;
  };
  EXPECT_EQ(name_of(*problems[0], kMinSharedBytes), name_of(*problems[0], kMaxSharedBytes));
  EXPECT_NE(name_of(*problems[4], kMinSharedBytes), name_of(*problems[4], kMaxSharedBytes));
  EXPECT_THROW(attention_texts(*problems[4], 48 << 10), Error);
  std::string missing;
  const auto module = HostModule::compile(texts, missing, false);
  if (!module) GTEST_SKIP() << missing;
  CpuRunner runner(*module);
  for (const auto& x : problems) {
    runner.clear();
    ASSERT_EQ(run_attention(runner, *x, kMinSharedBytes), "");
    EXPECT_EQ(attention_difference(*x), "");
  }
}

// A program for such a device asks no launch for more; CpuDevice refuses what does.
TEST(GpuAttention, OfAProgramKeepsToTheDevicesSharedMemory) {
  const auto step = [](const std::vector<Tensor>& in) {
    const Tensor x = in[0].clone().set_requires_grad();
    const Tensor out = scaled_dot_product_attention(x, x * 2, x + 1, {}, {.causal = true});
    return std::vector<Tensor>{out.detach(), grad({sum(out * in[0])}, {x})[0]};
  };
  for (const int limit : {kMinSharedBytes, kMaxSharedBytes}) {
    CpuDevice device;
    device.properties.shared_bytes = limit;
    Comparison c;
    try {
      c = compare_with_cpu(
          step, [](int) { return std::vector<Tensor>{numbers({1, 2, 40, 128}, 3)}; }, 2, device,
          device.modules());
    } catch (const Error&) {
      if (!device.missing.empty()) GTEST_SKIP() << device.missing;
      throw;
    }
    EXPECT_EQ(c.info.attentions, 2u);
    EXPECT_LT(c.difference, 1e-5) << c.where;
  }
}

// Multiprocessors of several generations.
TEST(GpuAttention, ResidentBlocksAreTheDevices) {
  EXPECT_EQ(resident_blocks(128, 64, 69 << 10, 8, 0), 2);   // by shared memory: 164 KiB
  EXPECT_EQ(resident_blocks(128, 64, 69 << 10, 8, 9), 1);   // 100 KiB
  EXPECT_EQ(resident_blocks(128, 64, 69 << 10, 9, 0), 3);   // 228 KiB
  EXPECT_EQ(resident_blocks(128, 64, 69 << 10, 10, 0), 3);
  EXPECT_EQ(resident_blocks(128, 64, 69 << 10, 12, 0), 1);  // 100 KiB
  EXPECT_EQ(resident_blocks(256, 128, 0, 12, 0), 2);        // by registers
  EXPECT_EQ(resident_blocks(256, 32, 0, 12, 0), 6);         // by threads: 1,536
  EXPECT_EQ(resident_blocks(32, 16, 0, 8, 6), 16);          // by number
}

// Kernels of an aligned causal problem with the strides of a model.
std::vector<KernelText> model_texts(DType dtype, int64_t size, float p, int shared_limit) {
  AttentionArgs a;
  a.dtype = dtype;
  a.batch[1] = 8, a.batch[2] = 12;
  a.queries = a.keys = 1024;
  a.head_size = size;
  a.causal = true;
  a.p = p;
  for (AttentionTensor* t : {&a.q, &a.k, &a.v, &a.out, &a.g, &a.dq, &a.dk, &a.dv}) {
    t->batch_stride[1] = 1024 * 12 * size;
    t->batch_stride[2] = size;
    t->row_stride = 12 * size;
  }
  std::vector<KernelText> out;
  for (const bool gradient : {false, true})
    for (AttentionKernel& k : attention_kernels(a, gradient, shared_limit))
      out.push_back(std::move(k.text));
  return out;
}

void check_compiled(const std::string& architecture) {
  std::string missing;
  Plugin* plugin = find_plugin(missing);
  if (plugin) missing = plugin->compiler().missing;
  if (!missing.empty()) GTEST_SKIP() << missing;
  std::vector<KernelText> texts;
  const int limit = architecture == "sm_80"   ? 163 << 10
                    : architecture == "sm_89" ? kMinSharedBytes
                                              : kMaxSharedBytes;
  const auto add = [&](DType dtype, int64_t size) {
    for (KernelText& t : model_texts(dtype, size, 0, limit)) texts.push_back(std::move(t));
  };
  if (architecture != "sm_89") {
    add(DType::bf16, 64);
    add(DType::bf16, 128);
  }
  if (architecture == "sm_90") add(DType::f32, 64);
  if (architecture == "sm_89") add(DType::f32, 128);
  size_t count = 0;
  for (const Binary& b : compile_kernels(texts, architecture, 2))
    for (const KernelResources& r : b.resources) {
      ++count;
      const auto text = std::find_if(texts.begin(), texts.end(),
                                     [&](const KernelText& t) { return t.name == r.name; });
      ASSERT_NE(text, texts.end()) << r.name;
      // What a block may ask for.
      EXPECT_LE(text->shared_bytes + r.shared_bytes, limit) << r.name;
      EXPECT_LE(r.spill_store_bytes + r.spill_load_bytes, 32) << r.name;
      const int blocks = resident_blocks(text->threads, r.registers, text->shared_bytes,
                                         architecture == "sm_90" ? 9 : 8,
                                         architecture == "sm_89" ? 9 : 0);
      EXPECT_GE(blocks * text->threads, architecture == "sm_89" ? 64 : 256)
          << r.name << " has " << r.registers << " registers";
      if (std::getenv("CORTEN_SHOW_RESOURCES"))
        std::printf("%s %-52s %3d registers, %6d bytes shared, %d x %d threads resident\n",
                    architecture.c_str(), r.name.c_str(), r.registers, text->shared_bytes, blocks,
                    text->threads);
    }
  EXPECT_EQ(count, texts.size());
}

TEST(GpuAttention, ForSm80) {
  check_compiled("sm_80");
}
TEST(GpuAttention, ForSm89) {
  check_compiled("sm_89");
}
TEST(GpuAttention, ForSm90) {
  check_compiled("sm_90");
}

}  // namespace
}  // namespace corten::cuda::test
