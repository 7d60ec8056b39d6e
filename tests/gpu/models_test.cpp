// Every generated kernel of a training step of GPT-2 and of LLaMA: executed on the CPU against the
// interpreter, and compiled for two architectures.
#include <gtest/gtest.h>

#include "cuda/binaries.h"
#include "cuda/load.h"
#include "gpu/cpu_runner.h"
#include "gpu/run_step.h"
#include "gpu/steps.h"

namespace corten::cuda::test {
namespace {

using codegen::gpu::KernelText;
using codegen::test::HostModule;

void check_on_cpu(const std::string& model, DType dtype) {
  const StepKernels& kernels = model_step(model, dtype).kernels();
  std::string missing;
  const auto module = HostModule::compile(kernels.texts, missing);
  if (!module) GTEST_SKIP() << missing;
  CpuRunner runner(*module);
  EXPECT_EQ(run_texts(runner, kernels), "");
  EXPECT_GT(kernels.texts.size(), 30u);
}

TEST(ModelKernels, Gpt2Bf16OnTheCpu) {
  check_on_cpu("gpt2", DType::bf16);
}
TEST(ModelKernels, Gpt2F32OnTheCpu) {
  check_on_cpu("gpt2", DType::f32);
}
TEST(ModelKernels, LlamaBf16OnTheCpu) {
  check_on_cpu("llama", DType::bf16);
}

void check_compiled(const std::string& model, const std::string& architecture) {
  std::string missing;
  Plugin* plugin = find_plugin(missing);
  if (plugin) missing = plugin->compiler().missing;
  if (!missing.empty()) GTEST_SKIP() << missing;
  const std::vector<KernelText> texts = model_step(model, DType::bf16).texts();
  size_t count = 0, attention = 0;
  for (const Binary& b : compile_kernels(texts, architecture, 2)) {
    EXPECT_TRUE(b.cubin.starts_with("\177ELF"));
    for (const KernelResources& r : b.resources) {
      ++count;
      EXPECT_GT(r.registers, 0) << r.name;
      if (r.name.starts_with("attention_")) {
        ++attention;
        EXPECT_LE(r.spill_store_bytes + r.spill_load_bytes, 256) << r.name;
        continue;
      }
      // Four blocks of four warps, or as many threads, fit a multiprocessor of 65,536 registers.
      EXPECT_LE(r.registers, 168) << r.name;
      EXPECT_LE(r.spill_store_bytes + r.spill_load_bytes, 256) << r.name;
    }
  }
  EXPECT_EQ(count, texts.size());
  EXPECT_EQ(attention, 4u) << "forward, sums, and the gradients of keys and of queries";
}

TEST(ModelKernels, Gpt2ForSm80) {
  check_compiled("gpt2", "sm_80");
}
TEST(ModelKernels, Gpt2ForSm90) {
  check_compiled("gpt2", "sm_90");
}
TEST(ModelKernels, LlamaForSm80) {
  check_compiled("llama", "sm_80");
}
TEST(ModelKernels, LlamaForSm90) {
  check_compiled("llama", "sm_90");
}

// Everything that could change a binary is in its key; what was compiled once comes from disk.
TEST(Binaries, AreKept) {
  std::string missing;
  Plugin* plugin = find_plugin(missing);
  if (plugin) missing = plugin->compiler().missing;
  if (!missing.empty()) GTEST_SKIP() << missing;
  const std::vector<KernelText> one{model_step("gpt2", DType::bf16).kernels().texts[0]};
  const Binary first = compile_kernels(one, "sm_90")[0], again = compile_kernels(one, "sm_90")[0];
  EXPECT_TRUE(again.from_disk);
  EXPECT_EQ(first.cubin, again.cubin);
  EXPECT_EQ(first.resources.size(), again.resources.size());
  EXPECT_NE(compile_kernels(one, "sm_80")[0].cubin, first.cubin);
}

TEST(Binaries, ForUnknownArchitecturesAreRefused) {
  std::string missing;
  Plugin* plugin = find_plugin(missing);
  if (plugin) missing = plugin->compiler().missing;
  if (!missing.empty()) GTEST_SKIP() << missing;
  const std::vector<KernelText> one{model_step("gpt2", DType::bf16).kernels().texts[0]};
  for (const char* architecture : {"sm_999", "90", ""}) {
    try {
      compile_kernels(one, architecture);
      ADD_FAILURE() << architecture;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::Resource);
      EXPECT_NE(std::string(e.what()).find("install a newer CUDA toolkit"), std::string::npos)
          << e.what();
    }
  }
}

}  // namespace
}  // namespace corten::cuda::test
