// A recorded graph as a program of a GPU: the same passes, fusion and memory planning as on the
// CPU, kernels of step_kernels.h, products by the device's library.
//
// Everything is decided before the first run: one arena by one allocation, kernels loaded,
// algorithms of products chosen. A run with the addresses of the run before is the launch of one
// captured graph.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuda/device_memory.h"
#include "cuda/device_plan.h"
#include "cuda/plugin.h"
#include "cuda/step_costs.h"

namespace corten::cuda {

/// Kernels to binaries for a device; compile_kernels() for its architecture where nothing else is
/// given.
using MakeModules =
    std::function<std::vector<std::string>(std::span<const codegen::gpu::KernelText>)>;

/// Where the time of an execution goes.
struct DeviceProfile {
  std::vector<StepCost> costs;  ///< by step
  std::vector<double> ms;       ///< by step
  /// Sum of what the device executed, and the time from the first start to the last end. Their
  /// ratio says how much of the time the device was waiting.
  double busy_ms = 0, wall_ms = 0;
  /// Traced: the launch of a graph, by the device's clock. Otherwise launched step by step between
  /// events, which count what lies between two launches too, and `note` says why.
  bool traced = false;
  std::string note;
};

class LoadedKernels;

class DeviceProgram {
 public:
  /// The device must live as long as this. `scratch` may be shared with other programs. Resource
  /// error if the device is out of memory.
  DeviceProgram(std::unique_ptr<DevicePlan> plan, Device& device, MakeModules make_modules = {},
                std::shared_ptr<Scratch> scratch = {});
  /// The plan of a recorded graph, which may be forgotten afterwards.
  DeviceProgram(const ir::Graph& graph, Device& device, MakeModules make_modules = {})
      : DeviceProgram(plan_for_device(graph, device.info()), device, std::move(make_modules)) {}
  /// For run_once(): a program that is one of many, as those of single ops are. Kernels are loaded
  /// once for all of them, and there is neither an arena nor a graph of its own.
  DeviceProgram(std::unique_ptr<DevicePlan> plan, Device& device,
                std::shared_ptr<LoadedKernels> kernels);
  ~DeviceProgram();
  DeviceProgram(const DeviceProgram&) = delete;

  /// Asks for one execution; nothing waits. `inputs` and `outputs` are addresses on the device,
  /// multiples of 16, of contiguous data (inputs: as their layouts say). Outputs with an alias are
  /// written to their input's memory; their entry is ignored.
  void run(const std::vector<uint64_t>& inputs, const std::vector<uint64_t>& outputs);
  /// The same with memory that is lent for it: info() says how much. Addresses of inputs are
  /// multiples of 16, where their layouts begin.
  void run_once(const std::vector<uint64_t>& inputs, const std::vector<uint64_t>& outputs,
                uint64_t arena, uint64_t workspace);
  /// Waits, and raises what kernels reported: an index that is out of range.
  void check();
  /// The same for who does not want to wait: what kernels report is copied to `to` behind what was
  /// asked for, fault_bytes() of it, and raised when it is there. An address of page-locked memory.
  int64_t fault_bytes() const;
  void copy_faults(void* to);
  void raise_faults(const void* from);

  /// Launches of the graph with the addresses of the last run: milliseconds of each, between
  /// events. Waits for the last one only.
  std::vector<double> time(int runs);
  /// Executes once more with the addresses of the last run, and waits.
  DeviceProfile profile();

  const DeviceProgramInfo& info() const;
  const DevicePlan& plan() const;
  const std::vector<ir::Output>& outputs() const;
  const std::vector<ir::Type>& output_types() const;
  /// Whether the last run was the launch of a graph.
  bool replayed() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace corten::cuda
