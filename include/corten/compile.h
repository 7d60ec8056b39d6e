// Compilation: a whole function (a training step with backward and optimizer) as one planned program.
//
//   auto step = compile([&](const std::vector<Tensor>& in) { ...; optimizer.step(); return std::vector{loss}; });
//   float loss = step({ids, targets, lr})[0].item<float>();
//
// State is discovered: every tensor that the function reads without having made it, and every one that it writes. Numbers
// that change from call to call must be tensors (arguments or state). The first two calls are traced, and a constant that
// differs between them is a Usage error that names its line; CORTEN_CHECK_TRACE=n repeats the check every n calls. Reading
// a value (item) while tracing and values that outlive the trace are Usage errors. New argument shapes are traced anew.
// The gradients of leaves live inside the call: grad() is what it was before. It runs on the device where its state lies.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "corten/tensor.h"

namespace corten {

using Function = std::function<std::vector<Tensor>(const std::vector<Tensor>&)>;

/// What is known of a compiled program before and after it runs.
struct ProgramInfo {
  int64_t kernels = 0, gemms = 0;       ///< launches per call
  int64_t distinct_kernels = 0;
  int64_t state_bytes = 0;              ///< read or written tensors that outlive the call
  int64_t argument_bytes = 0;
  int64_t arena_bytes = 0;              ///< planned peak of everything in between
  int64_t arena_lower_bound = 0;        ///< largest sum of live bytes; the difference is fragmentation
  int64_t output_bytes = 0;
  int64_t bytes_moved = 0;              ///< read and written by all steps
  double flops = 0;                     ///< of matrix products, unpadded; without those computed again
  int64_t recomputed = 0;               ///< operations computed again instead of keeping what they made
  double recomputed_flops = 0;
  double trace_ms = 0, passes_ms = 0, compile_ms = 0;
  std::vector<std::string> copies;      ///< donations that were refused, with the reason
};

/// Why a function was compiled once more, and what it cost.
struct CompileRecord {
  std::string reason;  ///< "first call", "argument 0: i64[8,256] became i64[4,256]", "2 threads became 4"
  double trace_ms = 0, passes_ms = 0, compile_ms = 0;
  /// Kernels that were made now, loaded from the cache on disk, and known already.
  int64_t kernels_compiled = 0, kernels_from_disk = 0, kernels_from_memory = 0;
};

class CompiledFunction {
 public:
  std::vector<Tensor> operator()(const std::vector<Tensor>& arguments);
  /// Of the program last used.
  const ProgramInfo& info() const;
  /// Compiles for these arguments without running; no state changes.
  const ProgramInfo& plan(const std::vector<Tensor>& arguments);
  /// Bytes of the arena that were really touched so far.
  int64_t touched_arena_bytes() const;
  /// Text of the last program: graph, passes, kernels.
  std::string explain() const;
  /// Every compilation so far, the last 64 of them, oldest first.
  std::vector<CompileRecord> compilations() const;
  /// From now on check every result for NaN; the first op that made one is named in a Usage error.
  void detect_anomaly(bool enabled);

  struct Impl;
  explicit CompiledFunction(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  const std::shared_ptr<Impl>& impl() const { return impl_; }  ///< for the library itself

 private:
  std::shared_ptr<Impl> impl_;
};

struct CompileOptions {
  /// Bytes that a call may use: state, arguments, results and everything in between. Beyond what costs next to nothing, values
  /// are computed again instead of being kept until the plan fits; the peak falls with the budget. Resource error of a call if
  /// the least possible does not fit. 0: no limit.
  int64_t memory_budget = 0;
};
CompiledFunction compile(Function function, CompileOptions options = {});

/// Runs `shard(v)` for v = 0 .. count-1 (micro-batches, each under ShardScope(v)) and sums the tensors that it returns by
/// the canonical binary tree over the shards: left part = largest power of two below n (numerics contract, point 5).
std::vector<Tensor> for_shards(int64_t count, const std::function<std::vector<Tensor>(int64_t)>& shard);

/// Raises a Usage error naming the first op whose result had a NaN in eager mode while enabled.
void set_detect_anomaly(bool enabled);

}  // namespace corten
