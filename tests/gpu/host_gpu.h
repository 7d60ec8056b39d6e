// Executes the text of GPU kernels on the CPU, thread by thread: the text is compiled as host C++,
// every thread of a block is a fiber, and barriers, shuffles and ballots wait as a GPU's do. What a
// GPU would leave to luck is an error here: accesses outside of the operands, two threads that
// touch one place without a barrier between them (shared memory) or at all (global memory), reads
// of shared memory that nobody wrote, barriers and shuffles that not all threads reach. Threads run
// in an order that a seed decides.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "codegen/gpu/emit.h"

namespace corten::codegen::test {

/// Kernels as host code.
class HostModule {
 public:
  /// Compiles module_text(kernels). "" in `missing`, or why that cannot be done here (no compiler).
  /// Not optimised, many kernels are compiled in a fifth of the time.
  static std::unique_ptr<HostModule> compile(std::span<const gpu::KernelText> kernels,
                                             std::string& missing, bool optimised = true);
  ~HostModule();

  struct Range {
    const void* begin;
    int64_t bytes;
  };
  /// Runs a launch; "" or what is wrong. `memory`: what it may touch. `tracked`: accesses of
  /// different threads to one place of it are looked for, too, which takes 8 bytes for each byte of
  /// memory.
  std::string run(const gpu::KernelText& kernel, const int64_t* words, int64_t blocks,
                  std::span<const Range> memory, bool tracked, uint64_t seed) const;
  /// The same for a grouped kernel.
  std::string run_group(const gpu::KernelText& kernel, const int64_t* table, int launches,
                        int64_t blocks, std::span<const Range> memory, bool tracked,
                        uint64_t seed) const;

 private:
  std::string run(const gpu::KernelText& kernel, const int64_t* words, int launches, int64_t blocks,
                  std::span<const Range> memory, bool tracked, uint64_t seed) const;
  void* library_ = nullptr;
};

}  // namespace corten::codegen::test
