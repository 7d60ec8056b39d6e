// A look into compiled functions, for plans and profiles.
#pragma once

#include <vector>

#include "corten/compile.h"
#include "runtime/program.h"
#include "runtime/tensor_impl.h"

namespace corten::runtime {

/// The program of a compiled function that was used last. Valid until the function is called, planned or destroyed.
struct Inspection {
  const Program* program = nullptr;
  const ir::Graph* recorded = nullptr;  // before the passes
  std::vector<CellPtr> states;  // what the program reads or writes besides its arguments
  std::vector<bool> written;
  int64_t memory_budget = 0;  // bytes that a call may use, the states among them; 0: no limit
};
/// Usage error if nothing is compiled yet.
Inspection inspect(const CompiledFunction& function);

}  // namespace corten::runtime
