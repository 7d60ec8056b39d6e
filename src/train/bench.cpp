#include "train/bench.h"

#include <algorithm>
#include <chrono>

#include "base/cpu.h"
#include "base/file.h"
#include "base/format.h"
#include "base/json_file.h"
#include "base/process.h"
#include "base/thread_pool.h"
#include "corten/generate.h"
#include "corten/random.h"
#include "cuda/load.h"
#include "cuda/peak.h"
#include "gemm/peak.h"
#include "models/auto_model.h"
#include "models/presets.h"
#include "runtime/allocator.h"
#include "runtime/device_function.h"
#include "train/bandwidth.h"
#include "train/bench_device.h"
#include "train/device_peak.h"
#include "train/model_setup.h"
#include "train/quantize.h"
#include "train/result_json.h"
#include "train/run_folder.h"
#include "train/train_step.h"

namespace corten {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

void use_device(const std::string& device, int64_t threads) {
  if (device != "cpu") usage_error("measurements need device \"cpu\", not \"{}\"", device);
  default_thread_pool().set_num_threads(static_cast<int>(threads));
}

/// SplitMix64 (Steele et al., 2014): numbers without structure for synthetic data.
class SyntheticNumbers {
 public:
  explicit SyntheticNumbers(int64_t seed) : state_(static_cast<uint64_t>(seed)) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  int64_t below(int64_t limit) {
    return static_cast<int64_t>(next() % static_cast<uint64_t>(limit));
  }

 private:
  uint64_t state_;
};

/// The config.json of a preset or folder with `layers` blocks and without dropout.
std::string bench_config(const std::string& model, std::optional<int64_t> layers) {
  Json config;
  if (folder_exists(model)) {
    const std::string path = join_path(find_model_folder(model), "config.json");
    config = read_json_file(path);
  } else {
    config = preset_config(model);
  }
  const std::vector<std::string> fields =
      config_field_names(model_info(config, model).model_type);
  const auto set = [&](const char* name, const Json& value) {
    if (std::ranges::find(fields, name) != fields.end()) config.set(name, value);
  };
  if (layers) {
    set("n_layer", *layers);
    set("num_hidden_layers", *layers);
    if (Json* types = config.find("layer_types"); types && types->is_array())
      if (std::vector<Json>& list = types->mutable_elements();
          list.size() > static_cast<size_t>(*layers))
        list.resize(static_cast<size_t>(*layers));
  }
  for (const char* name : {"resid_pdrop", "embd_pdrop", "attn_pdrop", "attention_dropout"})
    set(name, 0.0);
  return config.dump();
}

/// Whether a folder has more than a config.json: without weights they are random, as a preset's.
bool has_weights(const std::string& model) {
  const std::string folder = find_model_folder(model);
  return file_exists(join_path(folder, "model.safetensors")) ||
         file_exists(join_path(folder, "model.safetensors.index.json"));
}

/// Bytes of the weights that a token has to read: all but tables of which it looks up a row, unless they are the head too.
uint64_t read_bytes(CausalLM& model) {
  uint64_t bytes = model_bytes(model);
  bool tied = true;
  for (const auto& [path, module] : model.named_modules()) tied = tied && path != "lm_head";
  for (const auto& [path, module] : model.named_modules())
    if (const auto* table = dynamic_cast<nn::Embedding*>(module); table && (!tied || table->weight_shape()[0] != model.vocab_size()))
      for (const StateDict& part : {table->named_parameters(), table->named_buffers()})
        for (const auto& [name, tensor] : part) bytes -= static_cast<uint64_t>(tensor.numel()) * size_of(tensor.dtype());
  return bytes;
}

}  // namespace

