// One step of a program, a launch or a group of them, with made-up operands: executed somewhere,
// compared with the interpreter.
#pragma once

#include <string>

#include "codegen/gpu/emit.h"
#include "cuda/step_kernels.h"

namespace corten::cuda::test {

/// Where kernels are executed, and their memory.
class Runner {
 public:
  virtual ~Runner() = default;
  /// Puts bytes at an address that is a multiple of 16; memory lives until the next clear().
  virtual uint64_t put(const std::string& bytes) = 0;
  virtual std::string get(uint64_t address, size_t bytes) = 0;
  virtual void clear() = 0;
  /// Runs a launch with its words; a grouped one with its table of `launches` launches. "" or what
  /// went wrong.
  virtual std::string run(const codegen::gpu::KernelText& text, const std::vector<int64_t>& words,
                          int launches, int64_t blocks, uint64_t seed) = 0;
};

/// At most three launches of a step, cut down to what the interpreter can do; "" or the first
/// difference.
std::string run_step(Runner& runner, const StepKernels& kernels, const GpuStep& step,
                     uint64_t seed);
/// Every text of a model's kernels once; what differs, or "".
std::string run_texts(Runner& runner, const StepKernels& kernels);

}  // namespace corten::cuda::test
