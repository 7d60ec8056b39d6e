// Random programs over the ops: what every pass must leave unchanged to the bit.
#pragma once

#include <random>
#include <set>

#include "corten/compile.h"
#include "ir/graph.h"

namespace corten::testing {

struct RandomGraph {
  ir::Graph graph;
  std::vector<std::vector<std::byte>> inputs;  // contents, per graph input
  bool bf16 = false;                           // most values are bf16; otherwise f32
  /// Whether the reference computes every product to the bit: it does for those of f32 and f64, not for what AMX and
  /// attention kernels do in their own order.
  bool exact_reference = true;
};

/// A graph of about `ops` calls. The seed determines everything. Half of the seeds give bf16 graphs; some results are new
/// values of inputs (state).
RandomGraph random_graph(uint64_t seed, int ops);

/// What a graph is made of, seen without compiling a kernel.
struct GraphStatistics {
  size_t nodes = 0;                     // on a path to an output, inputs and constants not counted
  int64_t longest = 0;                  // dimension
  bool fused = false;                   // some kernel computes several nodes that are not views
  std::set<std::string_view> ops;       // in the live graph, its expansions and what claim makes of it
};
GraphStatistics statistics(const ir::Graph& graph);

/// Runs a graph as a program with the least memory that it can have; CORTEN_DISABLE decides which passes take part. State is
/// returned like any other output.
std::vector<std::vector<std::byte>> run_program(const RandomGraph& program, ProgramInfo* info = nullptr);
/// The same by the reference interpreter in exact mode.
std::vector<std::vector<std::byte>> run_reference(const RandomGraph& program);
/// Elements of a floating-point result, and those that are numbers other than infinities. Nothing of other types.
struct FiniteCount {
  int64_t finite = 0, all = 0;
};
FiniteCount count_finite(const ir::Type& type, const std::vector<std::byte>& bytes);
/// Bit equality up to NaN payloads; describes the first difference in `why`.
bool same_bits(const ir::Graph& graph, const std::vector<std::vector<std::byte>>& a, const std::vector<std::vector<std::byte>>& b, std::string& why);

}  // namespace corten::testing