BenchTrainResult bench_train(const BenchTrainOptions& options,
                             const std::function<void(int64_t step, double ms)>& on_step) {
  std::unique_ptr<cuda::Device> device;
  if (options.device == "cuda") {
    if (!options.compile) usage_error("a CUDA device executes compiled steps only: leave out --no-compile");
    device = cuda::open_device(0);
    default_thread_pool().set_num_threads(static_cast<int>(options.threads));
  } else {
    use_device(options.device, options.threads);
  }
  BenchTrainResult r;
  r.rss_start_bytes = resident_bytes();
  runtime::reset_peak_memory_stats();
  const std::string config = bench_config(options.model, options.layers);
  const auto parameters = static_cast<uint64_t>(count_parameters(config));
  require_memory(12 * parameters, "the training state", "choose fewer --layers");
  const std::unique_ptr<CausalLM> model = build_model(config, "", options.seed);
  if (options.seq > model->max_positions())
    usage_error("--seq {} exceeds the {} positions of {}", options.seq, model->max_positions(),
                options.model);
  manual_seed(options.seed);
  StepSettings settings{.batch = options.batch,
                        .seq = options.seq,
                        .virtual_shards = options.virtual_shards,
                        .dtype = options.dtype,
                        .float8 = options.float8,
                        .compile = options.compile,
                        .memory_budget = options.memory_budget};
  settings.optim.clip_grad_norm = 0;
  constexpr double kLr = 1e-4;
  TrainStep step(*model, settings);
  if (device) step.use_device(std::make_unique<runtime::DeviceState>(*device));
  if (options.compile) {
    const ProgramInfo& info = step.plan();
    if (!device) require_memory(static_cast<uint64_t>(info.arena_bytes + info.output_bytes), "the training step",
                   "lower --batch or --seq, or raise --virtual-shards");
  }

  r.model = options.model;
  r.params = model->num_parameters();
  r.device = device ? device->info().name : "cpu";
  r.threads = default_thread_pool().num_threads();
  r.dtype = options.dtype;
  r.compiled = options.compile;
  r.batch = options.batch;
  r.seq = options.seq;
  r.steps = options.steps;

  SyntheticNumbers numbers(options.seed);
  std::vector<float> losses;
  std::vector<double> times;
  // The first two steps are traced; none of their time belongs to a step.
  constexpr int64_t kWarmUp = 2;
  for (int64_t i = 0; i < kWarmUp + options.steps; ++i) {
    for (int64_t& id : step.ids()) id = numbers.below(model->vocab_size());
    for (int64_t& id : step.targets()) id = numbers.below(model->vocab_size());
    const Clock::time_point start = Clock::now();
    losses.push_back(step.run(kLr).loss);
    const double ms = ms_since(start);
    if (i == 0) r.first_step_ms = process_age_seconds() * 1e3;
    if (i < kWarmUp) continue;
    times.push_back(ms);
    if (on_step) on_step(i - kWarmUp + 1, ms);
  }

  r.step_ms_median = median(times);
  r.step_ms_min = *std::min_element(times.begin(), times.end());
  r.step_ms_max = *std::max_element(times.begin(), times.end());
  const double seconds = r.step_ms_median * 1e-3;
  r.tokens_per_s = static_cast<double>(options.batch * options.seq) / seconds;
  r.flops_per_step = 3 * model->forward_flops(options.batch, options.seq);
  r.planned_peak_bytes = step.planned_bytes();
  r.peak_bytes = options.compile
                     ? step.touched_bytes()
                     : static_cast<uint64_t>(runtime::memory_stats().peak_allocated_bytes);
  r.rss_peak_bytes = peak_resident_bytes();
  r.compile_ms = step.compile_ms();
  r.loss_first = losses.front();
  r.loss_last = losses.back();
  r.digest = losses_digest(losses);
  r.peak_flops = device ? cuda::measure_peak_flops(*device, options.dtype, 1.0)
                        : measure_peak_flops(options.dtype, static_cast<int>(r.threads), 1.0);
  r.mfu_measured = r.flops_per_step / seconds / r.peak_flops;
  if (auto peak = theoretical_peak_flops(device ? device->info().name : cpu_info().model, options.dtype,
                                         static_cast<int>(r.threads)))
    r.mfu = r.flops_per_step / seconds / *peak;
  if (device) {
    cuda::Ceilings ceilings{.half = r.peak_flops, .single = r.peak_flops};
    if (options.dtype != DType::f32)
      ceilings.single = cuda::measure_peak_flops(*device, DType::f32, 0.3);
    r.on_device = device_step_times(*step.on_device(), *device, ceilings);
  }
  return r;
}

