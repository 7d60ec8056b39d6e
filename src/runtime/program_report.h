// What is known of a program's steps and memory before it runs: for plans, traces and memory snapshots.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernel/lower.h"
#include "passes/plan_memory.h"

namespace corten::runtime {

/// Whose memory a buffer is. State is told apart by the caller, who knows which tensor is what.
enum class Owner : uint8_t { parameter, gradient, optimizer, activation, temporary, workspace, argument, output, other_state };
inline constexpr int kOwners = 9;
std::string_view to_string(Owner owner);

/// A buffer of the arena.
struct BufferReport {
  int64_t bytes = 0, offset = 0;  // aligned size; place in the arena
  int32_t first = 0, last = 0;    // steps between which it lives, both inclusive
  Owner owner = Owner::temporary;
  bool recomputed = false;        // computed again in the backward pass
  std::string what;               // "layer_norm f32[8,256,768]"
  ir::Source source;
};

struct StepReport {
  std::string name;        // "gemm", "kernel add, mul, exp"
  std::string detail;      // result and where it was asked for
  std::string operands;    // of products: "f32[2048,256] f32[256,1024]"
  bool library = false;
  bool joined = false;     // is part of the launch of the step before
  ir::Stage stage = ir::Stage::forward;
  ir::Source source;
  int64_t bytes = 0;       // read and written
  double flops = 0;        // of matrix products
};

struct ProgramReport {
  std::vector<StepReport> steps;
  std::vector<BufferReport> buffers;
};

/// The owner of a buffer of the arena that is made in one stage and read for the last time in another.
Owner owner_of(ir::Stage made, ir::Stage last_read);

/// "gemm", or what a kernel computes: "add, mul, exp".
std::string op_names(const ir::Graph& graph, const std::vector<int32_t>& nodes);
/// Name, place and stage of the step that computes these nodes; `tile_nodes`: of the kernel that takes a product's tiles.
StepReport describe_step(const ir::Graph& graph, const std::vector<int32_t>& nodes, bool library, const std::vector<int32_t>& tile_nodes = {});
/// The buffers of an arena; `contents`: what lies in each, node -1 for workspaces.
std::vector<BufferReport> describe_buffers(const ir::Graph& graph, const std::vector<passes::Interval>& intervals, const std::vector<int64_t>& offsets,
                                           const std::vector<kernel::Storage>& contents, const std::vector<StepReport>& steps);

}  // namespace corten::runtime
