// One launch of a kernel: scheduled, emitted, executed on the CPU and compared with the
// interpreter.
#pragma once

#include <string>

#include "gpu/host_gpu.h"
#include "kernel_problem.h"

namespace corten::codegen::test {

/// A problem's operands at addresses as a GPU's allocator gives them, and the kernel for them.
struct Execution {
  gpu::Schedule schedule;
  gpu::KernelText text;
};
Execution prepare(const Problem& problem);

/// Differences between the interpreter and the text on the CPU, "" if there are none. `seed`
/// decides the order of threads.
std::string compare(const HostModule& module, const Problem& problem, const Execution& execution,
                    uint64_t seed, bool tracked = true);

}  // namespace corten::codegen::test
