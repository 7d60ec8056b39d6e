// Attention's kernels on the CPU, thread by thread, against the definition in double precision;
// what they ask of a GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "cuda/attention/attention_kernels.h"
#include "cuda/binaries.h"
#include "cuda/load.h"
#include "gpu/cpu_runner.h"
#include "gpu/run_attention.h"

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

// Kernels of an aligned causal problem with the strides of a model.
std::vector<KernelText> model_texts(DType dtype, int64_t size, float p) {
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
    for (AttentionKernel& k : attention_kernels(a, gradient)) out.push_back(std::move(k.text));
  return out;
}

void check_compiled(const std::string& architecture) {
  std::string missing;
  Plugin* plugin = find_plugin(missing);
  if (plugin) missing = plugin->compiler().missing;
  if (!missing.empty()) GTEST_SKIP() << missing;
  std::vector<KernelText> texts;
  const auto add = [&](DType dtype, int64_t size) {
    for (KernelText& t : model_texts(dtype, size, 0)) texts.push_back(std::move(t));
  };
  add(DType::bf16, 64);
  add(DType::bf16, 128);
  if (architecture == "sm_90") add(DType::f32, 64);
  size_t count = 0;
  for (const Binary& b : compile_kernels(texts, architecture, 2))
    for (const KernelResources& r : b.resources) {
      ++count;
      const auto text = std::find_if(texts.begin(), texts.end(),
                                     [&](const KernelText& t) { return t.name == r.name; });
      ASSERT_NE(text, texts.end()) << r.name;
      // What a block may ask for.
      EXPECT_LE(text->shared_bytes, architecture == "sm_80" ? 163 << 10 : 227 << 10) << r.name;
      EXPECT_LE(r.spill_store_bytes + r.spill_load_bytes, 32) << r.name;
      const int blocks = resident_blocks(text->threads, r.registers, text->shared_bytes,
                                         architecture == "sm_80" ? 8 : 9, 0);
      EXPECT_GE(blocks * text->threads, 256) << r.name << " has " << r.registers << " registers";
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
TEST(GpuAttention, ForSm90) {
  check_compiled("sm_90");
}

}  // namespace
}  // namespace corten::cuda::test
