// Reference interpreter of level 3: executes any kernel, simply and slowly.
#pragma once

#include "ir/kernel.h"

namespace corten {

/// Executes `kernel` over the whole domain of `launch`. `pointers[i]` is the base address of
/// operand i, whose elements are stored in its dtype (booleans: one byte, 0 or 1). With
/// Precision::exact the results are, bit for bit, what compiled kernels give; NaN payloads
/// excepted. Stores round to the operand's dtype (u8: modulo 256).
///
/// A gathered index outside [0, bound) is written to `fault` (the first one met, see KernelFault);
/// the load gives zero and the store is left out. Without a `fault` it is a Usage error. A kernel
/// that breaks the rules of ir/kernel.h is an Internal error.
void interpret(const ir::Kernel& kernel, const ir::Launch& launch, void* const* pointers,
               ir::Precision precision, ir::KernelFault* fault);

}  // namespace corten
