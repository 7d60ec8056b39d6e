#include "runtime/device_report.h"

#include <algorithm>

#include "base/format.h"

namespace corten::runtime {

std::unique_ptr<cuda::DevicePlan> plan_without_device(const Inspection& function, bool has_float8) {
  if (function.memory_budget <= 0) return cuda::plan_for_device(*function.recorded, has_float8);
  const int64_t besides = cuda::bytes_besides_arena(*function.recorded, cuda::kMaxWorkspace);
  return cuda::plan_for_device(*function.recorded, has_float8,
                               std::max<int64_t>(0, function.memory_budget - besides));
}

ProgramInfo device_info(const ProgramInfo& host, const cuda::DevicePlan& plan) {
  const cuda::DeviceProgramInfo& of = plan.info();
  ProgramInfo out = host;
  out.kernels = static_cast<int64_t>(of.groups);
  out.gemms = static_cast<int64_t>(of.products);
  out.distinct_kernels = static_cast<int64_t>(of.texts);
  out.arena_bytes = of.arena_bytes;
  out.arena_lower_bound = of.arena_lower_bound;
  out.bytes_moved = of.bytes_moved;
  out.flops = of.flops;
  out.recomputed = of.recomputed;
  out.recomputed_flops = of.recomputed_flops;
  out.copies = of.copies;
  return out;
}

StepReport device_step_report(const cuda::DevicePlan& plan, const cuda::GpuStep& step) {
  // The nodes of the first of the launches that were joined name the step.
  std::vector<int32_t> nodes;
  if (step.library >= 0) {
    nodes = plan.members(step);
  } else {
    const int32_t of =
        plan.kernels().steps_of[static_cast<size_t>(step.launches[0].kernel)];
    nodes = plan.partition().steps[static_cast<size_t>(of)].members;
  }
  StepReport out = describe_step(plan.graph, nodes, step.library >= 0);
  if (step.launches.size() > 1) out.detail += format(" and {} more", step.launches.size() - 1);
  out.bytes = plan.bytes_moved(step);
  out.flops = plan.flops(step);
  return out;
}

ProgramReport device_report(const cuda::DevicePlan& plan) {
  ProgramReport out;
  for (const cuda::GpuStep& step : plan.kernels().steps)
    out.steps.push_back(device_step_report(plan, step));
  out.buffers = describe_buffers(plan.graph, plan.intervals, plan.plan.offsets, plan.contents(),
                                 out.steps);
  return out;
}

}  // namespace corten::runtime
