// The two ops behind every custom one. `custom` is the composite that users call. It expands to parts: the argument of each
// row reduction, and the result, each one element-wise expression over the inputs and the reductions before it. So a custom
// kernel is scheduled, fused, interpreted and compiled like what the library itself is made of.
#include "ops/custom.h"

#include <map>
#include <mutex>
#include <set>

#include "ops/define.h"

namespace corten::ops {
namespace {

struct Registry {
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<const CustomDefinition>, std::less<>> ops;
};
Registry& registry() {
  static auto* instance = new Registry;
  return *instance;
}
std::shared_ptr<const CustomDefinition> find(const std::string& name) {
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  auto found = r.ops.find(name);
  if (found == r.ops.end()) usage_error("there is no custom op \"{}\" in this process", name);
  return found->second;
}

bool reduces(ir::ScalarOp op) {
  return op == ir::ScalarOp::reduce_sum || op == ir::ScalarOp::reduce_max || op == ir::ScalarOp::reduce_min;
}

/// What a part reads: input i as i, reduction j as inputs + j, the length of the row as kRowLength.
struct Part {
  int32_t root = -1;
  std::vector<int> sources;
};

/// A body written down once, and cut into parts; the last one is the result.
struct Recording {
  std::unique_ptr<ir::Body> body = std::make_unique<ir::Body>();
  std::vector<int32_t> reductions;  // nodes
  std::vector<Part> parts;

  Recording(const CustomDefinition& op, DType type) {
    std::vector<Expr> in;
    for (int i = 0; i < op.inputs; ++i) in.push_back(body->param(type, i));
    const Expr result = op.body(in);
    if (result.type() != type) usage_error("[{}] the body gives a {} instead of a {}", op.name, corten::name(result.type()), corten::name(type));
    std::set<int32_t> reached;
    reach(result.id, reached, false);
    for (int32_t id : reached)
      if (reduces(body->node(id).op)) reductions.push_back(id);
    for (int32_t id : reductions) parts.push_back(part(op, body->node(id).arg[0]));
    parts.push_back(part(op, result.id));
  }

  /// The part's expression in another body.
  Expr build(const Part& part, const CustomDefinition& op, std::span<const Expr> args) const {
    std::map<int32_t, Expr> made;
    for (size_t k = 0; k < part.sources.size(); ++k) {
      const int source = part.sources[k];
      const int32_t id = source == kRowLength || source < op.inputs ? body->param(args[k].type(), source).id : reductions[source - op.inputs];
      made[id] = args[k];
    }
    return copy(part.root, *args[0].body, made);
  }

 private:
  void reach(int32_t id, std::set<int32_t>& seen, bool stop) const {
    if (!seen.insert(id).second) return;
    const ir::ScalarNode& n = body->node(id);
    if (stop && reduces(n.op)) return;
    for (int k = 0; k < ir::arity(n.op); ++k) reach(n.arg[k], seen, stop);
  }
  Part part(const CustomDefinition& op, int32_t root) const {
    std::set<int32_t> reached;
    reach(root, reached, true);
    std::set<int> sources;
    for (int32_t id : reached) {
      const ir::ScalarNode& n = body->node(id);
      if (n.op == ir::ScalarOp::param) sources.insert(static_cast<int>(n.imm));
      if (reduces(n.op))
        sources.insert(op.inputs + static_cast<int>(std::lower_bound(reductions.begin(), reductions.end(), id) - reductions.begin()));
    }
    if (sources.empty()) usage_error("[{}] an expression of the body uses no input", op.name);
    return {root, {sources.begin(), sources.end()}};
  }
  Expr copy(int32_t id, ir::Body& to, std::map<int32_t, Expr>& made) const {
    auto found = made.find(id);
    if (found != made.end()) return found->second;
    ir::ScalarNode n = body->node(id);
    for (int k = 0; k < ir::arity(n.op); ++k) n.arg[k] = copy(n.arg[k], to, made).id;
    return made[id] = to.add(n);
  }
};

struct CustomPart : Elementwise {
  static constexpr auto name = "custom_part";
  static constexpr int arity = -1;
  static constexpr bool no_gradient = true;  // `custom` has the gradient
  struct Attrs {
    std::string op;
    int64_t part = 0;
    CORTEN_FIELDS(op, part)
  };
  static Expr body(const Attrs& a, std::span<const Expr> x) {
    const auto op = find(a.op);
    const Recording recording(*op, x[0].type());
    if (a.part < 0 || a.part >= static_cast<int64_t>(recording.parts.size()) || recording.parts[a.part].sources.size() != x.size())
      usage_error("[{}] the body is not the one that it was when the op was first used", a.op);
    return recording.build(recording.parts[a.part], *op, x);
  }
};

struct Custom : Composite {
  static constexpr auto name = "custom";
  static constexpr int arity = -1;
  struct Attrs {
    std::string op;
    bool reference = false;  // the definition in terms of other ops: what is differentiated
    CORTEN_FIELDS(op, reference)
  };
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    Type out = in[0];
    if (find(a.op)->per_row) out.dims.back() = 1;
    return {out};
  }
  static Values expand(const Attrs& a, const Values& in);
  static Values vjp(const Attrs& a, const Vjp& v);
};

}  // namespace

