// Random programs over the ops: what every pass must leave unchanged to the bit.
#pragma once

#include <random>

#include "ir/graph.h"

namespace corten::testing {

struct RandomGraph {
  ir::Graph graph;
  std::vector<std::vector<std::byte>> inputs;  // contents, per graph input
};

/// A graph of about `ops` calls. The seed determines everything.
RandomGraph random_graph(uint64_t seed, int ops);

/// Runs a graph as a program; CORTEN_DISABLE decides which passes take part.
std::vector<std::vector<std::byte>> run_program(const RandomGraph& program);
/// The same by the reference interpreter in exact mode.
std::vector<std::vector<std::byte>> run_reference(const RandomGraph& program);
/// Bit equality up to NaN payloads; describes the first difference in `why`.
bool same_bits(const ir::Graph& graph, const std::vector<std::vector<std::byte>>& a, const std::vector<std::vector<std::byte>>& b, std::string& why);

}  // namespace corten::testing
