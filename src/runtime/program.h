// Level 4, programs: steps with offsets into memory segments, planned before they run.
#pragma once

#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "codegen/cpu.h"
#include "corten/compile.h"
#include "ir/graph.h"
#include "kernel/lower.h"
#include "passes/pipeline.h"
#include "passes/plan_memory.h"
#include "runtime/library_step.h"
#include "runtime/program_report.h"
#include "runtime/recorder.h"

namespace corten::runtime {

/// Where a buffer of a program lies.
struct Slot {
  enum class Kind : uint8_t { none, input, output, constant, arena } kind = Kind::none;
  int32_t index = 0;   // of the input, output or constant; arena: of the interval
  int64_t offset = 0;  // bytes in the arena, after planning
};

struct ProgramStep {
  // kernel
  std::shared_ptr<const codegen::CpuKernel> kernel;
  std::vector<ir::Launch> launches;
  std::vector<Slot> operands;
  ir::KernelForm form = ir::KernelForm::rows;
  int32_t outer_rank = 0;
  bool checks_indices = false;
  std::vector<bool> gathered;  // per access
  // or a family's
  std::shared_ptr<const LibraryStep> library;
  int32_t group = 1;  // this many steps, from this one on, are launched together
  Slot scratch;
  int64_t scratch_bytes = 0;  // per worker for kernels
  std::vector<std::pair<int64_t, int64_t>> poison;  // offset and bytes of arena ranges to fill with NaN behind it
  // for messages and reports
  std::vector<int32_t> nodes;                           // of the program's graph
  std::vector<int32_t> tile_nodes;                      // of products: of the kernel that takes their tiles
  bool stores_result = true;                            // of products
  std::vector<std::pair<int32_t, ir::Type>> results;    // operand, type: what anomaly detection checks
  int64_t bytes = 0;                                    // read and written
  double flops = 0;                                     // of matrix products
};

/// State outputs that could not be written in place.
struct StateCopy {
  Slot from;
  int32_t input = 0;
  int64_t bytes = 0;
};

/// Whether a contiguous tensor of a floating type has a NaN.
bool has_nan(const ir::Type& type, const void* data);

struct ProgramOptions {
  bool eager = false;  // one op: its scratch comes from the caching allocator
  int64_t arena_budget = std::numeric_limits<int64_t>::max();  // bytes; if it cannot be met, the least possible is planned
};

class Program {
 public:
  /// Runs the pipeline, fuses, plans memory and compiles the kernels of a graph whose outputs with an alias are state.
  Program(const ir::Graph& graph, ProgramOptions options);
  /// Executes. Inputs and outputs are addresses of contiguous data (inputs: as their layouts say). Outputs with an alias are
  /// written to their input's memory; their entry in `outputs` is ignored.
  void run(const std::vector<void*>& inputs, const std::vector<void*>& outputs, bool detect_anomaly);
  const ProgramInfo& info() const { return info_; }
  const std::vector<ir::Output>& outputs() const { return outputs_; }
  const std::vector<ir::Type>& output_types() const { return output_types_; }
  int threads() const { return threads_; }
  int64_t touched_arena_bytes() const;
  std::string explain() const;
  /// Of compiled programs; eager ones keep none.
  const ProgramReport& report() const;
  const std::vector<passes::PassRecord>& passes() const { return passes_; }
  const std::vector<std::string>& kernel_texts() const { return kernel_texts_; }
  /// After the passes: what its steps are made of.
  const ir::Graph& graph() const { return graph_; }

 private:
  /// Result, place in the source and ops of a step.
  std::string what(const ProgramStep& step) const;
  void execute(std::span<const ProgramStep> group, char* arena, const std::vector<void*>& inputs, const std::vector<void*>& outputs);
  void* address(const Slot& slot, char* arena, const std::vector<void*>& inputs, const std::vector<void*>& outputs) const;
  template <typename F>
  void record(Recorder& recorder, std::span<const ProgramStep> group, F&& execute) const;
  void check(const ProgramStep& step, char* arena, const std::vector<void*>& inputs, const std::vector<void*>& outputs) const;

  ProgramOptions options_;
  int threads_;
  std::vector<ProgramStep> steps_;
  std::vector<StateCopy> copies_;
  std::vector<ir::Output> outputs_;
  std::vector<ir::Type> output_types_;
  ir::Values constants_;
  std::vector<passes::PassRecord> passes_;
  std::vector<std::string> kernel_texts_;
  ir::Graph graph_;                          // after the passes
  std::vector<passes::Interval> intervals_;  // of the arena
  std::vector<int64_t> offsets_;
  std::vector<kernel::Storage> contents_;    // node -1: a workspace
  mutable std::once_flag reported_;
  mutable ProgramReport report_;             // made when it is asked for
  ProgramInfo info_;
};

}  // namespace corten::runtime
