// Kernels to machine code: LLVM IR with explicit vectors, compiled in process and cached on disk.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ir/kernel.h"

namespace corten::codegen {

/// A compiled kernel. Thread-safe to run; alive as long as the process.
class CpuKernel {
 public:
  virtual ~CpuKernel() = default;
  /// Work items and what one covers. rows: item = one outer point; columns: one (outer point, chunk); scatter: one item in
  /// all. Columns of c may be split further where splittable_inner() says so, at multiples of kInnerGrain.
  virtual bool splittable_inner() const = 0;
  /// Bytes of scratch that one call of run needs (row temporaries, chunk results).
  virtual int64_t scratch_bytes(const ir::Launch& launch) const = 0;
  /// Executes items [begin, end) for c in [c0, c1). `pointers[i]` is operand i's base address.
  virtual void run(const ir::Launch& launch, void* const* pointers, int64_t begin, int64_t end, int64_t c0, int64_t c1,
                   void* scratch, ir::KernelFault* fault) const = 0;
};
inline constexpr int64_t kInnerGrain = 64;

struct CompileStats {
  int64_t compiled = 0, from_disk = 0, from_memory = 0;
  double compile_ms = 0, load_ms = 0;
};

/// Compiles or finds a kernel: in memory, then in the object cache on disk, then LLVM. Thread-safe.
std::shared_ptr<const CpuKernel> compile_cpu(const ir::Kernel& kernel);
/// The same for all kernels of a program: equal ones are one, and those that are in no cache are compiled side by side.
std::vector<std::shared_ptr<const CpuKernel>> compile_cpu(const std::vector<const ir::Kernel*>& kernels);
CompileStats compile_stats();

}  // namespace corten::codegen
