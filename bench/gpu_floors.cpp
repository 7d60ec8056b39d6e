// The least that a training step and a decoded token cost on a GPU: FLOPs, bytes and launches of
// the very steps that would run there, by what they are for, and the time that they take at the
// ceilings of a device. Nothing is executed and no GPU is needed.
//   build/release/gpu_floors MODEL train|decode BATCH SEQ [DEVICE|BANDWIDTH:PEAK [LAYERS]]
// MODEL: a preset, as gpt2 or llama-1.1b. SEQ: tokens of a sequence; decode: in the
// cache. DEVICE: H100, H200, A100, ... (data sheet), or a measured copy in GB/s and a measured bf16
// product in TFLOP/s. CORTEN_STEPS=1 lists the steps too.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/format.h"
#include "base/json.h"
#include "corten/corten.h"
#include "cuda/step_costs.h"
#include "models/presets.h"
#include "passes/pipeline.h"
#include "runtime/inspect.h"
#include "runtime/null_device.h"
#include "train/device_peak.h"
#include "train/model_setup.h"
#include "train/train_step.h"

namespace {

using namespace corten;

Json model_config(const std::string& preset, int layers) {
  Json config = preset_config(preset);
  const bool gpt2 = config.at("model_type").as_string() == "gpt2";
  if (gpt2)
    for (const char* field : {"resid_pdrop", "embd_pdrop", "attn_pdrop"}) config.set(field, 0.0);
  if (layers) config.set(gpt2 ? "n_layer" : "num_hidden_layers", layers);
  return config;
}

cuda::Ceilings ceilings_of(const std::string& text) {
  if (const size_t colon = text.find(':'); colon != text.npos)
    return {std::atof(text.c_str()) * 1e9, std::atof(text.c_str() + colon + 1) * 1e12,
            std::atof(text.c_str() + colon + 1) * 1e12 / 2};
  const auto figures = device_figures(text);
  if (!figures) usage_error("no figures of a \"{}\" (known: {})", text, fmt::join(device_names(), ", "));
  return {figures->bandwidth, theoretical_peak_flops(figures->name, DType::bf16, 0).value_or(0),
          theoretical_peak_flops(figures->name, DType::f32, 0).value_or(0)};
}

int run(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: %s MODEL train|decode BATCH SEQ [DEVICE|GBPS:TFLOPS [LAYERS]]\n", argv[0]);
    return 2;
  }
  const std::string name = argv[1], what = argv[2];
  const int batch = std::atoi(argv[3]), seq = std::atoi(argv[4]);
  const std::string device = argc > 5 ? argv[5] : "H200";
  const cuda::Ceilings ceilings = ceilings_of(device);
  const runtime::NullDeviceScope no_values;
  const std::unique_ptr<CausalLM> model =
      build_model(model_config(name, argc > 6 ? std::atoi(argv[6]) : 0).dump(), "", 1);
  std::unique_ptr<TrainStep> step;
  KvCache cache;
  std::unique_ptr<CompiledFunction> decode;
  const CompiledFunction* function = nullptr;
  if (what == "train") {
    step = std::make_unique<TrainStep>(
        *model,
        StepSettings{.batch = batch, .seq = seq, .dtype = DType::bf16, .optim = {.clip_grad_norm = std::getenv("CORTEN_CLIP") ? 1.0 : 0.0}});
    step->plan();
    function = &step->compiled();
  } else if (what == "decode") {
    model->to(DType::bf16);
    model->eval();
    cache = model->make_cache(batch, seq);
    const NoGradGuard no_grad;
    decode = std::make_unique<CompiledFunction>(compile([&](const std::vector<Tensor>& in) {
      return std::vector<Tensor>{model->decode(in[0], in[1], cache).to(DType::f32)};
    }));
    decode->plan({zeros({batch, 1}, DType::i64), zeros({}, DType::i64)});
    function = decode.get();
  } else {
    usage_error("\"{}\": train or decode", what);
  }
  const ir::Graph graph = passes::run_pipeline(*runtime::inspect(*function).recorded, {}, nullptr,
                                               passes::Families::gpu);
  const kernel::Partition partition = kernel::partition(graph, true);
  const cuda::StepKernels kernels = cuda::step_kernels(partition, true);
  const std::vector<cuda::StepCost> costs = cuda::step_costs(partition, kernels);
  if (std::getenv("CORTEN_STEPS"))
    for (const cuda::StepCost& c : costs)
      std::printf("%-22s %3lld launches %9.3f MB %9.3f GFLOP %8.1f us  %s\n", c.family.c_str(),
                  static_cast<long long>(c.launches), static_cast<double>(c.bytes) * 1e-6, c.flops * 1e-9,
                  1e6 * cuda::floor_seconds(c, ceilings), c.what.c_str());
  std::printf("%s, %s, batch %d, seq %d, bf16; %s: %.0f GB/s, %.0f TFLOP/s\n\n", name.c_str(), what.c_str(),
              batch, seq, device.c_str(), ceilings.bandwidth * 1e-9, ceilings.half * 1e-12);
  std::printf("| family | steps | launches | MB | GFLOP | floor ms |\n|---|---|---|---|---|---|\n");
  cuda::FamilyCost all;
  for (const cuda::FamilyCost& f : cuda::family_costs(costs, ceilings)) {
    std::printf("| %s | %lld | %lld | %.1f | %.1f | %.3f |\n", f.family.c_str(),
                static_cast<long long>(f.steps), static_cast<long long>(f.launches),
                static_cast<double>(f.bytes) * 1e-6, f.flops * 1e-9, 1e3 * f.floor_seconds);
    all.steps += f.steps;
    all.launches += f.launches;
    all.bytes += f.bytes;
    all.flops += f.flops;
    all.floor_seconds += f.floor_seconds;
  }
  std::printf("| all | %lld | %lld | %.1f | %.1f | %.3f |\n\n", static_cast<long long>(all.steps),
              static_cast<long long>(all.launches), static_cast<double>(all.bytes) * 1e-6, all.flops * 1e-9,
              1e3 * all.floor_seconds);
  const double tokens = what == "train" ? static_cast<double>(batch) * seq : batch;
  const double useful = what == "train" ? 3 * model->forward_flops(batch, seq) : 0;
  std::printf("at most %.0f tokens/s", tokens / all.floor_seconds);
  if (useful > 0)
    std::printf(", an mfu of %.2f (%.1f GFLOP counted)", useful / all.floor_seconds / ceilings.half, useful * 1e-9);
  std::printf("\n");
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
