// What is known of a program for a device, in the terms of those of the CPU.
#pragma once

#include "corten/compile.h"
#include "cuda/device_plan.h"
#include "runtime/inspect.h"
#include "runtime/program_report.h"

namespace corten::runtime {

/// The plan of a compiled function for a device that need not be here: its memory budget holds there,
/// with as much workspace as products may take. `has_float8`: it multiplies 8-bit floats.
std::unique_ptr<cuda::DevicePlan> plan_without_device(const Inspection& function, bool has_float8);
/// `host`: of the same function on the CPU; its state, arguments and results stay.
ProgramInfo device_info(const ProgramInfo& host, const cuda::DevicePlan& plan);
/// Steps are launches: those that were joined are one.
ProgramReport device_report(const cuda::DevicePlan& plan);
StepReport device_step_report(const cuda::DevicePlan& plan, const cuda::GpuStep& step);

}  // namespace corten::runtime
