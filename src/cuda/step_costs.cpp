#include "cuda/step_costs.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/format.h"
#include "cuda/convolutions.h"

namespace corten::cuda {

using ir::Node;
using ir::ValueRef;
using kernel::Storage;

namespace {

class Costs {
 public:
  Costs(const kernel::Partition& p, const StepKernels& kernels)
      : p_(p), graph_(*p.graph), kernels_(kernels) {
    for (const ir::Output& o : graph_.outputs())
      if (o.alias >= 0) new_state_.insert(p.places[o.value].root);
  }

  StepCost of(const GpuStep& step) const { return step.library >= 0 ? library(step) : kernel(step); }

 private:
  StepCost library(const GpuStep& step) const {
    const int32_t index = p_.steps[static_cast<size_t>(step.library)].members[0];
    const Node& n = graph_.nodes()[static_cast<size_t>(index)];
    StepCost cost;
    cost.what = format("{} {}", n.op->name, to_string(n.types[0]));
    for (ValueRef r : n.inputs) cost.bytes += graph_.type(r).bytes();
    for (const ir::Type& t : n.types) cost.bytes += t.bytes();
    cost.dtype = n.inputs.empty() ? n.types[0].dtype : graph_.type(n.inputs[0]).dtype;
    const std::string_view name = n.op->name;
    const bool product = name.starts_with("gemm") || name == "scaled_matmul";
    if (name.find("attention") != name.npos) {
      cost.flops = attention_flops(n, name.find("grad") != name.npos);
    } else if (product) {
      const ir::Dims& a = graph_.type(n.inputs[0]).dims;
      cost.flops = 2.0 * static_cast<double>(n.types[0].elements()) *
                   static_cast<double>(a.empty() ? 0 : a.back());
    } else if (const auto convolution = planned_convolution(graph_, n)) {
      cost.flops = convolution->flops();
      cost.family = format("convolutions, {}", backward(n) ? "backward" : "forward");
      return cost;
    }
    // Weights have no batch: products that have one are attention's.
    int64_t batch = 1;
    for (size_t d = 0; d + 2 < n.types[0].dims.size(); ++d) batch *= n.types[0].dims[d];
    cost.family = !product || batch > 1 ? std::string("attention")
                                        : format("products, {}", backward(n) ? "backward" : "forward");
    return cost;
  }

  // Two products, or four for the gradients; weights that are computed again do not count.
  double attention_flops(const Node& n, bool gradients) const {
    const ir::Type &q = graph_.type(n.inputs[0]), &k = graph_.type(n.inputs[1]);
    const auto queries = static_cast<double>(q.dims[q.dims.size() - 2]),
               keys = static_cast<double>(k.dims[k.dims.size() - 2]);
    const bool causal = ir::attribute<bool>(n.attrs, "causal");
    const double seen = causal ? keys - (queries - 1) / 2 : keys;
    return (gradients ? 8.0 : 4.0) * static_cast<double>(q.elements()) * std::max(seen, 0.0);
  }

  static bool backward(const Node& n) {
    return n.phase != 0 || n.source.stage != ir::Stage::forward;
  }

  StepCost kernel(const GpuStep& step) const {
    StepCost cost;
    cost.launches = static_cast<int64_t>(step.launches.size());
    bool state = false, four = false, all_small = true;
    for (const GpuLaunch& l : step.launches) {
      const kernel::LoweredKernel& k = kernels_.kernels[static_cast<size_t>(l.kernel)];
      cost.bytes += launch_bytes(k, l.launch);
      for (size_t i = 0; i < k.operands.size(); ++i) {
        const Storage& s = k.operands[i];
        state |= k.kernel.operands[i].written && !s.partial && new_state_.count(s.root) > 0;
        four |= !s.partial && graph_.type(s.root).dims.size() >= 4;
        all_small &= !s.partial && graph_.type(s.root).elements() <= 1;
      }
    }
    const auto first = static_cast<size_t>(step.launches[0].kernel);
    const kernel::Step& of = p_.steps[static_cast<size_t>(kernels_.steps_of[first])];
    std::set<std::string_view> ops;
    const Node* last = nullptr;
    bool updates = false, differentiates = false;
    for (int32_t m : of.members) {
      const Node& n = graph_.nodes()[static_cast<size_t>(m)];
      ops.insert(n.op->name);
      last = &n;
      updates |= n.source.stage == ir::Stage::update;
      differentiates |= backward(n);
    }
    std::string names;
    for (std::string_view op : ops) names += format("{}{}", names.empty() ? "" : ", ", op);
    cost.what = format("{} -> {}", names, last ? to_string(last->types[0]) : "");
    const ir::Kernel& body = kernels_.kernels[first].kernel;
    if (all_small)
      cost.family = "single numbers";
    else if (updates)
      cost.family = state ? "update" : "norm of gradients";
    else if (body.form == ir::KernelForm::scatter)
      cost.family = "gradients of tables";
    else if (four)
      cost.family = "attention";
    else if (body.form == ir::KernelForm::columns || of.finish)
      cost.family = "sums of columns";
    else if (ops == std::set<std::string_view>{"cast"})
      cost.family = "casts";
    else
      cost.family = format("{}, {}", reduces(body) ? "rows" : "elements",
                           differentiates ? "backward" : "forward");
    return cost;
  }

