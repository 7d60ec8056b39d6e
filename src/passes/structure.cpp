// claim and materialize: from primitives to what kernels and kernel families can execute.
#include <algorithm>
#include <map>
#include <set>

#include "base/format.h"
#include "ops/functions.h"
#include "ops/view_layout.h"
#include "passes/passes.h"
#include "passes/place.h"
#include "passes/rewrite.h"

namespace corten::passes {
namespace {

using ir::Graph;
using ir::Node;
using ir::OpKind;
using ir::Value;
using ir::ValueRef;

/// Appends ops by function to a graph.
template <typename F>
ValueRef append(Graph& graph, const Node& like, F&& make) {
  ir::BuilderScope builder(graph);
  ir::GradScope no_grad(false);
  ir::SourceScope source(like.source);
  graph.phase = like.phase;
  return graph.ref(make());
}

struct Claim {
  ValueRef product;  // the matmul
  ValueRef bias{-1, 0};  // broadcast operand of the add
};

}  // namespace

Graph claim(const Graph& graph) {
  auto uses = count_uses(graph);
  auto single = [&](ValueRef r) { return uses[r.node][r.output] == 1; };
  // add(matmul, expanded bias), the product used nowhere else.
  auto biased = [&](ValueRef r) -> std::optional<Claim> {
    const Node& add = graph.node(r);
    if (add.op->name != "add") return std::nullopt;
    for (int side : {0, 1}) {
      ValueRef product = add.inputs[side], bias = add.inputs[1 - side];
      const Node &p = graph.node(product), &b = graph.node(bias);
      if (p.op->kind != OpKind::matmul || !single(product) || b.op->name != "expand") continue;
      DType wide = compute_type(graph.type(p.inputs[0]).dtype);
      if (wide != DType::f32 || p.types[0].dtype != wide) continue;
      const ir::Type& source = graph.type(b.inputs[0]);
      if (source.elements() == p.types[0].dims.back() && source.dims.back() == source.elements()) return Claim{product, b.inputs[0]};
    }
    return std::nullopt;
  };
  return Rewriter(graph).run([&](Rewriter& rw, const Node& n, int32_t i) -> ir::ValueRefs {
    std::optional<Claim> found;
    if (n.op->kind == OpKind::matmul) found = Claim{{i, 0}};
    else if (n.op->name == "cast" && single(n.inputs[0]) && compute_type(n.types[0].dtype) == DType::f32) found = biased(n.inputs[0]);
    else found = biased({i, 0});
    if (!found) return rw.keep(n);
    const Node& p = graph.node(found->product);
    return {append(rw.graph(), n, [&] {
      Graph& g = rw.graph();
      Value bias;
      if (found->bias.node >= 0) bias = ops::reshape(g.value(rw.at(found->bias)), {n.types[0].dims.back()});
      return ops::gemm(g.value(rw.at(p.inputs[0])), g.value(rw.at(p.inputs[1])), bias, n.types[0].dtype);
    })};
  });
}

Graph claim_products(const Graph& graph) {
  return Rewriter(graph).run([&](Rewriter& rw, const Node& n, int32_t) -> ir::ValueRefs {
    if (n.op->kind != OpKind::matmul) return rw.keep(n);
    return {append(rw.graph(), n, [&] {
      Graph& g = rw.graph();
      return ops::gemm(g.value(rw.at(n.inputs[0])), g.value(rw.at(n.inputs[1])), {}, n.types[0].dtype);
    })};
  });
}

namespace {

/// What a family reads, by operand of a node.
using Accepts = bool (*)(const Node& node, size_t index, const ir::Type& type, const ir::Layout& layout);

bool any_family_accepts(const Node& n, size_t index, const ir::Type& type, const ir::Layout& layout) {
  return n.op->accepts(n.attrs, index, type.dims, layout);
}
bool gpu_accepts(const Node& n, size_t index, const ir::Type& type, const ir::Layout& layout) {
  constexpr int64_t kAlignment = 16;
  if (!any_family_accepts(n, index, type, layout)) return false;
  return !n.op->name.starts_with("convolution") ||
         (ir::is_contiguous(layout, type.dims) && layout.offset * static_cast<int64_t>(size_of(type.dtype)) % kAlignment == 0);
}

Graph materialize(const Graph& graph, Accepts accepts) {
  Places places;
  std::map<ValueRef, ValueRef> copies;  // of whole values, made once
  auto uses = count_uses(graph);
  std::set<ValueRef> overwritten;       // roots that a scatter may write in place only once
  Rewriter rewriter(graph);
  auto sync = [&places, placed = int32_t{0}](Graph& g) mutable {
    for (; placed < static_cast<int32_t>(g.nodes().size()); ++placed)
      if (!places.add(g, placed)) internal_error("materialize left a view that strides cannot express");
  };
  auto copy = [&](Graph& g, const Node& like, ValueRef r) {
    auto found = copies.find(r);
    if (found != copies.end()) return found->second;
    ValueRef c = append(g, like, [&] { return ops::copy(g.value(r)); });
    sync(g);
    return copies[r] = c;
  };
  auto owns_storage = [](const Graph& g, ValueRef r) {
    OpKind kind = g.node(r).op->kind;
    return kind != OpKind::full && kind != OpKind::iota;
  };
  // The operand that an op writes over is its last use: a value made here, or state whose new value this is. Else a copy.
  auto take_over = [&](Rewriter& rw, const Node& n, int32_t i, ir::ValueRefs& in) {
    Graph& g = rw.graph();
    const int index = n.op->in_place;
    const ValueRef base = in[index];
    ValueRef old = n.inputs[index], root = places[base].root;
    const Node& maker = g.node(root);
    const bool single = uses[old.node][old.output] == 1;
    if (single && g.node(base).op->in_place >= 0) return;  // its maker owns the memory already
    bool last_use = base == root && single && owns_storage(g, root) && !overwritten.count(root);
    if (maker.op == &ir::kConstantOp) last_use = false;
    if (maker.op == &ir::kInputOp) {
      last_use = false;
      int64_t state = ir::get<ir::InputAttrs>(maker.attrs).index;
      for (const ir::Output& o : graph.outputs())
        if (o.alias == state && o.value == ValueRef{i, 0} && base == root) {
          last_use = !overwritten.count(root);
          for (size_t later = i + 1; later < graph.nodes().size() && last_use; ++later)
            for (ValueRef r : graph.nodes()[later].inputs)
              if (rw.old().nodes()[r.node].op == &ir::kInputOp && r == old) last_use = false;
          // Views of the state read later would see the new value, and so would results that are the old one.
          for (const ir::Output& result : graph.outputs()) last_use &= result.value != old;
          for (size_t v = 0; v < graph.nodes().size() && last_use; ++v)
            if (graph.nodes()[v].op->kind == OpKind::view && graph.nodes()[v].inputs[0] == old) last_use = false;
        }
    }
    if (!last_use) in[index] = append(g, n, [&] { return ops::copy(g.value(base)); });
    else overwritten.insert(root);
  };
  Graph out = rewriter.run([&](Rewriter& rw, const Node& n, int32_t i) -> ir::ValueRefs {
    Graph& g = rw.graph();
    sync(g);
    ir::ValueRefs in = rw.inputs(n);
    if (n.op->kind == OpKind::view) {
      if (!ops::view_layout(*n.op, n.attrs, g.type(in[0]).dims, places[in[0]].layout)) in[0] = copy(g, n, in[0]);
    } else if (n.op->kind == OpKind::library) {
      for (size_t k = 0; k < in.size(); ++k) {
        const Place& p = places[in[k]];
        if (static_cast<int>(k) == n.op->in_place) continue;
        if (!owns_storage(g, p.root) || !accepts(n, k, g.type(in[k]), p.layout)) in[k] = copy(g, n, in[k]);
      }
      if (n.op->in_place >= 0) take_over(rw, n, i, in);
    } else if (n.op->kind == OpKind::pad || n.op->kind == OpKind::gather) {
      if (!owns_storage(g, places[in[0]].root)) in[0] = copy(g, n, in[0]);
    } else if (n.op->kind == OpKind::scatter) {
      take_over(rw, n, i, in);
    }
    auto results = g.append(n, std::move(in));
    sync(g);
    return results;
  });
  sync(out);
  // Every output is storage of its own, from its start.
  std::set<ValueRef> taken;
  for (size_t k = 0; k < out.outputs().size(); ++k) {
    const ir::Output o = out.outputs()[k];
    const Place& p = places[o.value];
    const Node& maker = out.node(p.root);
    bool state = maker.op == &ir::kInputOp;
    bool whole = owns_storage(out, p.root) && p.layout.offset == 0 && ir::is_contiguous(p.layout, out.type(o.value).dims) &&
                 out.type(o.value).elements() == out.type(p.root).elements();
    bool own = whole && !taken.count(p.root) && maker.op != &ir::kConstantOp &&
               (!state || (o.alias >= 0 && o.alias == ir::get<ir::InputAttrs>(maker.attrs).index));
    ValueRef value = o.value;
    if (!own) {
      value = append(out, out.node(o.value), [&] { return ops::copy(out.value(o.value)); });
      sync(out);
      out.set_output(k, value);
    }
    taken.insert(places[value].root);
  }
  return out;
}

}  // namespace

Graph materialize(const Graph& graph) { return materialize(graph, any_family_accepts); }
Graph materialize_for_gpu(const Graph& graph) { return materialize(graph, gpu_accepts); }

}  // namespace corten::passes
