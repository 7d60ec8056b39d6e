#include "runtime/program_report.h"

#include "base/format.h"
#include "runtime/draft.h"

namespace corten::runtime {

std::string_view to_string(Owner owner) {
  switch (owner) {
    case Owner::parameter: return "parameters";
    case Owner::gradient: return "gradients";
    case Owner::optimizer: return "optimizer";
    case Owner::activation: return "activations";
    case Owner::temporary: return "temporaries";
    case Owner::workspace: return "workspace";
    case Owner::argument: return "arguments";
    case Owner::output: return "outputs";
    case Owner::other_state: return "other_state";
  }
  internal_error("unknown owner {}", static_cast<int>(owner));
}

Owner owner_of(ir::Stage made, ir::Stage last_read) {
  using ir::Stage;
  if (made == Stage::forward && last_read == Stage::backward) return Owner::activation;
  // What backward leaves behind for the sums over shards and for the optimizer; the sums themselves.
  if ((made == Stage::backward || made == Stage::accumulate) && (last_read == Stage::accumulate || last_read == Stage::update))
    return Owner::gradient;
  return Owner::temporary;
}

std::string op_names(const ir::Graph& graph, const std::vector<int32_t>& nodes) {
  std::string out;
  std::string_view previous;
  for (int32_t node : nodes) {
    const std::string_view name = graph.nodes()[node].op->name;
    if (name == previous) continue;
    out += format("{}{}", out.empty() ? "" : ", ", name);
    previous = name;
  }
  return out;
}

StepReport describe_step(const ir::Graph& graph, const std::vector<int32_t>& nodes, bool library, const std::vector<int32_t>& tile_nodes) {
  const ir::Node& last = graph.nodes()[nodes.back()];
  StepReport out;
  out.library = library;
  out.stage = last.phase != 0 ? ir::Stage::backward : last.source.stage;  // computed again for the backward pass
  out.source = last.source;
  out.detail = describe(graph, {nodes.back(), 0});
  if (!library) {
    out.name = "kernel " + op_names(graph, nodes);
    return out;
  }
  out.name = last.op->name;
  if (!tile_nodes.empty()) out.name += " + " + op_names(graph, tile_nodes);
  for (ir::ValueRef r : last.inputs) out.operands += format("{}{}", out.operands.empty() ? "" : " ", to_string(graph.type(r)));
  return out;
}

std::vector<BufferReport> describe_buffers(const ir::Graph& graph, const std::vector<passes::Interval>& intervals, const std::vector<int64_t>& offsets,
                                           const std::vector<kernel::Storage>& contents, const std::vector<StepReport>& steps) {
  std::vector<BufferReport> out(intervals.size());
  const int32_t end = static_cast<int32_t>(steps.size());
  for (size_t i = 0; i < out.size(); ++i) {
    BufferReport& b = out[i];
    b.bytes = (intervals[i].bytes + passes::kAlignment - 1) / passes::kAlignment * passes::kAlignment;
    b.offset = offsets[i];
    b.first = intervals[i].first;
    b.last = intervals[i].last;
    b.owner = Owner::workspace;
    const kernel::Storage& storage = contents[i];
    if (storage.root.node < 0) continue;
    const ir::Node& n = graph.node(storage.root);
    b.owner = storage.partial ? Owner::temporary : owner_of(n.source.stage, b.last < end ? steps[b.last].stage : ir::Stage::update);
    b.recomputed = n.phase != 0;
    b.source = n.source;
    b.what = format("{} {}", n.op->name, to_string(storage_type(graph, storage)));
  }
  return out;
}

}  // namespace corten::runtime
