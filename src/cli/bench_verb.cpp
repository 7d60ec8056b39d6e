// corten bench train|generate|op
#include "train/bench.h"

#include "base/format.h"
#include "base/strings.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "diagnose/machine.h"
#include "train/result_json.h"

namespace corten::cli {
namespace {

template <typename Options>
void take_common(const CommonFlags& common, Options& options) {
  if (common.dtype && *common.dtype != "int8" && *common.dtype != "int4") options.dtype = dtype_from_name(*common.dtype);
  if (common.device) options.device = *common.device;
  if (common.threads) options.threads = *common.threads;
  if (common.seed) options.seed = *common.seed;
}

int run_bench_train(const Args& args) {
  CommonFlags common;
  BenchTrainOptions options;
  bool no_compile = false;
  std::string budget;
  ArgParser parser("bench train", "Measures training steps on synthetic tokens.");
  parser.option("--model", options.model, "a preset, or a folder with a config.json");
  parser.option("--layers", options.layers, "this many blocks instead", {1, 1e4});
  parser.option("--batch", options.batch, "sequences per step", {1, 1e6});
  parser.option("--seq", options.seq, "tokens per sequence", {1, 1e7});
  parser.option("--steps", options.steps, "steps to measure", {1, 1e7});
  parser.option("--virtual-shards", options.virtual_shards, "micro-batches per step", {1, 1e6});
  parser.option("--memory-budget", budget, "bytes the step may use (\"2GiB\"); as train.memory_budget");
  parser.flag("--float8", options.float8, "linear layers multiply 8-bit floats; as train.float8");
  parser.flag("--no-compile", no_compile, "run op by op");
  common.add_to(parser);
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  take_common(common, options);
  options.compile = !no_compile;
  if (!budget.empty()) options.memory_budget = static_cast<int64_t>(parse_bytes(budget, "--memory-budget"));
  if (options.batch % options.virtual_shards != 0)
    usage_error("corten bench train: --batch {} is no multiple of --virtual-shards {}",
                options.batch, options.virtual_shards);
  Progress progress;
  const BenchTrainResult r = bench_train(options, [&](int64_t step, double ms) {
    progress.task(format("step {}/{}", step, options.steps), step, options.steps,
                  format("{:.1f} ms", ms));
  });
  progress.finish();
  if (r.device == "cpu") raise_peak(r.dtype, r.peak_flops);
  if (common.json) {
    print_json(to_json(r));
    return kOk;
  }
  print_text(format("model        {} ({:.1f} M parameters), {} x {} tokens, {}{}, {} threads, {}\n",
                    r.model, r.params / 1e6, r.batch, r.seq, name(r.dtype),
                    r.compiled ? ", compiled" : ", op by op", r.threads, r.device));
  print_text(format("step         {:.1f} ms median ({:.1f} to {:.1f}, {} steps)\n",
                    r.step_ms_median, r.step_ms_min, r.step_ms_max, r.steps));
  print_text(format("speed        {:.0f} tokens/s, {:.1f} GFLOP/s\n", r.tokens_per_s,
                    r.step_ms_median > 0 ? r.flops_per_step / r.step_ms_median / 1e6 : 0.0));
  print_text(format("of the peak  {:.1f}% of {:.0f} GFLOP/s measured{}\n", 100 * r.mfu_measured,
                    r.peak_flops / 1e9,
                    r.mfu ? format(", {:.1f}% of the theoretical one", 100 * *r.mfu) : ""));
  print_text(format("memory       {} peak, {} planned, {} resident (process start: {})\n",
                    format_bytes(r.peak_bytes), format_bytes(r.planned_peak_bytes),
                    format_bytes(r.rss_peak_bytes), format_bytes(r.rss_start_bytes)));
  if (const auto& d = r.on_device) {
    print_text(format("on device    {:.2f} ms, {} kernels in {} launches, {} products, busy {:.1f}%{}\n",
                      d->step_ms, d->launches, d->groups, d->products,
                      d->wall_ms > 0 ? 100 * d->busy_ms / d->wall_ms : 0.0,
                      d->note.empty() ? "" : " (" + d->note + ")"));
    for (const DeviceStepTimes::Family& f : d->families)
      print_text(format("  {:<22} {:9.3f} ms, at least {:9.3f} ms, {} launches\n", f.name, f.ms,
                        f.floor_ms, f.steps));
  }
  print_text(format("start        {:.0f} ms to compile, {:.0f} ms to the end of the first step\n",
                    r.compile_ms, r.first_step_ms));
  print_text(
      format("loss         {} to {}, digest {}\n", r.loss_first, r.loss_last, r.digest));
  return kOk;
}

int run_bench_generate(const Args& args) {
  CommonFlags common;
  BenchGenerateOptions options;
  std::optional<std::string> group;
  ArgParser parser("bench generate", "Measures prefill and decoding on synthetic tokens.");
  parser.option("--model", options.model, "a folder, or a preset or a config.json alone with random weights");
  parser.option("--prompt-tokens", options.prompt_tokens, "tokens of each prompt", {1, 1e7});
  parser.option("--new-tokens", options.new_tokens, "tokens to generate", {1, 1e7});
  parser.option("--batch", options.batch, "prompts at a time", {1, 1e6});
  parser.choice("--group-size", group, "weights that share a scale, of int4 (32)", {"32", "64", "128"});
  common.add_to(parser, true);
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  take_common(common, options);
  if (common.dtype == "int8") options.quantization = load_in_8bit();
  if (common.dtype == "int4") options.quantization = load_in_4bit(group ? std::stoll(*group) : 0);
  if (group && common.dtype != "int4") usage_error("corten bench generate: --group-size is for --dtype int4");
  const BenchGenerateResult r = bench_generate(options);
  if (common.json) {
    print_json(to_json(r));
    return kOk;
  }
  print_text(format("prefill      {:.0f} tokens/s\ndecode       {:.1f} tokens/s, {:.0f}% of the "
                    "memory bandwidth\n",
                    r.prefill_tokens_per_s, r.decode_tokens_per_s, 100 * r.bandwidth_fraction));
  print_text(format("memory       {} of weights, {} peak\n", format_bytes(r.weight_bytes),
                    format_bytes(r.peak_bytes)));
  print_text(format("start        {:.0f} ms to load, {:.0f} ms to the first token\n", r.load_ms,
                    r.first_token_ms));
  return kOk;
}

int run_bench_op(const Args& args) {
  CommonFlags common;
  BenchOpOptions options;
  std::vector<std::string> shapes;
  ArgParser parser("bench op", "Measures one op on random operands.");
  parser.option("--op", options.op, "name of the op: softmax, matmul, ...");
  parser.option("--shape", shapes, "shape of each operand: 1024x768 or 4x8,8x16; may be repeated");
  common.add_to(parser);
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  if (options.op.empty()) usage_error("corten bench op: --op is missing");
  if (shapes.empty()) usage_error("corten bench op: --shape is missing");
  for (const std::string& text : shapes)
    for (std::string& shape : split(text, ',')) options.shapes.push_back(std::move(shape));
  take_common(common, options);
  const BenchOpResult r = bench_op(options);
  if (common.json)
    print_json(to_json(r));
  else
    print_text(format("{} {} {}: {:.4f} ms median, {:.2f} GB/s ({:.0f} % of a copy), {:.2f} GFLOP/s, floor {:.4f} ms\n",
                      options.op, fmt::join(options.shapes, ","), name(options.dtype), r.ms_median,
                      r.gbytes_per_s, 100 * r.bandwidth_fraction, r.gflops_per_s, r.floor_ms));
  return kOk;
}

}  // namespace

int run_bench(const Args& args) {
  static const std::vector<Verb> kSubVerbs = {
      {"train", "training steps on synthetic tokens", run_bench_train},
      {"generate", "prefill and decoding", run_bench_generate},
      {"op", "one op on random operands", run_bench_op},
  };
  return run_sub_verb("bench", "Measurements.", kSubVerbs, args);
}

}  // namespace corten::cli
