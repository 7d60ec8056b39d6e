// The same compiled function on the CPU and as a program of a device: steps are made on both,
// results and state compared.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "corten/corten.h"
#include "cuda/device_program.h"

namespace corten::cuda::test {

struct Comparison {
  /// Largest difference of a result or state, relative to the largest number in it; 0 if all bits
  /// are the same.
  double difference = 0;
  bool same_bits = true;
  std::string where;  ///< of the first difference of bits
  DeviceProgramInfo info;
  std::vector<double> cpu, device;  ///< the first result of each step, if it is one number
  std::vector<double> step_ms;      ///< on the device, by its events
  int64_t arena_allocated = 0;      ///< what the device has less since the arena is there
  int replayed = 0;                 ///< steps that were the launch of one graph
};

/// Makes `steps` steps with `arguments(step)` on the device, then `cpu_steps` (-1: as many) on the
/// CPU, from the same state. States are compared if both made as many. The device's arena keeps to
/// a budget, if it can.
Comparison compare_with_cpu(const Function& function,
                            const std::function<std::vector<Tensor>(int step)>& arguments,
                            int steps, Device& device, const MakeModules& make_modules = {},
                            int cpu_steps = -1,
                            int64_t arena_budget = std::numeric_limits<int64_t>::max());

}  // namespace corten::cuda::test
