#include "cuda/product_biases.h"

#include <map>

#include "kernel/partition.h"
#include "ops/functions.h"
#include "passes/rewrite.h"

namespace corten::cuda {

using ir::Graph;
using ir::Node;
using ir::ValueRef;

namespace {

// The library reads a bias like its other operands, from multiples of 16 bytes.
constexpr int64_t kBiasAlignment = 16;

struct Biased {
  int32_t product = -1;
  ValueRef bias;  // [n] or [1, n]
};

// By addition: the product of one use and the bias along its rows that it adds.
std::map<int32_t, Biased> find(const Graph& graph) {
  const auto uses = passes::count_uses(graph);
  std::map<int32_t, Biased> out;
  int32_t last_overwriting = -1;
  for (int32_t i = 0; i < static_cast<int32_t>(graph.nodes().size()); ++i) {
    const Node& n = graph.nodes()[static_cast<size_t>(i)];
    if (n.op->in_place >= 0) last_overwriting = i;
    if (n.op->name != "add" || n.types[0].dtype != DType::f32) continue;
    for (size_t side : {0u, 1u}) {
      const int32_t at = n.inputs[side].node;
      const Node &p = graph.nodes()[static_cast<size_t>(at)], &b = graph.node(n.inputs[1 - side]);
      if (p.op->name != "gemm" || p.inputs.size() != 2 || p.types[0].rank() != 2 ||
          p.types[0].elements() == 0 || uses[static_cast<size_t>(at)][0] != 1 ||
          graph.type(p.inputs[0]).dims.back() == 0 || b.op->name != "expand")
        continue;
      const ir::Type& source = graph.type(b.inputs[0]);
      if (source.elements() != p.types[0].dims.back() || source.dims.back() != source.elements())
        continue;
      // The product is made where the addition was: what it reads must be the same there.
      if (last_overwriting > at) continue;
      out[i] = {at, b.inputs[0]};
      break;
    }
  }
  return out;
}

}  // namespace

std::optional<Graph> absorb_biases(const Graph& graph) {
  std::map<int32_t, Biased> found = find(graph);
  if (found.empty()) return std::nullopt;
  const kernel::Partition partition = kernel::partition(graph, true);
  std::map<int32_t, int32_t> products;  // that go to an addition
  std::erase_if(found, [&](const auto& entry) {
    const passes::Place& bias = partition.places[entry.second.bias];
    const bool apart = !partition.stored.count(partition.places[{entry.first, 0}].root) ||
                       bias.layout.strides.back() != 1 ||
                       partition.virtual_roots.count(bias.root) ||
                       bias.layout.offset * 4 % kBiasAlignment != 0;
    if (!apart) products[entry.second.product] = entry.first;
    return apart;
  });
  if (found.empty()) return std::nullopt;
  return passes::Rewriter(graph).run(
      [&](passes::Rewriter& rw, const Node& n, int32_t i) -> ir::ValueRefs {
        if (products.count(i)) return {};
        const auto entry = found.find(i);
        if (entry == found.end()) return rw.keep(n);
        const Node& p = graph.nodes()[static_cast<size_t>(entry->second.product)];
        Graph& g = rw.graph();
        ir::BuilderScope builder(g);
        ir::GradScope no_grad(false);
        ir::SourceScope source(p.source);
        g.phase = p.phase;
        ir::Value bias = g.value(rw.at(entry->second.bias));
        if (bias.rank() != 1) bias = ops::reshape(bias, {n.types[0].dims.back()});
        return {g.ref(
            ops::gemm(g.value(rw.at(p.inputs[0])), g.value(rw.at(p.inputs[1])), bias, DType::f32))};
      });
}

}  // namespace corten::cuda
