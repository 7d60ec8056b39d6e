// The GPU kernels of a program: every kernel step of a partition lowered, scheduled and emitted.
// Launches of one kernel that have nothing to do with each other, nor with what lies between them,
// are joined into one: the optimizer's for all parameters, the gradients' norms.
#pragma once

#include <vector>

#include "codegen/gpu/emit.h"
#include "kernel/lower.h"

namespace corten::cuda {

/// A launch of a kernel.
struct GpuLaunch {
  int32_t kernel = 0;  ///< index into StepKernels::kernels
  ir::Launch launch;
  int64_t blocks = 0;
};

/// What is launched together, or a library step.
struct GpuStep {
  int32_t library = -1;  ///< the step of the partition; or
  int32_t text = -1;     ///< index into StepKernels::texts
  codegen::gpu::Schedule schedule;
  std::vector<GpuLaunch> launches;
};

struct StepKernels {
  std::vector<kernel::LoweredKernel>
      kernels;                    ///< in order of the partition; without their launches
  std::vector<int32_t> steps_of;  ///< by kernel: its step of the partition
  std::vector<GpuStep> steps;     ///< in order of execution
  std::vector<codegen::gpu::KernelText> texts;  ///< distinct ones
  size_t launches() const;
  size_t groups() const;  ///< steps that are no library's
};

/// Of the arguments of a launch, on every device and driver. Words that are more lie in a table in the
/// device's memory, as those of launches that were joined do.
inline constexpr int64_t kMaxParameterBytes = 4096;

/// `group`: launches may be joined. Operands are taken to lie at multiples of 16 bytes.
StepKernels step_kernels(const kernel::Partition& partition, bool group);

}  // namespace corten::cuda