BenchGenerateResult bench_generate(const BenchGenerateOptions& options) {
  std::unique_ptr<cuda::Device> device;
  std::unique_ptr<runtime::DeviceState> state;
  if (options.cuda_device) {
    state = options.cuda_device();
  } else if (options.device == "cuda") {
    device = cuda::open_device(0);
    state = std::make_unique<runtime::DeviceState>(*device);
  }
  if (state)
    default_thread_pool().set_num_threads(static_cast<int>(options.threads));
  else
    use_device(options.device, options.threads);
  const Clock::time_point load_start = Clock::now();
  std::unique_ptr<CausalLM> model;
  if (folder_exists(options.model) && has_weights(options.model)) {
    LoadOptions load{.dtype = options.dtype};
    if (const auto& how = options.quantization) {
      load.load_in_8bit = how->bits == 8;
      load.load_in_4bit = how->bits == 4;
      load.group_size = how->group_size;
      load.llm_int8_threshold = how->outlier_threshold;
    }
    model = load_model(find_model_folder(options.model), load);
  } else {
    model = build_model(bench_config(options.model, {}), "", options.seed);
    if (options.dtype || options.quantization) model->to(options.dtype.value_or(DType::bf16));
    if (options.quantization) quantize_model(*model, *options.quantization);
  }
  BenchGenerateResult r;
  r.load_ms = ms_since(load_start);
  r.weight_bytes = model_bytes(*model);
  r.read_bytes = read_bytes(*model);
  const int64_t length = options.prompt_tokens + options.new_tokens;
  if (length > model->max_positions())
    usage_error("--prompt-tokens {} and --new-tokens {} exceed the {} positions of {}",
                options.prompt_tokens, options.new_tokens, model->max_positions(), options.model);

  SyntheticNumbers numbers(options.seed);
  const auto random_ids = [&](int64_t count) {
    std::vector<int64_t> ids(static_cast<size_t>(count));
    for (int64_t& id : ids) id = numbers.below(model->vocab_size());
    return ids;
  };
  DecodeSession session(*model, options.batch, length, true, false, state.get());
  const std::vector<int64_t> prompt = random_ids(options.batch * options.prompt_tokens);
  session.prefill(prompt);
  r.first_token_ms = process_age_seconds() * 1e3;
  // Programs are traced at their first two calls.
  for (int64_t i = 0; i < std::min<int64_t>(2, options.new_tokens); ++i)
    session.decode(random_ids(options.batch));
  session.prefill(prompt);
  std::vector<double> prefill_ms, decode_ms, bandwidths;
  std::optional<ReadBandwidth> bandwidth;
  if (state)
    bandwidths.push_back(cuda::measure_copy_bandwidth(state->device(), 9));
  else
    bandwidth.emplace(default_thread_pool()).measure();
  for (int i = 0; i < 3; ++i) {
    const Clock::time_point start = Clock::now();
    session.prefill(prompt);
    prefill_ms.push_back(ms_since(start));
  }
  for (int64_t i = 0; i < options.new_tokens; ++i) {
    const std::vector<int64_t> ids = random_ids(options.batch);
    const Clock::time_point start = Clock::now();
    session.decode(ids);
    decode_ms.push_back(ms_since(start));
    // In between, because other programs may slow both down, and their ratio stays.
    constexpr int64_t kEvery = 4;
    if (bandwidth && i % kEvery == 0) bandwidths.push_back(bandwidth->measure());
  }
  const auto batch = static_cast<double>(options.batch);
  const double decode_seconds = median(decode_ms) * 1e-3;
  r.prefill_tokens_per_s =
      batch * static_cast<double>(options.prompt_tokens) / (median(prefill_ms) * 1e-3);
  r.decode_tokens_per_s = batch / decode_seconds;
  r.peak_bytes = r.weight_bytes + static_cast<uint64_t>(session.cache_bytes()) +
                 static_cast<uint64_t>(session.arena_bytes());
  r.read_bandwidth = median(bandwidths);
  r.bandwidth_fraction = static_cast<double>(r.read_bytes) / decode_seconds / r.read_bandwidth;
  return r;
}

}  // namespace corten
