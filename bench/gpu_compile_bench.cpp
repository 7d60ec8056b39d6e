// The GPU kernels of a training step: how many there are, what they cost to compile for an
// architecture, and the registers, shared memory and spills of each. No GPU is needed, the CUDA
// compiler (NVRTC) is.
//   build/release/gpu_compile_bench [MODEL [ARCHITECTURE [LAYERS [BATCH [SEQ [MODULES]]]]]]
// MODEL: a preset, as gpt2 or llama-1.1b. An empty CORTEN_CACHE_DIR makes it cold.
// CORTEN_TEXT=FILE writes the text.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "base/file.h"
#include "base/format.h"
#include "base/json.h"
#include "corten/corten.h"
#include "cuda/attention/attention_step.h"
#include "cuda/binaries.h"
#include "cuda/step_kernels.h"
#include "models/presets.h"
#include "passes/pipeline.h"
#include "runtime/inspect.h"
#include "runtime/null_device.h"
#include "train/model_setup.h"
#include "train/train_step.h"

namespace {

using namespace corten;
using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

Json model_config(const std::string& preset, int layers) {
  Json config = preset_config(preset);
  const bool gpt2 = config.at("model_type").as_string() == "gpt2";
  if (layers) config.set(gpt2 ? "n_layer" : "num_hidden_layers", layers);
  return config;
}

int run(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "gpt2", architecture = argc > 2 ? argv[2] : "sm_90";
  const int layers = argc > 3 ? std::atoi(argv[3]) : 0, batch = argc > 4 ? std::atoi(argv[4]) : 8,
            seq = argc > 5 ? std::atoi(argv[5]) : 1024, modules = argc > 6 ? std::atoi(argv[6]) : 2;
  const runtime::NullDeviceScope no_values;
  const std::unique_ptr<CausalLM> model = build_model(model_config(name, layers).dump(), "", 1);
  TrainStep step(
      *model, {.batch = batch, .seq = seq, .dtype = DType::bf16, .optim = {.clip_grad_norm = 1.0}});
  step.plan();
  Clock::time_point start = Clock::now();
  const ir::Graph graph = passes::run_pipeline(*runtime::inspect(step.compiled()).recorded, {},
                                               nullptr, passes::Families::gpu);
  const double passes_ms = ms_since(start);
  start = Clock::now();
  const kernel::Partition partition = kernel::partition(graph, true);
  const cuda::StepKernels kernels = cuda::step_kernels(partition, true);
  std::vector<codegen::gpu::KernelText> texts = kernels.texts;
  for (const auto& [step, attention] : cuda::attention_steps(partition))
    for (const cuda::AttentionKernel& k : attention.kernels()) texts.push_back(k.text);
  const double emit_ms = ms_since(start);
  if (const char* file = std::getenv("CORTEN_TEXT"))
    write_file_atomic(file, codegen::gpu::module_text(texts));
  start = Clock::now();
  const std::clock_t cpu = std::clock();
  const std::vector<cuda::Binary> binaries = cuda::compile_kernels(texts, architecture, modules);
  const double compile_ms = ms_since(start),
               cpu_ms = static_cast<double>(std::clock() - cpu) * 1e3 / CLOCKS_PER_SEC;
  size_t bytes = 0, products = 0;
  std::vector<cuda::KernelResources> resources;
  for (const cuda::Binary& b : binaries) {
    bytes += b.cubin.size();
    resources.insert(resources.end(), b.resources.begin(), b.resources.end());
    std::printf("module: %zu kernels, %.0f ms%s\n", b.resources.size(), b.ms,
                b.from_disk ? " from disk" : "");
  }
  for (const kernel::Step& s : partition.steps) products += s.library;
  std::sort(resources.begin(), resources.end(),
            [](const auto& a, const auto& b) { return a.registers > b.registers; });
  std::printf("%-18s %9s %7s %6s %6s %6s  %s\n", "kernel", "registers", "shared", "stack", "spills",
              "times", "schedule");
  int spilling = 0;
  for (const cuda::KernelResources& r : resources) {
    size_t times = 0;
    std::string schedule;
    for (const cuda::GpuStep& g : kernels.steps) {
      if (g.library >= 0 || kernels.texts[static_cast<size_t>(g.text)].name != r.name) continue;
      ++times;
      schedule = to_string(g.schedule);
    }
    for (const codegen::gpu::KernelText& t : texts) {
      if (t.name != r.name || t.library.empty()) continue;
      ++times;
      schedule = format("{} bytes shared, {} blocks of {} resident", t.shared_bytes,
                        cuda::resident_blocks(t.threads, r.registers, t.shared_bytes,
                                              architecture == "sm_80" ? 8 : 9, 0),
                        t.threads);
    }
    spilling += r.spill_store_bytes > 0;
    std::printf("%-18s %9d %7d %6d %6d %6zu  %s\n", r.name.c_str(), r.registers, r.shared_bytes,
                r.stack_bytes, r.spill_store_bytes + r.spill_load_bytes, times, schedule.c_str());
  }
  std::printf(
      "%s, %s, batch %d, seq %d: %zu kernel launches in %zu groups, %zu texts, %zu library steps; "
      "passes %.0f ms, emitted in %.0f ms, compiled in %.0f "
      "ms (%.0f ms of processor time), %zu KiB, %d kernels spill\n",
      name.c_str(), architecture.c_str(), batch, seq, kernels.launches(), kernels.groups(),
      resources.size(), products, passes_ms, emit_ms, compile_ms, cpu_ms, bytes / 1024,
      spilling);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
