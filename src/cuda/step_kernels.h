// The GPU kernels of a program: every kernel step of a partition lowered, scheduled and emitted, and neighbours that have
// nothing to do with each other (the optimizer's, one for each parameter) joined into one launch.
#pragma once

#include <vector>

#include "codegen/gpu/emit.h"
#include "kernel/lower.h"

namespace corten::cuda {

/// A launch of a kernel.
struct GpuLaunch {
  int32_t kernel = 0;  ///< index into StepKernels::kernels
  int32_t text = 0;    ///< index into StepKernels::texts
  ir::Launch launch;
  codegen::gpu::Schedule schedule;
  int64_t blocks = 0;
};

struct StepKernels {
  std::vector<kernel::LoweredKernel> kernels;  ///< in order; without their launches
  std::vector<int32_t> steps;                  ///< by kernel: its step of the partition
  std::vector<GpuLaunch> launches;             ///< in order
  struct Group {
    int32_t first = 0, count = 1;              ///< launches
  };
  std::vector<Group> groups;                   ///< what is launched together; all of a group have one text
  std::vector<codegen::gpu::KernelText> texts; ///< distinct ones
};

/// `group`: launches may be joined. Operands are taken to lie at multiples of 16 bytes.
StepKernels step_kernels(const kernel::Partition& partition, bool group);

}  // namespace corten::cuda
