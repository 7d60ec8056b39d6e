// Rewriting a graph node by node into a new one.
#pragma once

#include <functional>

#include "ir/graph.h"

namespace corten::passes {

/// Builds a new graph from an old one: calls `node` for every non-input node in order; it returns the new values of the
/// node's results, using at() for the new values of old ones. Outputs are carried over.
class Rewriter {
 public:
  explicit Rewriter(const ir::Graph& old) : old_(old), graph_(old.header(map_)) {}
  ir::Graph run(const std::function<ir::ValueRefs(Rewriter&, const ir::Node&, int32_t)>& node) {
    for (size_t i = 0; i < old_.nodes().size(); ++i) {
      const ir::Node& n = old_.nodes()[i];
      if (n.op == &ir::kInputOp || n.op == &ir::kConstantOp) continue;
      ir::ValueRefs results = node(*this, n, static_cast<int32_t>(i));
      for (size_t k = 0; k < results.size(); ++k)
        map_[{static_cast<int32_t>(i), static_cast<int32_t>(k)}] = results[k];
    }
    for (const ir::Output& o : old_.outputs()) graph_.output(at(o.value), o.alias);
    return std::move(graph_);
  }
  ir::ValueRef at(ir::ValueRef old) const { return map_.at(old); }
  ir::ValueRefs inputs(const ir::Node& n) const {
    ir::ValueRefs out;
    out.reserve(n.inputs.size());
    for (ir::ValueRef r : n.inputs) out.push_back(at(r));
    return out;
  }
  /// The node unchanged, over the new operands.
  ir::ValueRefs keep(const ir::Node& n) { return graph_.append(n, inputs(n)); }
  ir::Graph& graph() { return graph_; }
  const ir::Graph& old() const { return old_; }

 private:
  const ir::Graph& old_;
  ir::ValueMap map_;
  ir::Graph graph_;
};

/// Number of uses of each result of each node, outputs included.
std::vector<std::vector<int>> count_uses(const ir::Graph& graph);

}  // namespace corten::passes
