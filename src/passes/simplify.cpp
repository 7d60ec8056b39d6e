// fold, cse, dce and expand.
#include <algorithm>
#include <bit>
#include <cmath>
#include <unordered_map>

#include "base/format.h"
#include "ops/functions.h"
#include "ops/view_layout.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

namespace corten::passes {
namespace {

using ir::Graph;
using ir::Node;
using ir::OpKind;
using ir::Value;
using ir::ValueRef;

/// The number that every element of a `full` node has, or nothing.
std::optional<double> number(const Graph& graph, ValueRef r) {
  const Node& n = graph.node(r);
  if (n.op->kind != OpKind::full) return std::nullopt;
  return ops::full_value(n.attrs);
}

/// What a tensor of `dtype` holds when it is filled with `value`, as the kernels' conversion of constants gives it.
double stored(DType dtype, double value) {
  ir::Body body;
  ir::ScalarNode round = body.node(ir::round_to(dtype, body.constant(ir::scalar_type(dtype), value)).id);
  ir::ScalarValue v = is_floating(dtype) ? ir::ScalarValue{dtype == DType::f64 ? value : static_cast<float>(value), 0}
                                         : ir::ScalarValue{0, static_cast<int64_t>(value)};
  if (round.op == ir::ScalarOp::constant) return is_floating(dtype) ? v.f : static_cast<double>(v.i);
  std::vector<ir::ScalarValue> args{v};
  if (ir::arity(round.op) == 2) args.push_back({0, body.node(round.arg[1]).imm});
  v = ir::eval(round, ir::scalar_type(dtype), args, ir::Precision::exact);
  return is_floating(dtype) ? v.f : static_cast<double>(v.i);
}

/// Element-wise op of constants: evaluated by the scalar interpreter, to the bit what a kernel would give.
std::optional<double> evaluate(const Node& n, const std::vector<double>& args, const std::vector<DType>& dtypes) {
  ir::Body body;
  std::vector<ir::Expr> in;
  for (size_t i = 0; i < args.size(); ++i) {
    DType type = ir::scalar_type(dtypes[i]);
    double v = stored(dtypes[i], args[i]);
    in.push_back(is_floating(type) ? body.constant(type, v) : body.constant_int(type, static_cast<int64_t>(v)));
  }
  ir::Expr out = ir::round_to(n.types[0].dtype, n.op->body(n.attrs, in));
  std::vector<ir::ScalarValue> values(body.nodes().size());
  for (size_t i = 0; i < body.nodes().size(); ++i) {
    const ir::ScalarNode& s = body.node(static_cast<int32_t>(i));
    if (s.op == ir::ScalarOp::constant) {
      if (s.type == DType::f32) values[i].f = std::bit_cast<float>(static_cast<uint32_t>(s.imm));
      else if (s.type == DType::f64) values[i].f = std::bit_cast<double>(s.imm);
      else values[i].i = s.imm;
      continue;
    }
    std::vector<ir::ScalarValue> operands;
    for (int k = 0; k < ir::arity(s.op); ++k) operands.push_back(values[s.arg[k]]);
    values[i] = ir::eval(s, body.node(s.arg[0]).type, operands, ir::Precision::exact);
  }
  const ir::ScalarValue& v = values[out.id];
  if (is_floating(out.type())) return v.f;
  // Integers beyond 2^53 do not fit the attribute.
  if (std::abs(v.i) > int64_t{1} << 53) return std::nullopt;
  return static_cast<double>(v.i);
}

ValueRef emit_in(Graph& graph, const Node& like, const std::function<Value()>& make) {
  ir::BuilderScope builder(graph);
  ir::GradScope no_grad(false);
  ir::SourceScope source(like.source);
  graph.phase = like.phase;
  return graph.ref(make());
}

std::string view_text(const Node& n, std::string_view field) {
  for (auto& [name, text] : ir::split_fields(n.attrs->text()))
    if (name == field) return text;
  return {};
}

}  // namespace

std::vector<std::vector<int>> count_uses(const Graph& graph) {
  std::vector<std::vector<int>> uses;
  for (const Node& n : graph.nodes()) uses.emplace_back(n.types.size(), 0);
  for (const Node& n : graph.nodes())
    for (ValueRef r : n.inputs) ++uses[r.node][r.output];
  for (const ir::Output& o : graph.outputs()) ++uses[o.value.node][o.value.output];
  return uses;
}

Graph fold(const Graph& graph) {
  return Rewriter(graph).run([](Rewriter& rw, const Node& n, int32_t) -> ir::ValueRefs {
    Graph& g = rw.graph();
    ir::ValueRefs in = rw.inputs(n);
    auto make = [&](const std::function<Value()>& f) { return ir::ValueRefs{emit_in(g, n, f)}; };
    if (n.op->kind == OpKind::view) {
      if (auto v = number(g, in[0]))
        return make([&] { return ops::full(n.types[0].dims, n.types[0].dtype, *v); });
      if (n.types[0].dims == g.type(in[0]).dims && n.op->name != "permute") return {in[0]};
      const Node& before = g.node(in[0]);
      if (n.op->name == "reshape" && before.op == n.op)
        return make([&] { return ops::reshape(g.value(before.inputs[0]), n.types[0].dims); });
      if (n.op->name == "permute" && before.op == n.op) {
        ir::Dims outer, inner, both;
        ir::field_parse(view_text(n, "axes"), outer);
        ir::field_parse(view_text(before, "axes"), inner);
        for (int64_t axis : outer) both.push_back(inner[axis]);
        return make([&] { return ops::permute(g.value(before.inputs[0]), both); });
      }
    }
    if (n.op->kind == OpKind::elementwise) {
      std::vector<double> args;
      std::vector<DType> dtypes;
      for (ValueRef r : in) {
        auto v = number(g, r);
        if (!v) break;
        args.push_back(*v);
        dtypes.push_back(g.type(r).dtype);
      }
      if (args.size() == in.size())
        if (auto v = evaluate(n, args, dtypes))
          return make([&] { return ops::full(n.types[0].dims, n.types[0].dtype, *v); });
      // Exact identities only: x * 1 and x / 1 (x + 0 would turn -0 into +0).
      auto is_one = [&](size_t i) { return number(g, in[i]) == 1.0; };
      if (n.op->name == "mul" && n.types[0].dtype != DType::boolean) {
        if (is_one(1)) return {in[0]};
        if (is_one(0)) return {in[1]};
      }
      if (n.op->name == "div" && is_one(1)) return {in[0]};
      if (n.op->name == "cast" && g.type(in[0]).dtype == n.types[0].dtype) return {in[0]};
    }
    return rw.keep(n);
  });
}

Graph cse(const Graph& graph) {
  struct Key {
    const ir::Op* op;
    const ir::Attrs* attrs;
    ir::ValueRefs inputs;
    int32_t phase;
    bool operator==(const Key& o) const {
      return op == o.op && phase == o.phase && inputs == o.inputs && attrs->equals(*o.attrs);
    }
  };
  struct Hash {
    size_t operator()(const Key& k) const {
      size_t h = std::hash<const void*>()(k.op) ^ k.attrs->hash() ^ static_cast<size_t>(k.phase);
      for (ValueRef r : k.inputs) h = h * 1099511628211u + static_cast<size_t>(r.node) * 31 + r.output;
      return h;
    }
  };
  std::unordered_map<Key, ir::ValueRefs, Hash> known;
  return Rewriter(graph).run([&](Rewriter& rw, const Node& n, int32_t) {
    Key key{n.op, n.attrs.get(), rw.inputs(n), n.phase};
    auto found = known.find(key);
    if (found != known.end()) return found->second;
    return known[key] = rw.keep(n);
  });
}

Graph dce(const Graph& graph) {
  std::vector<bool> live(graph.nodes().size());
  for (const ir::Output& o : graph.outputs()) live[o.value.node] = true;
  for (size_t i = graph.nodes().size(); i-- > 0;)
    if (live[i])
      for (ValueRef r : graph.nodes()[i].inputs) live[r.node] = true;
  return Rewriter(graph).run([&](Rewriter& rw, const Node& n, int32_t i) {
    // Results of dead nodes have no users; their places are never read.
    return live[i] ? rw.keep(n) : ir::ValueRefs();
  });
}

namespace {
/// Adds to a graph, what is defined in terms of other ops by its definition.
class Expander : public ir::Builder {
 public:
  Expander(Graph& graph, bool claimed) : graph_(graph), claimed_(claimed) {}
  bool expands(const ir::Op& op) const { return op.kind == OpKind::composite || (claimed_ && op.expand); }
  ir::Values add(const ir::Op& op, ir::AttrsPtr attrs, const ir::Values& inputs) override {
    return expands(op) ? op.expand(attrs, inputs) : graph_.add(op, std::move(attrs), inputs);
  }

