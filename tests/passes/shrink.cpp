#include "passes/shrink.h"

#include "corten/error.h"
#include "kernel/reference.h"
#include "passes/rewrite.h"

namespace corten::testing {
namespace {

using ir::Graph;
using ir::Node;
using ir::ValueRef;

/// The program with some outputs only, and with the values in `cut` as inputs; what is then dead is left out.
RandomGraph reduced(const RandomGraph& p, const std::vector<bool>& outputs, const std::set<ValueRef>& cut,
                    const std::map<ValueRef, std::vector<std::byte>>& contents) {
  const auto& nodes = p.graph.nodes();
  std::vector<bool> live(nodes.size());
  for (size_t k = 0; k < outputs.size(); ++k) {
    if (!outputs[k]) continue;
    const ir::Output& o = p.graph.outputs()[k];
    live[o.value.node] = true;
    if (o.alias >= 0) live[p.graph.inputs()[o.alias].node] = true;
  }
  for (size_t i = nodes.size(); i-- > 0;) {
    if (!live[i] || cut.count({static_cast<int32_t>(i), 0})) continue;
    for (ValueRef r : nodes[i].inputs) live[r.node] = true;
  }
  RandomGraph out;
  out.bf16 = p.bf16;
  out.exact_reference = p.exact_reference;
  std::map<ValueRef, ValueRef> map;
  std::map<int32_t, int32_t> state;  // old input index -> new
  for (size_t i = 0; i < nodes.size(); ++i) {
    const auto at = static_cast<int32_t>(i);
    if (!live[i]) continue;
    if (nodes[i].op == &ir::kInputOp || cut.count({at, 0})) {
      for (int32_t k = 0; k < static_cast<int32_t>(nodes[i].types.size()); ++k) {
        if (nodes[i].op == &ir::kInputOp) {
          const auto index = static_cast<int32_t>(ir::get<ir::InputAttrs>(nodes[i].attrs).index);
          state[index] = static_cast<int32_t>(out.inputs.size());
          out.inputs.push_back(p.inputs[index]);
        } else {
          out.inputs.push_back(contents.at({at, k}));
        }
        map[{at, k}] = out.graph.ref(out.graph.input(nodes[i].types[k]));
      }
      continue;
    }
    ir::ValueRefs in;
    for (ValueRef r : nodes[i].inputs) in.push_back(map.at(r));
    const auto results = out.graph.append(*nodes[i].op, nodes[i].attrs, in, nodes[i].source);
    for (size_t k = 0; k < results.size(); ++k) map[{at, static_cast<int32_t>(k)}] = results[k];
  }
  for (size_t k = 0; k < outputs.size(); ++k) {
    const ir::Output& o = p.graph.outputs()[k];
    if (outputs[k]) out.graph.output(map.at(o.value), o.alias < 0 ? -1 : state.at(o.alias));
  }
  return out;
}

/// What the reference computes for every result of every node.
std::map<ValueRef, std::vector<std::byte>> all_contents(const RandomGraph& p) {
  std::vector<ValueRef> refs;
  RandomGraph whole;
  whole.inputs = p.inputs;
  ir::ValueMap map;
  whole.graph = p.graph.header(map);
  for (size_t i = 0; i < p.graph.nodes().size(); ++i) {
    const Node& n = p.graph.nodes()[i];
    const auto at = static_cast<int32_t>(i);
    if (n.op != &ir::kInputOp && n.op != &ir::kConstantOp) {
      ir::ValueRefs in;
      for (ValueRef r : n.inputs) in.push_back(map.at(r));
      const auto results = whole.graph.append(*n.op, n.attrs, in, n.source);
      for (size_t k = 0; k < results.size(); ++k) map[{at, static_cast<int32_t>(k)}] = results[k];
    }
    for (int32_t k = 0; k < static_cast<int32_t>(n.types.size()); ++k) {
      refs.push_back({at, k});
      whole.graph.output(map.at(refs.back()));
    }
  }
  const auto values = run_reference(whole);
  std::map<ValueRef, std::vector<std::byte>> out;
  for (size_t i = 0; i < refs.size(); ++i) out[refs[i]] = values[i];
  return out;
}

}  // namespace

RandomGraph shrink(const RandomGraph& program, const std::function<bool(const RandomGraph&)>& fails) {
  std::vector<bool> outputs(program.graph.outputs().size(), true);
  std::set<ValueRef> cut;
  std::map<ValueRef, std::vector<std::byte>> contents;
  auto still = [&] {
    try {
      return fails(reduced(program, outputs, cut, contents));
    } catch (const std::exception&) {
      return false;
    }
  };
  for (size_t k = 0; k < outputs.size(); ++k) {
    outputs[k] = false;
    if (!still()) outputs[k] = true;
  }
  try {
    contents = all_contents(program);
  } catch (const Error&) {
    return reduced(program, outputs, cut, contents);
  }
  for (size_t i = program.graph.nodes().size(); i-- > 0;) {
    const Node& n = program.graph.nodes()[i];
    if (n.op == &ir::kInputOp || n.op == &ir::kConstantOp) continue;
    const ValueRef r{static_cast<int32_t>(i), 0};
    cut.insert(r);
    if (!still()) cut.erase(r);
  }
  return reduced(program, outputs, cut, contents);
}

}  // namespace corten::testing
