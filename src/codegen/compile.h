// Compilation for a chosen instruction set; for tests and measurements.
#pragma once

#include "base/cpu.h"
#include "codegen/cpu.h"
#include "codegen/emit.h"
#include "codegen/object_cache.h"

namespace corten::codegen {

/// As compile_cpu(kernel), for `target`, which this machine must have. `objects` null: not kept on
/// disk.
std::shared_ptr<const CpuKernel> compile_cpu(const ir::Kernel& kernel, const Target& target,
                                             ObjectCache* objects);

/// Hash of a kernel's structure: equal kernels have equal ones.
Hash128 structure_hash(const ir::Kernel& kernel);

}  // namespace corten::codegen
