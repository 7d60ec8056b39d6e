#include "diagnose/step_plan.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/format.h"
#include "runtime/inspect.h"
#include "runtime/null_device.h"
#include "train/model_setup.h"
#include "train/run_data.h"

namespace corten {

int64_t OwnedBytes::total() const { return std::accumulate(owner.begin(), owner.end(), fragmentation); }

double StepPlan::fragmentation() const {
  return info.arena_lower_bound > 0 ? static_cast<double>(info.arena_bytes) / static_cast<double>(info.arena_lower_bound) - 1 : 0;
}

std::vector<double> StepPlan::predicted_step_seconds(const Machine& machine) const {
  std::vector<double> out;
  for (const runtime::StepReport& step : report.steps) {
    const double compute = machine.peak_flops > 0 ? step.flops / machine.peak_flops : 0;
    out.push_back(std::max(compute, static_cast<double>(step.bytes) / machine.bandwidth));
  }
  return out;
}
double StepPlan::predicted_seconds(const Machine& machine) const {
  const std::vector<double> steps = predicted_step_seconds(machine);
  return std::accumulate(steps.begin(), steps.end(), 0.0);
}

StepPlan plan_of(const CausalLM& model, const TrainStep& step, const StepSettings& settings) {
  const runtime::Inspection found = runtime::inspect(step.compiled());
  StepPlan plan;
  plan.parameters = model.num_parameters();
  plan.model_flops = 3 * model.forward_flops(settings.batch, settings.seq);
  plan.info = step.compiled().info();
  plan.report = found.program->report();
  plan.peak_bytes = static_cast<int64_t>(step.planned_bytes());

  std::map<const Cell*, std::pair<std::string, Owner>> known;
  for (const auto& [name, tensor] : step.state())
    known[tensor.impl()->cell.get()] = {name, name.starts_with("optimizer.") ? Owner::optimizer : Owner::other_state};
  for (const auto& [name, tensor] : model.named_parameters()) known[tensor.impl()->cell.get()] = {name, Owner::parameter};
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

  // The step at which most bytes of the arena are alive.
  std::vector<int64_t> change(plan.report.steps.size() + 2);
  for (const runtime::BufferReport& b : plan.report.buffers) {
    change[b.first] += b.bytes;
    change[b.last + 1] -= b.bytes;
  }
  int64_t live = 0, most = 0;
  for (size_t s = 0; s < change.size(); ++s)
    if ((live += change[s]) > most) most = live, plan.peak_step = static_cast<int32_t>(s);
  for (const runtime::BufferReport& b : plan.report.buffers)
    if (b.first <= plan.peak_step && plan.peak_step <= b.last) plan.owners[b.owner] += b.bytes;
  plan.owners.fragmentation = plan.info.arena_bytes - most;
  return plan;
}

StepPlan plan_step(const std::string& model_config, const StepSettings& settings) {
  const runtime::NullDeviceScope no_values;
  const std::unique_ptr<CausalLM> model = build_model(model_config, "", 0);
  StepSettings compiled = settings;
  compiled.compile = true;
  TrainStep step(*model, compiled);
  step.plan();
  return plan_of(*model, step, compiled);
}

StepSettings step_settings(const Config& config) {
  return {.batch = config.train.batch,
          .seq = config.data.seq,
          .virtual_shards = config.train.virtual_shards,
          .dtype = config.train.dtype,
          .compile = config.train.compile,
          .optim = config.optim};
}

std::string planned_model_config(const Config& config, const std::function<void(const std::string&)>& message) {
  if (config.model.fields.contains("vocab_size") || !config.model.path.empty()) return model_config_json(config, 0, -1);
  const TokenizerInfo tokenizer = make_tokenizer(config, "", {.message = message});
  return model_config_json(config, tokenizer.vocab_size, tokenizer.end_of_text);
}

}  // namespace corten
