#include "diagnose/explain.h"

#include <algorithm>
#include <map>

#include "base/format.h"
#include "base/thread_pool.h"
#include "diagnose/step_plan.h"
#include "runtime/device_report.h"
#include "runtime/inspect.h"
#include "runtime/null_device.h"

namespace corten {

ProgramExplanation explain(std::string name, const CompiledFunction& function, const cuda::DevicePlan* device) {
  const runtime::Inspection found = runtime::inspect(function);
  ProgramExplanation out;
  out.name = std::move(name);
  out.info = function.info();
  out.passes = found.program->passes();
  out.kernel_texts = found.program->kernel_texts();
  out.compilations = function.compilations();
  if (device) {
    out.info = runtime::device_info(out.info, *device);
    out.passes = device->passes;
    out.kernel_texts.clear();
    for (const codegen::gpu::KernelText& text : device->texts()) out.kernel_texts.push_back(text.text);
  }
  const runtime::ProgramReport report = device ? runtime::device_report(*device) : found.program->report();
  std::map<std::string, size_t> index;
  for (const runtime::StepReport& step : report.steps) {
    const std::string key = step.library ? step.name + " " + step.operands : step.name;
    auto [place, is_new] = index.try_emplace(key, out.groups.size());
    if (is_new) out.groups.push_back({.name = key, .product = step.library, .example = step.detail});
    StepGroup& group = out.groups[place->second];
    group.count += !step.joined;
    group.bytes += step.bytes;
    group.flops += step.flops;
  }
  std::stable_sort(out.groups.begin(), out.groups.end(), [](const StepGroup& a, const StepGroup& b) { return a.bytes > b.bytes; });
  return out;
}

std::vector<ProgramExplanation> explain_training(const Config& config, const std::function<void(const std::string&)>& message) {
  if (!config.train.compile) usage_error("a step that runs op by op is not compiled (train.compile = false)");
  default_thread_pool().set_num_threads(static_cast<int>(config.train.threads));
  const Task task = task_of(config);
  const std::string json = planned_model_config(config, task, message);
  const runtime::NullDeviceScope no_values;
  const TrainedModel model(task, json);
  TrainStep step(model.objective(), step_settings(config, task));
  step.plan();
  step.plan_evaluation();
  return {explain("training step", step.compiled(), step.device_plan()), explain("evaluation", step.compiled_evaluation(), step.device_evaluation())};
}

Json to_json(const ProgramExplanation& program) {
  Json passes = Json::array(), kernels = Json::array(), products = Json::array(), compilations = Json::array();
  for (const passes::PassRecord& pass : program.passes)
    passes.push_back(Json::object({{"name", pass.name},
                                   {"ms", pass.ms},
                                   {"nodes_before", pass.nodes_before},
                                   {"nodes_after", pass.nodes_after},
                                   {"skipped", pass.skipped}}));
  for (const StepGroup& group : program.groups) {
    Json entry = Json::object({{"name", group.name}, {"count", group.count}, {"bytes", group.bytes}});
    if (group.product) entry.set("flops", group.flops);
    entry.set("example", group.example);
    (group.product ? products : kernels).push_back(std::move(entry));
  }
  for (const CompileRecord& c : program.compilations)
    compilations.push_back(Json::object({{"reason", c.reason},
                                         {"trace_ms", c.trace_ms},
                                         {"passes_ms", c.passes_ms},
                                         {"compile_ms", c.compile_ms},
                                         {"kernels_compiled", c.kernels_compiled},
                                         {"kernels_from_disk", c.kernels_from_disk},
                                         {"kernels_from_memory", c.kernels_from_memory}}));
  const ProgramInfo& info = program.info;
  return Json::object({{"name", program.name},
                       {"passes", passes},
                       {"kernels", info.kernels},
                       {"distinct_kernels", info.distinct_kernels},
                       {"kernel_groups", kernels},
                       {"matrix_products", info.gemms},
                       {"product_groups", products},
                       {"flops", info.flops},
                       {"bytes_moved", info.bytes_moved},
                       {"arena_bytes", info.arena_bytes},
                       {"compilations", compilations},
                       {"refused_donations", info.copies}});
}

}  // namespace corten
