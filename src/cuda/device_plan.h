// A recorded graph as steps for a GPU with a plan of their memory: everything that can be known of
// a program of a device without having one.
#pragma once

#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cuda/attention/attention_step.h"
#include "cuda/convolutions.h"
#include "cuda/products.h"
#include "cuda/step_kernels.h"
#include "passes/pipeline.h"
#include "passes/rematerialise.h"

namespace corten::cuda {

struct DeviceProgramInfo {
  int64_t arena_bytes = 0, arena_lower_bound = 0, workspace_bytes = 0;
  size_t launches = 0, groups = 0, texts = 0, products = 0, attentions = 0, convolutions = 0;
  int64_t bytes_moved = 0;                 ///< read and written by all steps
  double flops = 0, recomputed_flops = 0;  ///< of products, convolutions and attention; again
  int64_t recomputed = 0;                  ///< values that are computed again
  double make_ms = 0;                      ///< to make the program; kernels: a part of it
  double kernels_ms = 0;                   ///< to compile or load the kernels
  std::vector<std::string> copies;         ///< states that are not written in place, and why
  std::string uncaptured;  ///< why runs are no launches of a graph, which the device refused to make
};

/// Where a storage lies.
struct Slot {
  enum class Kind : uint8_t { none, input, output, constant, arena } kind = Kind::none;
  int32_t index = 0;  ///< of the input, output or constant; arena: of the interval
};

/// State that is copied behind the last step.
struct StateCopy {
  ir::ValueRef root;
  int32_t input = 0;
  int64_t bytes = 0;
};

/// Attention, or its gradient.
struct PlannedAttention {
  AttentionStep step;
  std::vector<int32_t> texts;  ///< by kernel: index into DevicePlan::texts()
  int32_t workspace = -1;      ///< the interval of the arena; -1: none
};

class DevicePlan final : public passes::Planned {
 public:
  /// `graph`: after the passes. `reuse`: memory is given to several storages. `shared_limit`: bytes of
  /// shared memory that a block may have.
  DevicePlan(ir::Graph graph, bool fuse, bool reuse, int shared_limit);
  passes::Timeline timeline() const override;

  const kernel::Partition& partition() const { return partition_; }
  const StepKernels& kernels() const { return kernels_; }
  /// Null if no step reads or writes it.
  const Slot* slot(const kernel::Storage& s) const;
  /// What lies in each interval.
  std::vector<kernel::Storage> contents() const;
  const std::vector<StateCopy>& copies() const { return copies_; }
  /// By step of the partition.
  const std::map<int32_t, ProductCalls>& products() const { return products_; }
  const std::map<int32_t, PlannedAttention>& attention() const { return attention_; }
  const std::map<int32_t, PlannedConvolution>& convolutions() const { return convolutions_; }
  /// Distinct ones: those of kernels(), then attention's.
  const std::vector<codegen::gpu::KernelText>& texts() const { return texts_; }
  /// Of a step of kernels(): the nodes that it computes, in order; bytes read and written; FLOPs of
  /// products, convolutions and attention.
  std::vector<int32_t> members(const GpuStep& step) const;
  double flops(const GpuStep& step) const;
  int64_t bytes_moved(const GpuStep& step) const;
  const DeviceProgramInfo& info() const { return info_; }

  std::vector<passes::PassRecord> passes;  ///< that made the graph
  double plan_ms = 0;                      ///< to make the graph and this

 private:
  struct Touched {
    std::set<kernel::Storage> read, written;
  };
  Touched touched_by(const kernel::LoweredKernel& k) const;
  Touched touched_by_library(int32_t step) const;
  int64_t bytes(const Touched& t) const;
  double flops_of(int32_t library) const;
  void touch();
  void plan_attention(int shared_limit);
  void plan_products();
  void plan_convolutions();
  std::string refusal(int32_t input, ir::ValueRef root) const;
  void assign_outputs();
  void assign_slots();
  void describe();

  kernel::Partition partition_;
  StepKernels kernels_;
  std::vector<Touched> touched_;  // by step
  std::map<ir::ValueRef, int32_t> first_writer_, last_reader_;
  std::map<kernel::Storage, Slot> slots_;
  std::vector<StateCopy> copies_;
  std::map<int32_t, ProductCalls> products_;
  std::map<int32_t, PlannedAttention> attention_;
  std::map<int32_t, PlannedConvolution> convolutions_;
  std::vector<codegen::gpu::KernelText> texts_;
  DeviceProgramInfo info_;
};

/// The type of a root, or of the partial results of a reduction.
ir::Type storage_type(const ir::Graph& graph, const kernel::Storage& s);
/// "[gelu] f32[8,256], at model.cpp:12"
std::string describe(const ir::Graph& graph, ir::ValueRef value);

/// A budget for a whole call becomes one for the arena: arguments, results, states and the
/// products' workspace count too.
int64_t bytes_besides_arena(const ir::Graph& recorded, int64_t workspace_bytes);

/// Runs the passes for GPUs and plans; computes again what must be for the arena to keep to a
/// budget, if it can. `has_float8`, `shared_limit`: as DeviceInfo says. Usage error for what has no
/// implementation for GPUs.
std::unique_ptr<DevicePlan> plan_for_device(
    const ir::Graph& recorded, bool has_float8,
    int64_t arena_budget = std::numeric_limits<int64_t>::max(),
    int shared_limit = kMaxSharedBytes);
/// The same for a device.
inline std::unique_ptr<DevicePlan> plan_for_device(
    const ir::Graph& recorded, const DeviceInfo& device,
    int64_t arena_budget = std::numeric_limits<int64_t>::max()) {
  return plan_for_device(recorded, device.has_float8(), arena_budget, device.shared_bytes);
}

}  // namespace corten::cuda
