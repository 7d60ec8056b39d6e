// A program that is planned, but not chosen yet: steps, buffers with their lives, and where they would lie.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernel/lower.h"
#include "passes/rematerialise.h"
#include "runtime/program.h"

namespace corten::runtime {

class Draft : public passes::Planned {
 public:
  /// What lies in each interval.
  virtual std::vector<kernel::Storage> contents() const = 0;

  std::vector<ProgramStep> steps;
  std::vector<StateCopy> copies;
  std::vector<std::string> kernel_texts;
  ProgramInfo info;  ///< counts, and the time that kernels took to make

 protected:
  using Planned::Planned;
};

/// Fuses the last graph, lowers and compiles its kernels and plans its memory.
std::unique_ptr<Draft> make_draft(ir::Graph graph, bool fuse, bool reuse, int threads);

/// "[gelu] f32[8,256], at model.cpp:12"
std::string describe(const ir::Graph& graph, ir::ValueRef value);
/// Of a value, or of the partial results of a reduction.
ir::Type storage_type(const ir::Graph& graph, kernel::Storage storage);

}  // namespace corten::runtime
