// What compiled kernels call: the parts of a reduction's tree above the vectors, f64 functions, odd
// masks, faults.
//
// These symbols are known to the linker of compiled objects by name; changing the meaning or the
// arguments of one needs a new kEmitterVersion (emit.h).
#pragma once

#include <cstdint>
#include <span>

#include "ir/kernel.h"

namespace corten::codegen {

/// How the tree functions combine: operation and element type.
int32_t combine_code(ir::ScalarOp reduce, DType type);

struct SupportFunction {
  const char* name;
  void* address;
};
std::span<const SupportFunction> support_functions();

}  // namespace corten::codegen
