// absorb: products round float32 operands themselves instead of reading a stored bf16 copy.
#include <algorithm>
#include <set>

#include "ops/view_layout.h"
#include "passes/passes.h"
#include "passes/place.h"
#include "passes/rewrite.h"

namespace corten::passes {
namespace {

using ir::Graph;
using ir::Node;
using ir::OpKind;
using ir::ValueRef;

bool is_product(const Node& n) { return n.op->name == "gemm" || n.op->name == "gemm_continue"; }

class Absorb {
 public:
  explicit Absorb(const Graph& graph) : graph_(graph), users_(graph.nodes().size()), output_(graph.nodes().size()) {
    const auto count = static_cast<int32_t>(graph.nodes().size());
    for (int32_t i = 0; i < count; ++i) {
      const Node& n = graph.nodes()[i];
      for (ValueRef r : n.inputs) users_[r.node].push_back(i);
      if (n.op->in_place >= 0) written_over_.insert(n.inputs[n.op->in_place]);
    }
    for (const ir::Output& o : graph.outputs()) output_[o.value.node] = true;
  }

  Graph run() {
    for (int32_t i = 0; i < static_cast<int32_t>(graph_.nodes().size()); ++i)
      if (graph_.nodes()[i].op->name == "cast") consider(i);
    if (absorbed_.empty()) return graph_;
    std::set<int32_t> wide;  // views of absorbed casts
    return Rewriter(graph_).run([&](Rewriter& rw, const Node& n, int32_t i) -> ir::ValueRefs {
      if (absorbed_.count(i)) {
        wide.insert(i);
        return {rw.at(n.inputs[0])};
      }
      if (n.op->kind != OpKind::view || !wide.count(n.inputs[0].node)) return rw.keep(n);
      wide.insert(i);
      return rw.graph().append(*n.op, n.attrs, rw.inputs(n), n.source, n.phase);  // of the other dtype
    });
  }

 private:
  /// The value whose storage a value is a contiguous part of, or nothing.
  std::optional<ValueRef> contiguous_root(ValueRef r) const {
    while (graph_.node(r).op->kind == OpKind::view) {
      const Node& n = graph_.node(r);
      const ir::Dims& dims = graph_.type(n.inputs[0]).dims;
      const auto layout = ops::view_layout(*n.op, n.attrs, dims, {0, ir::contiguous_strides(dims)});
      if (!layout || !ir::is_contiguous(*layout, n.types[0].dims)) return std::nullopt;
      r = n.inputs[0];
    }
    return r;
  }

  /// Whether float32 values are in memory up to and including node `last` without this pass.
  bool lives(ValueRef root, int32_t last) const {
    const Node& maker = graph_.node(root);
    if (maker.op == &ir::kConstantOp) return true;
    if (written_over_.count(root)) return false;
    if (maker.op != &ir::kInputOp) return maker.op->in_place < 0 && output_[root.node];
    const int64_t state = ir::get<ir::InputAttrs>(maker.attrs).index;
    if (const auto& layout = graph_.input_layouts()[state]; layout && !ir::is_contiguous(*layout, graph_.type(root).dims)) return false;
    // Products behind the new value of a state would keep it from being written over the old one.
    return std::none_of(graph_.outputs().begin(), graph_.outputs().end(),
                        [&](const ir::Output& o) { return o.alias == state && o.value.node <= last; });
  }

  /// The products that read node `i`, if nothing else does.
  bool products(int32_t i, std::vector<int32_t>& out) const {
    if (output_[i]) return false;
    for (int32_t user : users_[i]) {
      const Node& n = graph_.nodes()[user];
      if (n.op->kind == OpKind::view) {
        if (!products(user, out)) return false;
      } else if (is_product(n) && std::none_of(n.inputs.begin() + 2, n.inputs.end(), [&](ValueRef r) { return r.node == i; })) {
        out.push_back(user);
      } else {
        return false;
      }
    }
    return true;
  }

  void consider(int32_t i) {
    const Node& n = graph_.nodes()[i];
    if (n.types[0].dtype != DType::bf16 || graph_.type(n.inputs[0]).dtype != DType::f32) return;
    std::vector<int32_t> readers;
    if (!products(i, readers) || readers.empty()) return;
    // One operand of a product: two would be an f32 product.
    std::sort(readers.begin(), readers.end());
    if (std::adjacent_find(readers.begin(), readers.end()) != readers.end()) return;
    if (std::any_of(readers.begin(), readers.end(), [&](int32_t r) { return half_wide_.count(r) > 0; })) return;
    const auto root = contiguous_root(n.inputs[0]);
    if (!root || !lives(*root, readers.back())) return;
    absorbed_.insert(i);
    half_wide_.insert(readers.begin(), readers.end());
  }

  const Graph& graph_;
  std::vector<std::vector<int32_t>> users_;  // of each node, once per operand
  std::vector<bool> output_;
  std::set<ValueRef> written_over_;
  std::set<int32_t> absorbed_;   // casts
  std::set<int32_t> half_wide_;  // products with an f32 operand
};

}  // namespace

Graph absorb(const Graph& graph) { return Absorb(graph).run(); }

}  // namespace corten::passes