 private:
  Graph& graph_;
  const bool claimed_;
};

/// What `make` gives for a node's attributes and operands in its place; the node itself if it gives nothing.
ir::ValueRefs replaced(Rewriter& rw, const Node& n, ir::Builder& builder, ir::Values (*make)(const ir::AttrsPtr&, const ir::Values&)) {
  ir::BuilderScope scope(builder);
  ir::GradScope no_grad(false);
  ir::SourceScope source(n.source);
  rw.graph().phase = n.phase;
  ir::Values in;
  for (ValueRef r : rw.inputs(n)) in.push_back(rw.graph().value(r));
  ir::ValueRefs out;
  for (const Value& v : make(n.attrs, in)) out.push_back(rw.graph().ref(v));
  if (out.empty()) return rw.keep(n);
  if (out.size() != n.types.size()) internal_error("[{}] becomes {} results instead of {}", n.op->name, out.size(), n.types.size());
  for (size_t i = 0; i < out.size(); ++i)
    if (rw.graph().type(out[i]) != n.types[i])
      internal_error("[{}] becomes {} instead of {}", n.op->name, to_string(rw.graph().type(out[i])), to_string(n.types[i]));
  return out;
}

}  // namespace

Graph claim_composites(const Graph& graph) {
  return Rewriter(graph).run([](Rewriter& rw, const Node& n, int32_t) {
    return n.op->claim ? replaced(rw, n, rw.graph(), n.op->claim) : rw.keep(n);
  });
}

Graph claim_attention(const Graph& graph) {
  return Rewriter(graph).run([&](Rewriter& rw, const Node& n, int32_t) {
    bool taken = n.op->claim && n.op->name.starts_with("scaled_dot_product_attention");
    if (taken) {
      const ir::Dims& q = graph.type(n.inputs[0]).dims;
      taken = q.back() <= kMaxGpuHeadSize && q[q.size() - 2] > kFewGpuQueries;
    }
    return taken ? replaced(rw, n, rw.graph(), n.op->claim) : rw.keep(n);
  });
}

Graph expand_float8(const Graph& graph, bool claimed) {
  return Rewriter(graph).run([&](Rewriter& rw, const Node& n, int32_t) {
    if (n.op->name != "scaled_matmul") return rw.keep(n);
    const ir::Type &a = graph.type(n.inputs[0]), &b = graph.type(n.inputs[1]);
    const bool taken = claimed && (a.dtype == DType::f8_e4m3 || b.dtype == DType::f8_e4m3) && a.dims[1] % 16 == 0 &&
                       b.dims[0] % 16 == 0 && a.elements() > 0 && b.elements() > 0;
    return taken ? rw.keep(n) : replaced(rw, n, rw.graph(), n.op->expand);
  });
}

namespace {
/// Definitions of composites, written once for operands of given types: layers and parameters ask for the same again.
class Definitions {
 public:
  explicit Definitions(bool claimed) : claimed_(claimed) {}

