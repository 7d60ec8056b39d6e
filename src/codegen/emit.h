// A kernel's machine-independent plan to an LLVM module with one function.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/cpu.h"
#include "codegen/plan.h"

namespace llvm {
class LLVMContext;
class Module;
}  // namespace llvm

namespace corten::codegen {

/// Part of the key of cached objects: raise it with every change of what is emitted or of
/// support.h.
inline constexpr int kEmitterVersion = 5;

/// The instructions that kernels may use.
struct Target {
  Isa isa = Isa::avx2;
  bool bf16 = false;  ///< AVX512_BF16
  bool avx512() const { return isa != Isa::avx2; }
  bool operator==(const Target&) const = default;
};
/// What this machine offers within `isa`.
Target target_for(Isa isa);

/// The argument of a compiled kernel, `void kernel(const Call*)`. Read by generated code: its
/// layout and that of ir::Launch::Access are part of the emitter's version.
struct Call {
  const int64_t* outer;
  const ir::Launch::Access* accesses;
  const int64_t* params;
  void* const* pointers;
  char* scratch;
  ir::KernelFault* fault;
  int64_t inner, chunks;
  int64_t begin, end, c0, c1;
};
using KernelFunction = void (*)(const Call*);

/// Emits the function `symbol` into a new module.
std::unique_ptr<llvm::Module> emit(const Plan& plan, const Target& target,
                                   const std::string& symbol, llvm::LLVMContext& context);

}  // namespace corten::codegen
