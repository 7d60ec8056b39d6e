// The program of a compiled function whose state lies on a GPU.
#pragma once

#include <vector>

#include "runtime/eager_device.h"
#include "runtime/tensor_impl.h"

namespace corten::runtime {

/// Where a compiled function runs: where its arguments and state lie. 0-d ones may lie anywhere,
/// and follow. Usage error if the others are on several devices.
ir::Placement home_of(const ir::Values& arguments, const std::vector<CellPtr>& states);

class CompiledOnDevice {
 public:
  /// The device must outlive this. `memory_budget`: bytes of the device that a call may use; 0: no
  /// limit. Resource error if that or the device's memory is too small.
  CompiledOnDevice(EagerDevice& device, const ir::Graph& recorded, int64_t memory_budget);
  /// Asks for a call; nobody waits. States lie on the device, contiguous, in memory of their own
  /// where the program writes. Arguments are contiguous, on the device or 0-d.
  ir::Values operator()(const ir::Values& arguments, const std::vector<CellPtr>& states);
  const cuda::DevicePlan& plan() const { return program_->program->plan(); }
  double kernels_ms() const { return program_->program->info().kernels_ms; }

 private:
  EagerDevice& device_;
  std::shared_ptr<EagerDevice::Watched> program_;
  // Where the program reads arguments and writes results, always the same places: a call is the
  // launch of one graph.
  std::vector<ir::BufferPtr> arguments_, results_;
};

}  // namespace corten::runtime