  ir::ValueRefs expand(Rewriter& rw, const Node& n) {
    Expander expander(rw.graph(), claimed_);
    if (!expander.expands(*n.op)) return rw.keep(n);
    const Definition& d = find(rw.old(), n);
    // Constants that a definition makes belong to its graph.
    if (!d.graph.constants().empty()) return replaced(rw, n, expander, n.op->expand);
    Graph& g = rw.graph();
    std::vector<ValueRef> at(d.graph.nodes().size());  // first results; others follow in the same node
    for (size_t i = 0; i < n.inputs.size(); ++i) at[d.graph.inputs()[i].node] = rw.at(n.inputs[i]);
    auto here = [&](ValueRef r) { return r.output == 0 ? at[r.node] : ValueRef{at[r.node].node, r.output}; };
    for (size_t i = n.inputs.size(); i < at.size(); ++i) {
      const Node& part = d.graph.nodes()[i];
      ir::ValueRefs in;
      in.reserve(part.inputs.size());
      for (ValueRef r : part.inputs) in.push_back(here(r));
      ir::Source source = n.source;
      source.stage = part.source.stage;
      at[i] = g.append(part, std::move(in), source, n.phase)[0];
    }
    ir::ValueRefs out;
    for (const ir::Output& o : d.graph.outputs()) out.push_back(here(o.value));
    return out;
  }