  static bool reduces(const ir::Kernel& k) {
    return std::any_of(k.body.nodes().begin(), k.body.nodes().end(), [](const ir::ScalarNode& n) {
      return n.op == ir::ScalarOp::reduce_sum || n.op == ir::ScalarOp::reduce_max ||
             n.op == ir::ScalarOp::reduce_min;
    });
  }

  // An operand's elements that all accesses together can reach, each once.
  int64_t launch_bytes(const kernel::LoweredKernel& k, const ir::Launch& launch) const {
    int64_t points = 1;
    for (int d = 0; d < k.kernel.outer_rank; ++d) points *= launch.outer[d];
    std::vector<int64_t> touched(k.operands.size(), 0);
    for (size_t a = 0; a < k.kernel.accesses.size(); ++a) {
      const ir::Access& access = k.kernel.accesses[a];
      if (access.operand < 0) continue;
      const ir::Launch::Access& at = launch.accesses[a];
      int64_t elements = access.inner == ir::InnerStride::zero ? 1 : launch.inner;
      if (access.index >= 0) {
        elements *= points;
      } else {
        for (int d = 0; d < k.kernel.outer_rank; ++d)
          if (at.strides[d] != 0) elements *= launch.outer[d];
      }
      touched[static_cast<size_t>(access.operand)] += elements;
    }
    int64_t bytes = 0;
    for (size_t i = 0; i < k.operands.size(); ++i) {
      const Storage& s = k.operands[i];
      const ir::Type type =
          s.partial ? kernel::partial_type(graph_, s.root.node) : graph_.type(s.root);
      bytes += std::min(touched[i], type.elements()) * static_cast<int64_t>(size_of(type.dtype));
    }
    return bytes;
  }

  const kernel::Partition& p_;
  const ir::Graph& graph_;
  const StepKernels& kernels_;
  std::set<ValueRef> new_state_;
};

}  // namespace

std::vector<StepCost> step_costs(const kernel::Partition& partition, const StepKernels& kernels) {
  const Costs costs(partition, kernels);
  std::vector<StepCost> out;
  for (const GpuStep& step : kernels.steps) out.push_back(costs.of(step));
  return out;
}

double floor_seconds(const StepCost& cost, const Ceilings& ceilings) {
  const double moved = ceilings.bandwidth > 0 ? static_cast<double>(cost.bytes) / ceilings.bandwidth : 0;
  const double peak = size_of(cost.dtype) == 2 ? ceilings.half : ceilings.single;
  return std::max(moved, peak > 0 ? cost.flops / peak : 0);
}

std::vector<FamilyCost> family_costs(const std::vector<StepCost>& costs, const Ceilings& ceilings) {
  std::map<std::string, FamilyCost> sums;
  for (const StepCost& c : costs) {
    FamilyCost& f = sums[c.family];
    f.family = c.family;
    ++f.steps;
    f.launches += c.launches;
    f.bytes += c.bytes;
    f.flops += c.flops;
    f.floor_seconds += floor_seconds(c, ceilings);
  }
  std::vector<FamilyCost> out;
  for (auto& [name, sum] : sums) out.push_back(std::move(sum));
  std::stable_sort(out.begin(), out.end(), [](const FamilyCost& a, const FamilyCost& b) {
    return a.floor_seconds > b.floor_seconds;
  });
  return out;
}

}  // namespace corten::cuda
