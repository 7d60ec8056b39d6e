// Convolutions for a GPU's library, whose operands and result have one dtype.
#include "ops/functions.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

namespace corten::passes {

using ir::Graph;
using ir::Node;
using ir::Value;

Graph claim_convolutions(const Graph& graph) {
  return Rewriter(graph).run([](Rewriter& rw, const Node& n, int32_t) -> ir::ValueRefs {
    if (!n.op->claim || !n.op->name.starts_with("conv2d")) return rw.keep(n);
    Graph& g = rw.graph();
    ir::BuilderScope builder(g);
    ir::GradScope no_grad(false);
    ir::SourceScope source(n.source);
    g.phase = n.phase;
    ir::Values in;
    for (ir::ValueRef r : rw.inputs(n)) in.push_back(g.value(r));
    const DType dtype = in[0].dtype();
    if (compute_type(dtype) != DType::f32) return rw.keep(n);
    Value bias;
    if (in.size() > 2) {
      bias = ops::reshape(ops::cast(in[2], DType::f32), {1, in[2].dims()[0], 1, 1});
      in.pop_back();
    }
    // Sums that are not rounded to the operands' type at once: weight gradients, and what a bias is added to.
    if (dtype != DType::f32 && (bias || n.op->name == "conv2d_weight_grad"))
      for (Value& v : in) v = ops::cast(ops::cast(v, dtype), DType::f32);
    Value out = n.op->claim(n.attrs, in)[0];
    if (bias) out = ops::add(out, ops::expand(bias, out.dims()));
    return {g.ref(ops::cast(out, n.types[0].dtype))};
  });
}

}  // namespace corten::passes
