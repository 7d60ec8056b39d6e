#include "diagnose/step_plan.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/format.h"
#include "runtime/device_report.h"
#include "runtime/inspect.h"
#include "runtime/null_device.h"
#include "train/run_data.h"

namespace corten {

int64_t OwnedBytes::total() const { return std::accumulate(owner.begin(), owner.end(), fragmentation); }

double StepPlan::fragmentation() const {
  return info.arena_lower_bound > 0 ? static_cast<double>(info.arena_bytes) / static_cast<double>(info.arena_lower_bound) - 1 : 0;
}

std::vector<double> StepPlan::predicted_step_seconds(const Machine& machine) const {
  std::vector<double> out;
  for (const runtime::StepReport& step : report.steps) {
    const double peak = step.name == "scaled_matmul" ? machine.float8_flops : machine.peak_flops;
    const double compute = peak > 0 ? step.flops / peak : 0;
    out.push_back(std::max(compute, static_cast<double>(step.bytes) / machine.bandwidth));
  }
  return out;
}
double StepPlan::predicted_seconds(const Machine& machine) const {
  const std::vector<double> steps = predicted_step_seconds(machine);
  return std::accumulate(steps.begin(), steps.end(), 0.0);
}

namespace {

/// Calls `f` with the bytes of the arena that are alive at each step, by owner.
void over_time(const runtime::ProgramReport& report, const std::function<void(int32_t, const OwnedBytes&)>& f) {
  std::vector<OwnedBytes> change(report.steps.size() + 2);
  for (const runtime::BufferReport& b : report.buffers) {
    change[static_cast<size_t>(b.first)][b.owner] += b.bytes;
    change[static_cast<size_t>(b.last) + 1][b.owner] -= b.bytes;
  }
  OwnedBytes live;
  for (size_t s = 0; s + 1 < change.size(); ++s) {
    for (int i = 0; i < runtime::kOwners; ++i) live.owner[i] += change[s].owner[i];
    f(static_cast<int32_t>(s), live);
  }
}

}  // namespace

int64_t StepPlan::peak_with(const std::array<double, runtime::kOwners>& parts) const {
  auto weighted = [&](const OwnedBytes& bytes) {
    double sum = 0;
    for (int i = 0; i < runtime::kOwners; ++i) sum += parts[static_cast<size_t>(i)] * static_cast<double>(bytes.owner[i]);
    return sum;
  };
  OwnedBytes fixed;
  for (const StateReport& s : state) fixed[s.owner] += s.bytes;
  fixed[Owner::argument] = info.argument_bytes;
  fixed[Owner::output] = info.output_bytes;
  fixed[Owner::workspace] = workspace_bytes;
  double arena = 0;
  over_time(report, [&](int32_t, const OwnedBytes& live) { arena = std::max(arena, weighted(live)); });
  return static_cast<int64_t>(weighted(fixed) + arena);
}

StepPlan plan_of(const TrainedModel& trained, const TrainStep& step, const StepSettings& settings) {
  const runtime::Inspection found = runtime::inspect(step.compiled());
  StepPlan plan;
  const nn::Module& model = trained.module();
  plan.parameters = model.num_parameters();
  plan.model_flops = 3 * trained.forward_flops(settings.batch, settings);
  plan.info = step.info();
  plan.report = step.device_plan() ? runtime::device_report(*step.device_plan()) : found.program->report();
  plan.workspace_bytes = step.device_workspace_bytes();
  plan.peak_bytes = static_cast<int64_t>(step.planned_bytes());

  std::map<const Cell*, std::pair<std::string, Owner>> known;
  for (const auto& [name, tensor] : step.state())
    known[tensor.impl()->cell.get()] = {name, name.starts_with("optimizer.") ? Owner::optimizer : Owner::other_state};
  for (const auto& [name, tensor] : model.named_parameters()) known[tensor.impl()->cell.get()] = {name, Owner::parameter};
  for (const auto& [name, tensor] : step.trained()) {
    known[tensor.impl()->cell.get()] = {name, Owner::parameter};
    plan.trained_parameters += tensor.numel();
  }
  for (const auto& [name, tensor] : model.named_buffers()) known[tensor.impl()->cell.get()] = {name, Owner::other_state};
  for (const CellPtr& cell : found.states) {
    auto entry = known.find(cell.get());
    StateReport state{entry == known.end() ? "state" : entry->second.first, entry == known.end() ? Owner::other_state : entry->second.second,
                      cell->value.type().bytes()};
    plan.owners[state.owner] += state.bytes;
    plan.state.push_back(std::move(state));
  }
  plan.owners[Owner::argument] = plan.info.argument_bytes;
  plan.owners[Owner::output] = plan.info.output_bytes;
  plan.owners[Owner::workspace] = plan.workspace_bytes;

  // The step at which most bytes of the arena are alive.
  plan.most = plan.owners;
  int64_t most = 0;
  OwnedBytes at_peak;
  over_time(plan.report, [&](int32_t step, const OwnedBytes& live) {
    for (int i = 0; i < runtime::kOwners; ++i) plan.most.owner[i] = std::max(plan.most.owner[i], live.owner[i]);
    if (live.total() <= most) return;
    most = live.total();
    at_peak = live;
    plan.peak_step = step;
  });
  for (int i = 0; i < runtime::kOwners; ++i) plan.owners.owner[i] += at_peak.owner[i];
  plan.owners.fragmentation = plan.info.arena_bytes - most;
  return plan;
}

StepPlan plan_step(const std::string& model_config, const StepSettings& settings, Task task) {
  const runtime::NullDeviceScope no_values;
  const TrainedModel model(task, model_config);
  StepSettings compiled = settings;
  compiled.compile = true;
  TrainStep step(model.objective(), compiled);
  step.plan();
  return plan_of(model, step, compiled);
}

std::string planned_model_config(const Config& config, Task task, const std::function<void(const std::string&)>& message) {
  const bool vocabulary_is_known = config.model.fields.contains("vocab_size") || !config.model.path.empty();
  const TokenizerInfo tokenizer = vocabulary_is_known ? TokenizerInfo() : make_tokenizer(config, "", {.message = message});
  return initial_model_config(config, task, tokenizer, read_class_names(config, task));
}

}  // namespace corten
