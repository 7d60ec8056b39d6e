// Kernels that lie in a device, each once: programs of single ops share them, as ops of other sizes
// have the same text.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "cuda/device_memory.h"
#include "cuda/device_program.h"

namespace corten::cuda {

class LoadedKernels {
 public:
  /// The device must live as long as this.
  LoadedKernels(Device& device, MakeModules make_modules);
  ~LoadedKernels();
  LoadedKernels(const LoadedKernels&) = delete;

  /// The functions of kernels; those that are new are compiled together and loaded.
  std::vector<uint64_t> functions(std::span<const codegen::gpu::KernelText> texts);
  /// 256 bytes of zeros.
  uint64_t zeros() const { return zeros_.address(); }

 private:
  Device& device_;
  MakeModules make_modules_;
  DeviceMemory zeros_;
  std::vector<uint64_t> modules_;
  std::unordered_map<std::string, uint64_t> functions_;  // by name
};

}  // namespace corten::cuda
