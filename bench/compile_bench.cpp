// What tracing, passes and kernels of a GPT-2 training step cost: at first, and again for other lengths of its sequences.
//   build/release/compile_bench [LAYERS [LENGTHS]]
// Nothing is executed: the model is on the null device. An empty CORTEN_CACHE_DIR makes the first line cold; the last line
// is about the lengths after the first.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "codegen/cpu.h"
#include "corten/corten.h"
#include "models/presets.h"
#include "runtime/null_device.h"
#include "train/model_setup.h"

int main(int argc, char** argv) {
  using namespace corten;
  Json config = preset_config("gpt2");
  if (argc > 1) config.set("n_layer", std::atoi(argv[1]));
  const int lengths = argc > 2 ? std::atoi(argv[2]) : 6;
  std::unique_ptr<CausalLM> model;
  std::unique_ptr<optim::AdamW> optimizer;
  {
    runtime::NullDeviceScope null;
    model = build_model(config.dump(), "", 1);
    optimizer = std::make_unique<optim::AdamW>(optim::weight_decay_groups(*model, 0.1));
  }
  CompiledFunction step = compile([&](const std::vector<Tensor>& in) {
    const Tensor loss = model->loss(in[0], in[1], Reduction::mean);
    loss.backward();
    optim::clip_grad_norm_(model->parameters(), 1.0);
    optimizer->step();
    optimizer->zero_grad();
    return std::vector<Tensor>{loss};
  });
  std::vector<double> later;
  for (int i = 0; i < lengths; ++i) {
    constexpr int64_t kFirst[] = {128, 64, 96, 33, 200, 256};
    const int64_t seq = i < 6 ? kFirst[i] : 257 + i;
    const Tensor ids = zeros({1, seq}, DType::i64);
    const codegen::CompileStats before = codegen::compile_stats();
    timespec start, end;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    const ProgramInfo info = step.plan({ids, ids});
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    const double cpu_ms = static_cast<double>(end.tv_sec - start.tv_sec) * 1e3 + static_cast<double>(end.tv_nsec - start.tv_nsec) / 1e6;
    if (i > 0) later.push_back(cpu_ms);
    const codegen::CompileStats after = codegen::compile_stats();
    if (i >= 6) continue;
    std::printf("seq %4ld: trace %6.1f ms, passes %6.1f ms, kernels %6.1f ms (%ld distinct of %ld; %ld compiled, %ld from disk), "
                "%6.1f ms on this core\n",
                seq,
                info.trace_ms, info.passes_ms, info.compile_ms, info.distinct_kernels, info.kernels, after.compiled - before.compiled,
                after.from_disk - before.from_disk, cpu_ms);
  }
  if (!later.empty()) {
    std::sort(later.begin(), later.end());
    std::printf("later lengths: median %.1f ms, least %.1f ms on this core\n", later[later.size() / 2], later.front());
  }
  if (std::getenv("CORTEN_EXPLAIN")) std::printf("%s", step.explain().c_str());
  return 0;
}
