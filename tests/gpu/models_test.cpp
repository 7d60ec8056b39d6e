// Every generated kernel of a training step of GPT-2 and of LLaMA: executed on the CPU against the interpreter, and compiled
// for two architectures.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <random>

#include "base/half.h"
#include "codegen/gpu/arguments.h"
#include "cuda/binaries.h"
#include "cuda/load.h"
#include "gpu/host_gpu.h"
#include "gpu/steps.h"
#include "kernel/interpret.h"
#include "kernel_problem.h"

namespace corten::cuda::test {
namespace {

using codegen::gpu::KernelText;
using codegen::test::HostModule;
using codegen::test::difference;
using codegen::test::Problem;

// What a launch may cost the interpreter; extents that the text does not depend on are cut down to it.
constexpr int64_t kMaxPoints = 16384;

void shrink(const ir::Kernel& kernel, const codegen::gpu::Schedule& schedule, ir::Launch& launch) {
  const auto points = [&] {
    int64_t n = std::max<int64_t>(launch.inner, 1);
    for (int d = 0; d < kernel.outer_rank; ++d) n *= launch.outer[d];
    return n;
  };
  const bool columns = kernel.form == ir::KernelForm::columns;
  const bool rows = schedule.shape == codegen::gpu::Shape::rows;
  // Rows stay whole; of columns, and of points, some are enough.
  if (!rows && launch.inner > 512) launch.inner = 512;
  for (int d = 0; d < kernel.outer_rank && points() > kMaxPoints; ++d) {
    if (columns && d == kernel.outer_rank - 1) continue;
    const int64_t others = points() / std::max<int64_t>(launch.outer[d], 1);
    launch.outer[d] = std::max<int64_t>(1, std::min(launch.outer[d], kMaxPoints / std::max<int64_t>(others, 1)));
  }
  if (columns && launch.chunks > 1) {  // several chunks, the last one not whole
    int64_t& reduced = launch.outer[kernel.outer_rank - 1];
    int32_t chunk = 0;
    for (const ir::ScalarNode& n : kernel.body.nodes())
      if (n.op == ir::ScalarOp::reduce_sum) chunk = ir::Body::tree(n).chunk;
    if (chunk > 0) {
      reduced = std::min<int64_t>(reduced, 2 * chunk + 5);
      launch.chunks = (reduced + chunk - 1) / chunk;
    }
  }
  for (ir::Launch::Access& a : launch.accesses) a.index_bound = std::min<int64_t>(a.index_bound, 40);
}

Problem make_problem(const ir::Kernel& kernel, const codegen::gpu::Schedule& schedule, ir::Launch launch, std::mt19937_64& random) {
  shrink(kernel, schedule, launch);
  Problem p{kernel, launch, {}};
  std::vector<int64_t> elements(kernel.operands.size(), 1);
  int64_t bound = 40;
  for (size_t i = 0; i < kernel.accesses.size(); ++i) {
    const ir::Access& a = kernel.accesses[i];
    const ir::Launch::Access& at = launch.accesses[i];
    if (a.index >= 0) bound = std::min(bound, at.index_bound);
    if (a.operand < 0) continue;
    int64_t last = std::max<int64_t>(at.offset, 0);
    for (int d = 0; d < kernel.outer_rank; ++d) last += std::max<int64_t>(0, at.strides[d] * (launch.outer[d] - 1));
    last += std::max<int64_t>(0, (a.inner == ir::InnerStride::zero ? 0 : a.inner == ir::InnerStride::one ? 1 : at.inner_stride) * (launch.inner - 1));
    if (a.index >= 0) last += at.index_stride * (at.index_bound - 1);
    elements[static_cast<size_t>(a.operand)] = std::max(elements[static_cast<size_t>(a.operand)], last + 1);
  }
  for (size_t i = 0; i < kernel.operands.size(); ++i) {
    const DType dtype = kernel.operands[i].dtype;
    std::string bytes(static_cast<size_t>(elements[i]) * size_of(dtype), '\0');
    for (int64_t k = 0; k < elements[i]; ++k) {
      char* to = bytes.data() + static_cast<size_t>(k) * size_of(dtype);
      // Mostly positive: roots of variances are numbers.
      const double x = (0.05 + static_cast<double>(random() % 4096) / 1024) * (random() % 16 ? 1 : -1);
      const auto f = static_cast<float>(x);
      const auto whole = static_cast<int64_t>(random() % static_cast<uint64_t>(std::max<int64_t>(bound, 1)));
      switch (dtype) {
        case DType::f32:
          std::memcpy(to, &f, 4);
          break;
        case DType::f64:
          std::memcpy(to, &x, 8);
          break;
        case DType::bf16:
        case DType::f16: {
          const uint16_t h = dtype == DType::bf16 ? to_bf16(f) : to_f16(f);
          std::memcpy(to, &h, 2);
          break;
        }
        case DType::boolean:
          *to = static_cast<char>(random() % 2);
          break;
        default:
          std::memcpy(to, &whole, size_of(dtype));
      }
    }
    p.operands.push_back(std::move(bytes));
  }
  return p;
}

// The launches of one step, of at most three of a group, side by side in memory as in an arena.
std::string run_step(const HostModule& module, const StepKernels& kernels, const GpuStep& step, uint64_t seed) {
  const KernelText& text = kernels.texts[static_cast<size_t>(step.text)];
  std::mt19937_64 random(seed);
  std::vector<Problem> problems;
  std::vector<std::vector<std::string>> want;
  std::vector<std::string> memory;  // of the device
  std::vector<HostModule::Range> ranges;
  ir::KernelFault fault;
  const size_t count = std::min<size_t>(step.launches.size(), 3);
  for (size_t i = 0; i < count; ++i) {
    // The first, one in the middle and the last.
    const GpuLaunch& l = step.launches[count == 1 ? 0 : i * (step.launches.size() - 1) / (count - 1)];
    problems.push_back(make_problem(kernels.kernels[static_cast<size_t>(l.kernel)].kernel, step.schedule, l.launch, random));
    Problem copy = problems.back();
    std::vector<void*> pointers;
    for (std::string& bytes : copy.operands) pointers.push_back(bytes.data());
    interpret(copy.kernel, copy.launch, pointers.data(), ir::Precision::exact, nullptr);
    want.push_back(std::move(copy.operands));
  }
  for (const Problem& p : problems)
    for (const std::string& bytes : p.operands) {
      memory.emplace_back(bytes.size() + 16, '\0');
    }
  std::vector<int64_t> words, begins{0};
  std::vector<std::vector<uint64_t>> addresses;
  size_t next = 0;
  for (const Problem& p : problems) {
    std::vector<uint64_t>& own = addresses.emplace_back();
    for (const std::string& bytes : p.operands) {
      const uint64_t at = (reinterpret_cast<uint64_t>(memory[next++].data()) + 15) / 16 * 16;
      std::memcpy(reinterpret_cast<void*>(at), bytes.data(), bytes.size());
      own.push_back(at);
      ranges.push_back({reinterpret_cast<const void*>(at), static_cast<int64_t>(bytes.size())});
    }
    codegen::gpu::pack_arguments(p.kernel, p.launch, own, reinterpret_cast<uint64_t>(&fault), words);
    begins.push_back(begins.back() + codegen::gpu::block_count(p.kernel, p.launch, step.schedule));
  }
  std::string error;
  if (text.grouped) {
    std::vector<int64_t> table = begins;
    table.insert(table.end(), words.begin(), words.end());
    error = module.run_group(text, table.data(), static_cast<int>(count), begins.back(), ranges, true, seed);
  } else {
    error = module.run(text, words.data(), begins.back(), ranges, true, seed);
  }
  if (!error.empty()) return error;
  if (fault.flagged) return format("index {} of access {} is reported", fault.value, fault.access);
  next = 0;
  for (size_t i = 0; i < problems.size(); ++i) {
    std::vector<std::string> got;
    for (size_t k = 0; k < problems[i].operands.size(); ++k)
      got.emplace_back(reinterpret_cast<const char*>(addresses[i][k]), problems[i].operands[k].size());
    if (std::string found = difference(problems[i].kernel, want[i], got); !found.empty()) return format("launch {}: {}", i, found);
  }
  return "";
}

void check_on_cpu(const std::string& model, DType dtype) {
  const StepKernels& kernels = model_step(model, dtype).kernels();
  std::string missing;
  const auto module = HostModule::compile(kernels.texts, missing);
  if (!module) GTEST_SKIP() << missing;
  std::vector<char> seen(kernels.texts.size(), 0);
  for (const GpuStep& step : kernels.steps) {
    if (step.library >= 0 || seen[static_cast<size_t>(step.text)]++) continue;
    const KernelText& text = kernels.texts[static_cast<size_t>(step.text)];
    EXPECT_EQ(run_step(*module, kernels, step, static_cast<uint64_t>(step.text)), "") << text.text;
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 0), 0) << "texts that no step uses";
  EXPECT_GT(kernels.texts.size(), 40u);
}

TEST(ModelKernels, Gpt2Bf16OnTheCpu) { check_on_cpu("gpt2", DType::bf16); }
TEST(ModelKernels, Gpt2F32OnTheCpu) { check_on_cpu("gpt2", DType::f32); }
TEST(ModelKernels, LlamaBf16OnTheCpu) { check_on_cpu("llama", DType::bf16); }

void check_compiled(const std::string& model, const std::string& architecture) {
  std::string missing;
  Plugin* plugin = find_plugin(missing);
  if (plugin) missing = plugin->compiler().missing;
  if (!missing.empty()) GTEST_SKIP() << missing;
  const StepKernels& kernels = model_step(model, DType::bf16).kernels();
  size_t count = 0;
  for (const Binary& b : compile_kernels(kernels.texts, architecture, 2)) {
    EXPECT_TRUE(b.cubin.starts_with("\177ELF"));
    for (const KernelResources& r : b.resources) {
      ++count;
      EXPECT_GT(r.registers, 0) << r.name;
      // Four blocks of four warps, or as many threads, fit a multiprocessor of 65,536 registers.
      EXPECT_LE(r.registers, 168) << r.name;
      EXPECT_LE(r.spill_store_bytes + r.spill_load_bytes, 256) << r.name;
    }
  }
  EXPECT_EQ(count, kernels.texts.size());
}

TEST(ModelKernels, Gpt2ForSm80) { check_compiled("gpt2", "sm_80"); }
TEST(ModelKernels, Gpt2ForSm90) { check_compiled("gpt2", "sm_90"); }
TEST(ModelKernels, LlamaForSm80) { check_compiled("llama", "sm_80"); }
TEST(ModelKernels, LlamaForSm90) { check_compiled("llama", "sm_90"); }

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

}  // namespace
}  // namespace corten::cuda::test
