// corten plan CONFIG.toml
#include "base/file.h"
#include "base/format.h"
#include "base/strings.h"
#include "base/thread_pool.h"
#include "cli/config_args.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "diagnose/training_plan.h"

namespace corten::cli {
namespace {

/// Both units, because cards and data sheets count in GB and everything else in GiB.
std::string both_units(double bytes) { return format("{:10.3f} GB {:10.3f} GiB", bytes / 1e9, bytes / 0x1p30); }

std::string label(std::string_view name) {
  std::string text(name);
  for (char& c : text)
    if (c == '_') c = ' ';
  return text;
}

std::string recipe_table(const std::vector<RecipeBytes>& recipes, int64_t ranks, double limit, const std::string& limit_name) {
  std::string text = format("{:<46} {:>4} {:>26}   {:>18}\n", "recipe", "B/p", "weights, gradients, state", format("each of {} ranks", ranks));
  for (const RecipeBytes& r : recipes) {
    text += format("{:<46} {:>4g} {:>26}   {:>15.3f} GB", r.recipe.name, r.recipe.total(), both_units(r.bytes), r.bytes_per_rank / 1e9);
    if (limit > 0) text += r.bytes_per_rank <= limit ? "  fits" : format("  does not fit {}", limit_name);
    text += "\n";
  }
  return text;
}

std::string ways_table(const TrainingPlan& plan) {
  std::string text = "ways to need less, best first\n";
  for (const WayToFit& way : plan.ways) {
    text += format("  {:<40} {} {:>10}  {}\n", way.name, both_units(static_cast<double>(way.peak_bytes)),
                   way.step_seconds ? format_duration(*way.step_seconds) : std::string("?"), way.fits ? "fits" : "does not fit");
    text += format("      {}: {}\n", way.available ? "--set " + way.set : std::string("not yet available, computed"), way.cost);
  }
  return text;
}

void print_plan(const TrainingPlan& plan) {
  const StepPlan& step = plan.step;
  print_text(format("model        {:.3f} M parameters; {} x {} tokens in {} virtual shards, {}\n", static_cast<double>(step.parameters) / 1e6,
                    plan.settings.batch, plan.settings.seq, plan.settings.virtual_shards, name(plan.settings.dtype)));
  print_text(format("peak            {}        {:>16} bytes\n", both_units(static_cast<double>(step.peak_bytes)), step.peak_bytes));
  auto owner = [&](std::string_view what, int64_t bytes, int64_t most) {
    if (most == 0) return;
    print_text(format("  {:<13} {} {:5.1f}% {:>16} bytes; at most {}\n", label(what), both_units(static_cast<double>(bytes)),
                      100 * static_cast<double>(bytes) / static_cast<double>(step.peak_bytes), bytes, format_bytes(static_cast<uint64_t>(most))));
  };
  for (int i = 0; i < runtime::kOwners; ++i)
    owner(runtime::to_string(static_cast<Owner>(i)), step.owners[static_cast<Owner>(i)], step.most[static_cast<Owner>(i)]);
  owner("fragmentation", step.owners.fragmentation, step.owners.fragmentation);
  print_text(format("arena        {} planned, lower bound {}, fragmentation {:.2f}%\n", format_bytes(static_cast<uint64_t>(step.info.arena_bytes)),
                    format_bytes(static_cast<uint64_t>(step.info.arena_lower_bound)), 100 * step.fragmentation()));
  if (step.peak_step < static_cast<int32_t>(step.report.steps.size()))
    print_text(format("peak at      {}\n", step.report.steps[static_cast<size_t>(step.peak_step)].detail));
  print_text(format("work         {:.3f} GFLOP, {} moved, {} kernels ({} distinct), {} matrix products\n", step.model_flops / 1e9,
                    format_bytes(static_cast<uint64_t>(step.info.bytes_moved)), step.info.kernels, step.info.distinct_kernels, step.info.gemms));
  if (step.info.recomputed > 0)
    print_text(format("recomputed   {} values are computed again instead of being kept, {:.3f} GFLOP\n", step.info.recomputed,
                      step.info.recomputed_flops / 1e9));
  print_text(format("step         {} predicted, {:.0f} tokens/s\n", format_duration(plan.predicted_seconds),
                    static_cast<double>(plan.settings.batch * plan.settings.seq) / plan.predicted_seconds));
  print_text(format("  by kernel the longer of FLOPs / {:.1f} GFLOP/s and bytes / {:.1f} GB/s: {}, {}\n", plan.machine.peak_flops / 1e9,
                    plan.machine.bandwidth / 1e9, plan.machine.name, plan.machine.how));
  if (plan.settings.float8 && plan.settings.cuda)
    print_text(plan.machine.float8_flops > 0
                   ? format("  products of 8-bit floats: FLOPs / {:.1f} GFLOP/s\n", plan.machine.float8_flops / 1e9)
                   : format("  {} multiplies no 8-bit floats: train.float8 costs time there\n", plan.machine.name));
  constexpr size_t kCopies = 3;
  for (size_t i = 0; i < std::min(step.info.copies.size(), kCopies); ++i) print_text(format("copy         {}\n", step.info.copies[i]));
  if (step.info.copies.size() > kCopies) print_text(format("copy         and {} more of the kind\n", step.info.copies.size() - kCopies));
  print_text(format("limit        {} ({}): {}\n", both_units(plan.limit_bytes), plan.limit, plan.fits ? "fits" : "does not fit"));
  if (!plan.ways.empty()) print_text(ways_table(plan));
  print_text(recipe_table(plan.recipes, plan.ranks, plan.limit_bytes, plan.limit));
}

}  // namespace

int run_plan(const Args& args) {
  ConfigArgs config;
  PlanOptions options;
  std::string snapshot;
  std::optional<std::string> parameters;
  ArgParser parser("plan", "Predicts memory, work and time of a training step before it runs.");
  config.add_to(parser, false);
  parser.option("--snapshot", snapshot, "write the step's memory over time, for PyTorch's memory viewer");
  parser.option("--machine", options.machine, "plan for this GPU of the data sheets (H100, A100, ...) instead of this machine");
  parser.flag("--measure", options.measure, "measure this machine's peak and bandwidth anew");
  parser.option("--ranks", options.ranks, "devices to divide the state among", {1, 1e6});
  parser.flag("--ways", options.always_ways, "list what would need less although the step fits");
  parser.option("--params", parameters, "only the bytes of this many parameters (13B, 124M) by recipe; no CONFIG.toml");
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  if (parameters) {
    if (!config.path.empty()) usage_error("corten plan: --params and CONFIG.toml do not go together");
    const int64_t count = parse_count(*parameters, "--params");
    if (count < 1 || count > int64_t{1'000'000'000'000'000}) usage_error("--params: {} is not between 1 and 1e15", count);
    const std::vector<RecipeBytes> recipes = recipe_bytes(count, options.ranks);
    std::optional<Machine> machine;
    if (!options.machine.empty()) machine = machine_by_name(options.machine, DType::bf16);
    if (config.common.json)
      print_json(Json::object({{"parameters", count}, {"ranks", options.ranks}, {"recipes", to_json(recipes)}}));
    else
      print_text(recipe_table(recipes, options.ranks, machine ? machine->memory_bytes : 0, machine ? "one " + machine->name : ""));
    return kOk;
  }
  if (config.path.empty()) usage_error("corten plan: CONFIG.toml is missing (see corten plan --help)");
  const ResolvedConfig resolved = load_config(config.inputs());
  if (const std::string folder = parent_path(snapshot); !snapshot.empty() && !folder.empty() && !folder_exists(folder))
    usage_error("corten plan: --snapshot {}: there is no folder {}", snapshot, folder);
  Progress progress;
  options.message = [&](const std::string& text) { progress.message(text); };
  const TrainingPlan plan = plan_training(resolved.config, options);
  progress.finish();
  if (!snapshot.empty()) write_file_atomic(snapshot, memory_timeline(plan.step, plan.step.predicted_step_seconds(plan.machine)).to_pickle());
  if (config.common.json) {
    Json json = to_json(plan);
    json.set("snapshot", snapshot.empty() ? Json() : Json(snapshot));
    print_json(json);
    return kOk;
  }
  print_plan(plan);
  if (!snapshot.empty()) print_note(format("wrote {}; open it at pytorch.org/memory_viz", snapshot));
  return kOk;
}

}  // namespace corten::cli
