// What the steps of a program cost at least: bytes of memory, FLOPs of products, launches; and what
// each is for. Floors of a step on a device, and tables of where its time goes, are made of this.
#pragma once

#include <string>
#include <vector>

#include "cuda/step_kernels.h"

namespace corten::cuda {

struct StepCost {
  std::string family;  ///< "products, forward", "attention", "update", ...
  std::string what;    ///< the ops of its (first) launch, and its result
  int64_t launches = 1;
  /// Read and written if every element that a step touches moves once.
  int64_t bytes = 0;
  double flops = 0;  ///< of products
  DType dtype = DType::f32;  ///< of their operands
};

/// In order of StepKernels::steps.
std::vector<StepCost> step_costs(const kernel::Partition& partition, const StepKernels& kernels);

/// Ceilings of a device.
struct Ceilings {
  double bandwidth = 0;  ///< bytes/s
  double half = 0, single = 0;  ///< FLOP/s of products of 16-bit and of f32 operands
};
/// Seconds that a step takes at least: of its bytes or its FLOPs, whichever takes longer.
double floor_seconds(const StepCost& cost, const Ceilings& ceilings);

/// Sums over the steps of a family.
struct FamilyCost {
  std::string family;
  int64_t steps = 0, launches = 0, bytes = 0;
  double flops = 0, floor_seconds = 0;
};
/// The longest floor first.
std::vector<FamilyCost> family_costs(const std::vector<StepCost>& costs, const Ceilings& ceilings);

}  // namespace corten::cuda
