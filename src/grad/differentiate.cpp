#include "grad/differentiate.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "ir/placement.h"
#include "ops/define.h"

namespace corten::autodiff {
namespace {

using ir::GradEdge;
using ir::TapeNode;
using ir::Value;
using ir::Values;
using NodePtr = std::shared_ptr<TapeNode>;

/// All tape nodes behind the outputs, oldest first.
std::vector<NodePtr> reachable(const Values& outputs) {
  std::vector<NodePtr> found, todo;
  std::unordered_set<const TapeNode*> seen;
  auto visit = [&](const GradEdge& edge) {
    if (edge && seen.insert(edge.node.get()).second) todo.push_back(edge.node);
  };
  for (const Value& v : outputs) visit(v->edge);
  while (!todo.empty()) {
    NodePtr node = std::move(todo.back());
    todo.pop_back();
    for (const Value& input : node->inputs) visit(input->edge);
    found.push_back(std::move(node));
  }
  std::sort(found.begin(), found.end(), [](const NodePtr& a, const NodePtr& b) { return a->ordinal < b->ordinal; });
  return found;
}

}  // namespace

std::vector<GradEdge> leaves(const Values& outputs) {
  std::vector<GradEdge> out;
  for (NodePtr& node : reachable(outputs))
    if (node->leaf()) out.push_back({node, 0});
  return out;
}

Values gradients(const Values& outputs, const Values& seeds, const std::vector<GradEdge>& wrt, bool create_graph, bool through) {
  ir::GradScope recording(create_graph);
  ir::StageScope stage(ir::Stage::backward);
  std::vector<NodePtr> nodes = reachable(outputs);
  auto asked_for = [&](const NodePtr& node) { return std::any_of(wrt.begin(), wrt.end(), [&](const GradEdge& e) { return e.node == node; }); };
  std::unordered_set<const TapeNode*> wanted;  // nodes on a path to wrt
  for (const GradEdge& edge : wrt) wanted.insert(edge.node.get());
  for (const NodePtr& node : nodes)
    for (const Value& input : node->inputs)
      if (wanted.count(input->edge.node.get())) {
        wanted.insert(node.get());
        break;
      }
  std::unordered_map<const TapeNode*, Values> adjoints;
  auto add = [&](const GradEdge& edge, const Value& g) {
    Values& slots = adjoints[edge.node.get()];
    slots.resize(std::max<size_t>(slots.size(), edge.output + 1));
    Value& slot = slots[edge.output];
    slot = slot ? ops::add(slot, g) : g;
  };
  for (size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i]->edge) add(outputs[i]->edge, seeds[i]);

  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    const NodePtr& node = *it;
    auto found = adjoints.find(node.get());
    if (node->leaf() || found == adjoints.end() || !wanted.count(node.get()) || (!through && asked_for(node))) continue;
    Values grads = found->second, results;
    grads.resize(node->outputs.size());
    for (size_t i = 0; i < node->outputs.size(); ++i) results.push_back(node->output(static_cast<int32_t>(i), node));
    std::vector<bool> needed;
    for (const Value& input : node->inputs) needed.push_back(wanted.count(input->edge.node.get()) > 0);
    // Rules of single-result ops may rely on grads[0]; the others get zeros for results that do not matter.
    for (size_t i = 0; i < grads.size(); ++i)
      if (!grads[i]) grads[i] = ops::full_like(results[i], 0);
    ir::SourceScope source({node->source.file, node->source.line, ir::Stage::backward});
    const ir::PlacementScope place(results.empty() ? Value() : results[0]);
    // A rule that takes the sum so far returns the new one.
    const auto take_sum = [&](size_t i) {
      const GradEdge& edge = node->inputs[i]->edge;
      auto slots = adjoints.find(edge.node.get());
      if (slots == adjoints.end() || static_cast<size_t>(edge.output) >= slots->second.size()) return Value();
      return std::exchange(slots->second[edge.output], Value());
    };
    ir::Vjp vjp{node->inputs, results, grads, needed, take_sum};
    Values input_grads = node->rule ? node->rule(vjp) : node->op->vjp ? node->op->vjp(node->attrs, vjp) : ops::derived_vjp(*node->op, node->attrs, vjp);
    for (size_t i = 0; i < node->inputs.size(); ++i)
      if (needed[i] && i < input_grads.size() && input_grads[i]) add(node->inputs[i]->edge, input_grads[i]);
    // Values in the middle that were asked for keep their adjoint; the rest is let go.
    if (!asked_for(node)) adjoints.erase(node.get());
  }
  Values out;
  for (const GradEdge& edge : wrt) {
    auto found = adjoints.find(edge.node.get());
    bool there = found != adjoints.end() && static_cast<size_t>(edge.output) < found->second.size();
    out.push_back(there ? found->second[edge.output] : Value());
  }
  return out;
}

}  // namespace corten::autodiff

namespace corten::ops {
namespace {

/// Gradient of a composite by differentiating its expansion. Inputs: the composite's inputs, then one gradient per result.
struct DerivedVjp : Composite {
  static constexpr auto name = "vjp";
  static constexpr int arity = -1;
  struct Attrs {
    std::string op, attrs;
    int64_t inputs = 0;
    Dims needed;  // inputs whose gradients are the results
    CORTEN_FIELDS(op, attrs, inputs, needed)
  };
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    std::vector<Type> out;
    for (int64_t i : a.needed) out.push_back(in.at(i));
    return out;
  }
  static Values expand(const Attrs& a, const Values& in) {
    const Op* op = ir::find_op(a.op);
    Values inputs(in.begin(), in.begin() + a.inputs), seeds(in.begin() + a.inputs, in.end()), outputs;
    std::vector<ir::GradEdge> wrt;
    for (int64_t i : a.needed) {
      // While this expansion is itself differentiated, its inputs are leaves already: they stay connected.
      if (!inputs[i].requires_grad()) inputs[i] = inputs[i].with_edge(ir::make_leaf());
      wrt.push_back(inputs[i]->edge);
    }
    {
      ir::GradScope recording(true);
      outputs = op->expand(op->parse_attrs(a.attrs), inputs);
    }
    Values grads = autodiff::gradients(outputs, seeds, wrt, ir::grad_enabled());
    for (size_t i = 0; i < grads.size(); ++i)
      if (!grads[i]) grads[i] = full_like(in[a.needed[i]], 0);
    return grads;
  }
};

}  // namespace

CORTEN_OP(DerivedVjp)

Values derived_vjp(const Op& op, const AttrsPtr& attrs, const Vjp& vjp) {
  DerivedVjp::Attrs a{std::string(op.name), attrs->text(), static_cast<int64_t>(vjp.inputs.size()), {}};
  for (size_t i = 0; i < vjp.inputs.size(); ++i)
    if (vjp.needed[i]) a.needed.push_back(static_cast<int64_t>(i));
  Values in = vjp.inputs;
  in.insert(in.end(), vjp.grads.begin(), vjp.grads.end());
  Values some = ir::emit(kDerivedVjp, ir::make_attrs(a), in), out(vjp.inputs.size());
  for (size_t i = 0; i < some.size(); ++i) out[a.needed[i]] = some[i];
  return out;
}

}  // namespace corten::ops
