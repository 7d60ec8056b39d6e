// Measurements on a device, by its own clock.
#pragma once

#include "cuda/device_program.h"
#include "runtime/device_function.h"
#include "train/bench.h"

namespace corten {

/// As bench_op() for the CPU: one op as a program of the device, launched as a graph, between events.
BenchOpResult bench_op_on_device(const BenchOpOptions& options, cuda::Device& device,
                                 cuda::MakeModules make_modules = {});

/// Of the function's last call, which is repeated: as any step, it changes its state.
DeviceStepTimes device_step_times(runtime::DeviceFunction& function, cuda::Device& device,
                                  const cuda::Ceilings& ceilings);

}  // namespace corten