CORTEN_OP(CustomPart) CORTEN_OP(Custom)

namespace {

Values Custom::expand(const Attrs& a, const Values& in) {
  const auto op = find(a.op);
  if (a.reference) {
    Value out = op->reference(in);
    const Type want = infer(a, {in[0].type()})[0];
    if (out.dims() != want.dims) usage_error("[{}] `expand` gives {} instead of {}", a.op, to_string(out.type()), to_string(want));
    return {cast(out, want.dtype)};
  }
  const DType wide = compute_type(in[0].dtype());
  const Recording recording(*op, wide);
  const Dims& dims = in[0].dims();
  Values reduced;
  Value result;
  for (size_t k = 0; k < recording.parts.size(); ++k) {
    const Part& part = recording.parts[k];
    const bool last = k + 1 == recording.parts.size();
    Dims over = dims;
    if (last && op->per_row) over.back() = 1;
    Values args;
    for (int source : part.sources) {
      if (source == kRowLength) args.push_back(full(over, wide, static_cast<double>(dims.back())));
      else if (source >= op->inputs) args.push_back(ops::expand(reduced[source - op->inputs], over));
      else if (last && op->per_row) usage_error("[{}] the result of a row depends on single elements of it", a.op);
      else args.push_back(cast(in[source], wide));
    }
    result = emit1(kCustomPart, args, CustomPart::Attrs{a.op, static_cast<int64_t>(k)});
    if (last) break;
    const ir::ScalarOp how = recording.body->node(recording.reductions[k]).op;
    reduced.push_back(how == ir::ScalarOp::reduce_sum   ? sum(result, {-1}, true)
                      : how == ir::ScalarOp::reduce_max ? max(result, {-1}, true)
                                                        : min(result, {-1}, true));
  }
  return {cast(result, in[0].dtype())};
}

Values Custom::vjp(const Attrs& a, const Vjp& v) {
  const auto op = find(a.op);
  if (!op->gradient) return derived_vjp(kCustom, ir::make_attrs(Attrs{a.op, true}), v);
  Values out = op->gradient(v.inputs, v.outputs[0], v.grads[0]);
  if (out.size() != v.inputs.size()) usage_error("[{}] `gradient` gives {} tensors for {} inputs", a.op, out.size(), v.inputs.size());
  for (size_t i = 0; i < out.size(); ++i) {
    if (!out[i]) continue;
    if (out[i].dims() != v.inputs[i].dims())
      usage_error("[{}] `gradient` gives {} for the input {}", a.op, to_string(out[i].type()), to_string(v.inputs[i].type()));
    out[i] = cast(out[i], v.inputs[i].dtype());
  }
  return out;
}

}  // namespace

void register_custom(CustomDefinition definition) {
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  auto shared = std::make_shared<const CustomDefinition>(std::move(definition));
  if (!r.ops.emplace(shared->name, shared).second) usage_error("[{}] there is a custom op of this name already", shared->name);
}
Value custom(const std::string& name, const Values& inputs) { return emit1(kCustom, inputs, Custom::Attrs{name, false}); }

}  // namespace corten::ops
