#include "diagnose/training_plan.h"

#include "base/format.h"
#include "base/thread_pool.h"

namespace corten {

TrainingPlan plan_training(const Config& config, const PlanOptions& options) {
  if (!config.train.compile) usage_error("a step that runs op by op has no plan (train.compile = false)");
  default_thread_pool().set_num_threads(static_cast<int>(config.train.threads));
  const bool cuda = config.train.device == "cuda";
  auto machine_for = [&](DType dtype) {
    if (!options.machine.empty()) return machine_by_name(options.machine, dtype);
    return cuda ? cuda_machine(dtype) : this_machine(dtype, options.measure);
  };
  TrainingPlan plan;
  const Task task = task_of(config);
  plan.settings = step_settings(config, task);
  plan.device = config.train.device;
  plan.ranks = options.ranks;
  plan.machine = machine_for(config.train.dtype);  // an unknown name before any work
  const std::string model = planned_model_config(config, task, options.message);
  plan.settings.float8_cores = plan.machine.float8_flops > 0;
  plan.step = plan_step(model, plan.settings, task);
  plan.predicted_seconds = plan.step.predicted_seconds(plan.machine);
  plan.limit_bytes = plan.machine.memory_bytes;
  plan.limit = options.machine.empty() && !cuda ? "the available memory of this machine" : format("the memory of one {}", plan.machine.name);
  if (const auto budget = static_cast<double>(config.train.memory_budget_bytes()); budget > 0 && budget < plan.limit_bytes) {
    plan.limit_bytes = budget;
    plan.limit = "train.memory_budget";
  }
  plan.fits = static_cast<double>(plan.step.peak_bytes) <= plan.limit_bytes;
  if (!plan.fits || options.always_ways)
    plan.ways = ways_to_fit(plan.step, {.model_config = model,
                                        .task = task,
                                        .settings = plan.settings,
                                        .limit_bytes = plan.limit_bytes,
                                        .machine = plan.machine,
                                        .machine_for = machine_for,
                                        .ranks = options.ranks,
                                        .message = options.message});
  plan.recipes = recipe_bytes(plan.step.parameters, options.ranks);
  return plan;
}

Json to_json(const std::vector<RecipeBytes>& recipes) {
  Json out = Json::array();
  for (const RecipeBytes& r : recipes)
    out.push_back(Json::object({{"recipe", r.recipe.name},
                                {"bytes_per_parameter", r.recipe.total()},
                                {"weights", r.recipe.weights},
                                {"gradients", r.recipe.gradients},
                                {"master", r.recipe.master},
                                {"moments", r.recipe.moments},
                                {"bytes", r.bytes},
                                {"gb", r.bytes / 1e9},
                                {"gib", r.bytes / 0x1p30},
                                {"gb_per_rank", r.bytes_per_rank / 1e9}}));
  return out;
}

Json to_json(const TrainingPlan& plan) {
  const StepPlan& step = plan.step;
  Json owners = Json::object(), most = Json::object();
  for (int i = 0; i < runtime::kOwners; ++i) {
    most.set(runtime::to_string(static_cast<Owner>(i)), step.most[static_cast<Owner>(i)]);
    owners.set(runtime::to_string(static_cast<Owner>(i)), step.owners[static_cast<Owner>(i)]);
  }
  owners.set("fragmentation", step.owners.fragmentation);
  Json ways = Json::array();
  for (const WayToFit& way : plan.ways)
    ways.push_back(Json::object({{"name", way.name},
                                 {"set", way.set.empty() ? Json() : Json(way.set)},
                                 {"available", way.available},
                                 {"fits", way.fits},
                                 {"peak_bytes", way.peak_bytes},
                                 {"figure", way.available ? "planned" : "computed"},
                                 {"predicted_step_ms", way.step_seconds ? Json(*way.step_seconds * 1e3) : Json()},
                                 {"cost", way.cost}}));
  const bool has_steps = !step.report.steps.empty();
  return Json::object(
      {{"parameters", step.parameters},
       {"trained_parameters", step.trained_parameters},
       {"device", plan.device},
       {"threads", default_thread_pool().num_threads()},
       {"batch", plan.settings.batch},
       {"seq", plan.settings.seq},
       {"targets_per_sequence", plan.settings.targets_per_row()},
       {"virtual_shards", plan.settings.virtual_shards},
       {"dtype", name(plan.settings.dtype)},
       {"peak_bytes", step.peak_bytes},
       {"peak_gb", static_cast<double>(step.peak_bytes) / 1e9},
       {"peak_gib", static_cast<double>(step.peak_bytes) / 0x1p30},
       {"peak_at", has_steps && step.peak_step < static_cast<int32_t>(step.report.steps.size())
                       ? Json(step.report.steps[static_cast<size_t>(step.peak_step)].detail)
                       : Json()},
       {"owners", owners},
       {"owners_most", most},
       {"bytes_per_parameter",
        static_cast<double>(step.peak_bytes) / static_cast<double>(step.parameters)},
       {"arena", Json::object({{"bytes", step.info.arena_bytes},
                               {"lower_bound", step.info.arena_lower_bound},
                               {"fragmentation", step.fragmentation()}})},
       {"flops_per_step", step.model_flops},
       {"executed_flops_per_step", step.info.flops},
       {"recomputed_values", step.info.recomputed},
       {"recomputed_flops_per_step", step.info.recomputed_flops},
       {"bytes_moved_per_step", step.info.bytes_moved},
       {"kernels", step.info.kernels},
       {"distinct_kernels", step.info.distinct_kernels},
       {"matrix_products", step.info.gemms},
       {"predicted_step_ms", plan.predicted_seconds * 1e3},
       {"machine", Json::object({{"name", plan.machine.name},
                                 {"peak_flops", plan.machine.peak_flops},
                                 {"float8_flops", plan.machine.float8_flops},
                                 {"bandwidth", plan.machine.bandwidth},
                                 {"memory_bytes", plan.machine.memory_bytes},
                                 {"source", plan.machine.how}})},
       {"communication_bytes_per_step", 0},
       {"trace_ms", step.info.trace_ms},
       {"passes_ms", step.info.passes_ms},
       {"compile_ms", step.info.compile_ms},
       {"copies", step.info.copies},
       {"limit_bytes", plan.limit_bytes},
       {"limit", plan.limit},
       {"fits", plan.fits},
       {"ways_to_fit", ways},
       {"ranks", plan.ranks},
       {"recipes", to_json(plan.recipes)}});
}

}  // namespace corten