 private:
  struct Definition {
    const ir::Op* op;
    ir::AttrsPtr attrs;
    ir::Stage stage;
    Graph graph;
  };

  const Definition& find(const Graph& graph, const Node& n) {
    size_t hash = std::hash<const void*>()(n.op) ^ n.attrs->hash();
    for (ValueRef r : n.inputs)
      for (int64_t d : graph.type(r).dims) hash = hash * 1099511628211u + static_cast<size_t>(d);
    auto [begin, end] = known_.equal_range(hash);
    for (auto it = begin; it != end; ++it) {
      const Definition& d = it->second;
      bool same = d.op == n.op && d.stage == n.source.stage && d.attrs->equals(*n.attrs) && d.graph.inputs().size() == n.inputs.size();
      for (size_t i = 0; same && i < n.inputs.size(); ++i) same = d.graph.type(d.graph.inputs()[i]) == graph.type(n.inputs[i]);
      if (same) return d;
    }
    Definition d{n.op, n.attrs, n.source.stage, {}};
    ir::Values in;
    for (ValueRef r : n.inputs) in.push_back(d.graph.input(graph.type(r)));
    {
      Expander expander(d.graph, claimed_);
      ir::BuilderScope scope(expander);
      ir::GradScope no_grad(false);
      ir::SourceScope source(n.source);
      for (const Value& v : n.op->expand(n.attrs, in)) d.graph.output(v);
    }
    if (d.graph.outputs().size() != n.types.size())
      internal_error("[{}] becomes {} results instead of {}", n.op->name, d.graph.outputs().size(), n.types.size());
    for (size_t i = 0; i < n.types.size(); ++i)
      if (const ir::Type& type = d.graph.type(d.graph.outputs()[i].value); type != n.types[i])
        internal_error("[{}] becomes {} instead of {}", n.op->name, to_string(type), to_string(n.types[i]));
    return known_.emplace(hash, std::move(d))->second;
  }

  const bool claimed_;
  std::unordered_multimap<size_t, Definition> known_;
};
}  // namespace

Graph expand(const Graph& graph, bool claimed) {
  Definitions definitions(claimed);
  Rewriter rewriter(graph);
  rewriter.graph().reserve(6 * graph.nodes().size());  // about as many as a training step's definitions have
  return rewriter.run([&](Rewriter& rw, const Node& n, int32_t) { return definitions.expand(rw, n); });
}

}  // namespace corten::passes
