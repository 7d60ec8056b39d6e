#include "corten/checkpoint.h"

#include <algorithm>
#include <optional>
#include <set>
#include <unordered_set>

#include "base/format.h"
#include "corten/ops.h"
#include "grad/differentiate.h"
#include "runtime/tensor_impl.h"

namespace corten {

using ir::GradEdge;
using ir::TapeNode;
using ir::Value;
using ir::Values;

namespace {

/// What a region's ops depend on besides its operands.
struct Surroundings {
  runtime::RandomState random = runtime::random_state();
  bool autocast = is_autocast_enabled();
  DType dtype = get_autocast_dtype();
};

class SurroundingsScope {
 public:
  explicit SurroundingsScope(const Surroundings& s) : autocast_(s.autocast ? s.dtype : DType::bf16, s.autocast), stage_(ir::Stage::forward) {
    runtime::random_state() = s.random;
  }
  ~SurroundingsScope() { runtime::random_state() = saved_; }
  SurroundingsScope(const SurroundingsScope&) = delete;

 private:
  runtime::RandomState saved_ = runtime::random_state();
  Autocast autocast_;
  ir::StageScope stage_;
};

/// While a region runs again, its nodes carry a phase of their own: cse must not give it the first run's values.
class PhaseScope {
 public:
  PhaseScope() : trace_(runtime::Trace::active()) {
    if (!trace_) return;
    previous_ = trace_->graph.phase;
    trace_->graph.phase = ++trace_->phases;
  }
  ~PhaseScope() {
    if (trace_) trace_->graph.phase = previous_;
  }
  PhaseScope(const PhaseScope&) = delete;

 private:
  runtime::Trace* trace_;
  int32_t previous_ = 0;
};

/// One run of a function on leaves in place of its inputs.
struct Run {
  Values leaves, outputs;
  uint64_t start = 0;  // tape nodes of the run are younger
  Run(const Function& function, const Values& inputs) {
    start = ir::make_leaf().node->ordinal;
    std::vector<Tensor> tensors;
    for (const Value& v : inputs) {
      leaves.push_back(v.requires_grad() ? v.with_edge(ir::make_leaf()) : v);
      tensors.push_back(runtime::wrap(leaves.back()));
    }
    for (const Tensor& t : function(tensors)) outputs.push_back(runtime::value_of(t));
  }
};

/// Values from outside that the run's tape depends on, other than its inputs: captured parameters.
Values captured(const Run& run) {
  Values out;
  std::unordered_set<const TapeNode*> seen;
  for (const Value& leaf : run.leaves)
    if (leaf.requires_grad()) seen.insert(leaf->edge.node.get());
  std::vector<Value> todo = run.outputs;
  std::set<std::pair<const TapeNode*, int32_t>> taken;
  while (!todo.empty()) {
    const Value v = std::move(todo.back());
    todo.pop_back();
    if (!v.requires_grad()) continue;
    const TapeNode* node = v->edge.node.get();
    if (node->ordinal < run.start) {
      if (taken.emplace(node, v->edge.output).second) out.push_back(v);
    } else if (seen.insert(node).second) {
      todo.insert(todo.end(), node->inputs.begin(), node->inputs.end());
    }
  }
  return out;
}

}  // namespace

std::vector<Tensor> checkpoint(const Function& function, const std::vector<Tensor>& inputs) {
  if (!ir::grad_enabled()) return function(inputs);
  Values in;
  for (const Tensor& t : inputs) in.push_back(runtime::value_of(t));
  const Surroundings surroundings;
  Values outputs, outside;
  {
    const Run first(function, in);
    outputs = first.outputs;
    outside = captured(first);
  }
  const bool wanted = std::any_of(outputs.begin(), outputs.end(), [](const Value& v) { return v.requires_grad(); });
  auto node = std::make_shared<TapeNode>();
  node->inputs = in;
  node->inputs.insert(node->inputs.end(), outside.begin(), outside.end());
  node->ordinal = ir::make_leaf().node->ordinal;
  node->source = ir::current_source();
  std::vector<Tensor> out;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const bool differs = outputs[i].requires_grad();
    Value value = outputs[i].with_edge({});
    node->outputs.push_back(*value);
    out.push_back(runtime::wrap(wanted && differs ? value.with_edge({node, static_cast<int32_t>(i)}) : value));
  }
  const std::vector<ir::Type> types = [&] {
    std::vector<ir::Type> all;
    for (const Value& v : outputs) all.push_back(v.type());
    return all;
  }();
  node->rule = [function, surroundings, count = in.size(), types](const ir::Vjp& vjp) -> Values {
    if (ir::grad_enabled()) usage_error("[checkpoint] gradients of gradients of a checkpointed region are not recorded: call the function itself");
    std::optional<Run> again;
    {
      const SurroundingsScope scope(surroundings);
      const PhaseScope phase;
      const ir::GradScope recording(true);
      again.emplace(function, Values(vjp.inputs.begin(), vjp.inputs.begin() + static_cast<ptrdiff_t>(count)));
    }
    if (again->outputs.size() != types.size())
      usage_error("[checkpoint] the region returned {} tensors when it ran again, {} before", again->outputs.size(), types.size());
    Values results, seeds;
    for (size_t i = 0; i < types.size(); ++i) {
      if (again->outputs[i].type() != types[i])
        usage_error("[checkpoint] result {} of the region is {} when it runs again, {} before", i, to_string(again->outputs[i].type()), to_string(types[i]));
      if (!again->outputs[i].requires_grad() || !vjp.grads[i]) continue;
      results.push_back(again->outputs[i]);
      seeds.push_back(vjp.grads[i]);
    }
    std::vector<GradEdge> wrt;
    for (size_t i = 0; i < vjp.inputs.size(); ++i) wrt.push_back(i < count ? again->leaves[i]->edge : vjp.inputs[i]->edge);
    std::vector<GradEdge> there;
    for (const GradEdge& edge : wrt)
      if (edge) there.push_back(edge);
    const Values found = autodiff::gradients(results, seeds, there, false, false);
    Values out(wrt.size());
    for (size_t i = 0, k = 0; i < wrt.size(); ++i)
      if (wrt[i]) out[i] = found[k++];
    return out;
  };
  return out;
}

Tensor checkpoint(const std::function<Tensor(const Tensor&)>& function, const Tensor& input) {
  return checkpoint([function](const std::vector<Tensor>& in) { return std::vector{function(in[0])}; }, std::vector{input})[0];
}

}  // namespace corten
