#include "kernel/lower.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "base/format.h"
#include "ops/view_layout.h"

namespace corten::kernel {

using ir::Access;
using ir::Body;
using ir::Dims;
using ir::Expr;
using ir::Graph;
using ir::Kernel;
using ir::KernelForm;
using ir::Launch;
using ir::Layout;
using ir::Node;
using ir::OpKind;
using ir::ScalarOp;
using ir::Type;
using ir::ValueRef;

namespace {

struct ReduceInfo {
  int64_t axis = 0;
  ir::Tree tree;
  ScalarOp op = ScalarOp::reduce_sum;
};
ReduceInfo reduce_info(const Node& n) {
  ReduceInfo out;
  out.axis = ops::reduce_axis(n.attrs);
  out.tree = ops::reduce_tree(n.attrs);
  out.op = n.op->name == "reduce_max" ? ScalarOp::reduce_max : n.op->name == "reduce_min" ? ScalarOp::reduce_min : ScalarOp::reduce_sum;
  return out;
}

/// An access while the domain is still the step's: everything per domain dimension.
struct Walk {
  int32_t operand = -1;
  Layout layout = {};               // strides over the domain
  int32_t index = -1;               // body node
  int64_t index_stride = 0, index_bound = 0;
  Dims lo = {}, hi = {};            // guards; empty: none. hi[d] < 0: dimension d is not guarded
  bool operator==(const Walk&) const = default;
};

class Lowering {
 public:
  Lowering(const Partition& p, const Step& step) : p_(p), graph_(*p.graph), step_(step), domain_(step.domain) {}

  std::vector<LoweredKernel> run() {
    switch (step_.form) {
      case KernelForm::rows: return rows();
      case KernelForm::columns: return columns();
      case KernelForm::scatter: return scatter();
    }
    return {};
  }

 private:
  Body& body() { return out_.kernel.body; }
  const Node& node(ValueRef r) const { return graph_.nodes()[r.node]; }
  Layout natural(const Dims& dims) const {
    auto l = to_domain(domain_, dims, Layout{0, ir::contiguous_strides(dims)});
    if (!l) internal_error("{} is not a shape of a kernel over {}", ir::to_string(dims), ir::to_string(domain_));
    return *l;
  }

  int32_t operand(Storage storage, DType dtype, bool written) {
    auto& list = out_.operands;
    auto found = std::find(list.begin(), list.end(), storage);
    int32_t i = static_cast<int32_t>(found - list.begin());
    if (found == list.end()) {
      list.push_back(storage);
      out_.kernel.operands.push_back({dtype, written});
    }
    out_.kernel.operands[i].written |= written;
    return i;
  }
  int32_t walk(Walk w) {
    // Nothing lies where a tensor without elements is: what is read there once per row, and not used, is its start.
    if (w.operand >= 0 && !out_.operands[w.operand].partial && graph_.type(out_.operands[w.operand].root).elements() == 0) {
      w.layout.offset = 0;
      std::fill(w.layout.strides.begin(), w.layout.strides.end(), 0);
    }
    for (size_t d = 0; d < domain_.size(); ++d)
      if (domain_[d] == 1) w.layout.strides[d] = 0;
    auto found = std::find(walks_.begin(), walks_.end(), w);
    if (found == walks_.end()) found = walks_.insert(walks_.end(), std::move(w));
    return static_cast<int32_t>(found - walks_.begin());
  }
  Expr load(Storage storage, DType dtype, const Layout& layout) {
    return body().load(ir::scalar_type(dtype), walk({operand(storage, dtype, false), layout}));
  }
  Expr number(DType dtype, double value) {
    DType type = ir::scalar_type(dtype);
    int64_t bits = 0;
    if (type == DType::f32) bits = std::bit_cast<uint32_t>(static_cast<float>(value));
    else if (type == DType::f64) bits = std::bit_cast<int64_t>(value);
    else if (type == DType::boolean) bits = value != 0;
    else bits = static_cast<int64_t>(value);
    for (size_t i = 0; i < params_.size(); ++i)
      if (params_[i] == bits && out_.kernel.params[i] == type) return ir::round_to(dtype, body().param(type, static_cast<int>(i)));
    params_.push_back(bits);
    out_.kernel.params.push_back(type);
    return ir::round_to(dtype, body().param(type, static_cast<int>(params_.size()) - 1));
  }

  bool here(ValueRef root) const {
    return std::find(step_.members.begin(), step_.members.end(), root.node) != step_.members.end() &&
           p_.places[root].root == root;
  }

  /// The value of a graph value over its own dimensions, at the point of the domain.
  Expr value(ValueRef v) {
    const passes::Place& place = p_.places[v];
    auto layout = to_domain(domain_, graph_.type(v).dims, place.layout);
    if (!layout) internal_error("{} cannot be read over {}", to_string(graph_.type(v)), ir::to_string(domain_));
    return at(place.root, *layout);
  }
  /// A value that got storage only for later readers is computed again by the steps before and beside its maker.
  bool made_later(ValueRef root, const Layout& layout) const {
    if (!p_.realised.count(root)) return false;
    const int32_t maker = p_.step_of[root];
    return maker > step_.index || (maker == step_.index && !same_layout(domain_, natural(graph_.type(root).dims), layout));
  }
  Expr at(ValueRef root, const Layout& layout) {
    if (p_.virtual_roots.count(root) || step_.clones.count(root) || made_later(root, layout)) {
      auto key = std::make_pair(root, layout);
      for (auto& [known, expr] : repeated_)
        if (known.first == key.first && known.second == key.second) return expr;
      Expr e = repeat(root, layout);
      repeated_.emplace_back(key, e);
      return e;
    }
    if (here(root)) return member(root.node);
    return load({root}, graph_.type(root).dtype, layout);
  }
  /// A virtual or cloned value, from its operands.
  Expr repeat(ValueRef root, const Layout& layout) {
    const Node& n = node(root);
    auto composed = [&](const Dims& dims, const Layout& inner) {
      auto l = passes::compose(domain_, layout, dims, inner);
      if (!l) internal_error("[{}] cannot be repeated over {}", n.op->name, ir::to_string(domain_));
      return *l;
    };
    if (n.op->kind == OpKind::full) return number(n.types[0].dtype, ops::full_value(n.attrs));
    if (n.op->kind == OpKind::iota)
      return body().index(walk({-1, composed(n.types[0].dims, {0, ops::iota_strides(n.attrs)})}));
    std::vector<Expr> args;
    for (ValueRef r : n.inputs) {
      const passes::Place& place = p_.places[r];
      args.push_back(at(place.root, composed(n.types[0].dims, place.layout)));
    }
    return ir::round_to(n.types[0].dtype, n.op->body(n.attrs, args));
  }
  /// A value that this step is the maker of.
  Expr member(int32_t i) {
    if (auto found = members_.find(i); found != members_.end()) return found->second;
    const Node& n = graph_.nodes()[i];
    const Dims& dims = n.types[0].dims;
    Expr e;
    switch (n.op->kind) {
      case OpKind::full: e = number(n.types[0].dtype, ops::full_value(n.attrs)); break;
      case OpKind::iota: {
        auto l = to_domain(domain_, dims, {0, ops::iota_strides(n.attrs)});
        if (!l) internal_error("an index over {} does not fit {}", ir::to_string(dims), ir::to_string(domain_));
        e = body().index(walk({-1, *l}));
        break;
      }
      case OpKind::elementwise: {
        std::vector<Expr> args;
        for (ValueRef r : n.inputs) args.push_back(value(r));
        e = ir::round_to(n.types[0].dtype, n.op->body(n.attrs, args));
        break;
      }
      case OpKind::reduce: {
        ReduceInfo info = reduce_info(n);
        if (step_.finish && i == step_.members[0]) {
          Layout l{0, ir::contiguous_strides(domain_)};
          e = body().reduce(info.op, load({{i, 0}, true}, partial_type(graph_, i).dtype, l), ir::kPairwiseTree);
        } else {
          e = body().reduce(info.op, value(n.inputs[0]), info.tree);
        }
        if (!step_.chunked) e = ir::round_to(n.types[0].dtype, e);
        break;
      }
      case OpKind::pad: {
        Dims low = ir::attribute<Dims>(n.attrs, "low");
        const passes::Place& place = p_.places[n.inputs[0]];
        const Dims& source = graph_.type(n.inputs[0]).dims;
        Walk w{operand({place.root}, n.types[0].dtype, false), {place.layout.offset, place.layout.strides}};
        w.lo = low;
        w.hi.resize(low.size());
        for (size_t d = 0; d < low.size(); ++d) {
          w.layout.offset -= low[d] * place.layout.strides[d];
          w.hi[d] = source[d] == dims[d] ? -1 : low[d] + source[d];
        }
        Expr fill = number(n.types[0].dtype, ir::attribute<double>(n.attrs, "value"));
        if (dims != domain_) internal_error("padding over {} in a kernel over {}", ir::to_string(dims), ir::to_string(domain_));
        e = body().load(ir::scalar_type(n.types[0].dtype), walk(std::move(w)), fill.id);
        break;
      }
      case OpKind::gather: {
        int64_t axis = ir::attribute<int64_t>(n.attrs, "axis");
        const passes::Place& place = p_.places[n.inputs[0]];
        Layout l = place.layout;
        int64_t step = l.strides[axis];
        l.strides[axis] = 0;
        auto over = to_domain(domain_, dims, l);
        Walk w{operand({place.root}, n.types[0].dtype, false), *over, value(n.inputs[1]).id, step, graph_.type(n.inputs[0]).dims[axis]};
        e = body().load(ir::scalar_type(n.types[0].dtype), walk(std::move(w)));
        break;
      }
      default: internal_error("[{}] is not computed by kernels", n.op->name);
    }
    return members_[i] = e;
  }

  void store(Storage storage, DType dtype, Expr value, Walk where, ir::StoreMode mode = ir::StoreMode::set) {
    where.operand = operand(storage, dtype, true);
    out_.kernel.stores.push_back({walk(std::move(where)), value.id, mode, false});
  }

  std::vector<LoweredKernel> rows() {
    for (int32_t i : step_.members) {
      const Node& n = graph_.nodes()[i];
      const bool partial = step_.chunked && n.op->kind == OpKind::reduce;
      if (partial) {
        // Partial results [rows, chunks]; the stride of the chunk is filled in when the row is split.
        Layout l{0, Dims(domain_.size(), 0)};
        Dims outer(domain_.begin(), domain_.end() - 1);
        Dims strides = ir::contiguous_strides(outer);
        int64_t chunks = partial_type(graph_, i).dims.back();
        for (size_t d = 0; d < outer.size(); ++d) l.strides[d] = strides[d] * chunks;
        partials_.insert(walk({operand({{i, 0}, true}, partial_type(graph_, i).dtype, true), l}));
        store({{i, 0}, true}, partial_type(graph_, i).dtype, member(i), {-1, l});
      } else if (p_.stored.count({i, 0})) {
        store({{i, 0}}, n.types[0].dtype, member(i), {-1, natural(n.types[0].dims)});
      }
    }
    if (out_.kernel.stores.empty()) return {};
    std::vector<size_t> order(domain_.size());
    for (size_t d = 0; d < order.size(); ++d) order[d] = d;
    finish(order);
    return {std::move(out_)};
  }

  std::vector<LoweredKernel> columns() {
    const int32_t i = step_.members[0];
    const Node& n = graph_.nodes()[i];
    ReduceInfo info = reduce_info(n);
    const Type& result = n.types[0];
    Type partial = partial_type(graph_, i);
    const int64_t chunks = partial.dims[step_.axis];
    std::vector<size_t> order;
    for (size_t d = 0; d < domain_.size(); ++d)
      if (static_cast<int64_t>(d) != step_.axis && d + 1 != domain_.size()) order.push_back(d);
    order.push_back(step_.axis);
    order.push_back(domain_.size() - 1);
    auto strides_of = [&](const Dims& dims) {
      Layout l{0, ir::contiguous_strides(dims)};
      if (dims[step_.axis] == 1) l.strides[step_.axis] = 0;
      return l;
    };
    Expr e = body().reduce(info.op, value(n.inputs[0]), info.tree);
    std::vector<LoweredKernel> list;
    if (chunks <= 1) {
      store({{i, 0}}, result.dtype, ir::round_to(result.dtype, e), {-1, strides_of(result.dims)});
      finish(order);
      list.push_back(std::move(out_));
      return list;
    }
    store({{i, 0}, true}, partial.dtype, e, {-1, strides_of(partial.dims)});
    finish(order);
    out_.launches[0].chunks = chunks;
    list.push_back(std::move(out_));
    // The combination of the partial results.
    out_ = {};
    walks_.clear();
    params_.clear();
    domain_ = partial.dims;
    e = body().reduce(info.op, load({{i, 0}, true}, partial.dtype, Layout{0, ir::contiguous_strides(partial.dims)}), ir::kPairwiseTree);
    store({{i, 0}}, result.dtype, ir::round_to(result.dtype, e), {-1, strides_of(result.dims)});
    finish(order);
    list.push_back(std::move(out_));
    return list;
  }

  std::vector<LoweredKernel> scatter() {
    const int32_t i = step_.members[0];
    const Node& n = graph_.nodes()[i];
    int64_t axis = ir::attribute<int64_t>(n.attrs, "axis");
    const passes::Place& base = p_.places[n.inputs[0]];
    Layout l = base.layout;
    int64_t step = l.strides[axis];
    l.strides[axis] = 0;
    if (l.strides.empty()) l.strides.push_back(0);
    Walk w{-1, l, value(n.inputs[1]).id, step, graph_.type(n.inputs[0]).dims[axis]};
    store({base.root}, n.types[0].dtype, value(n.inputs[2]), std::move(w),
          n.op->name == "scatter_add" ? ir::StoreMode::add : ir::StoreMode::set);
    std::vector<size_t> order(domain_.size());
    for (size_t d = 0; d < order.size(); ++d) order[d] = d;
    finish(order);
    return {std::move(out_)};
  }

  struct Axis {
    int64_t size;
    std::vector<int64_t> strides;  // per walk
    std::vector<std::pair<int64_t, int64_t>> guards;  // per walk; hi < 0: none
    bool guarded = false;
  };

  /// Chooses the kernel's loops: the domain's dimensions in `order`, unit ones dropped, neighbours that every access walks
  /// as one merged, few long rows split into chunks; fills accesses and launches.
  void finish(const std::vector<size_t>& order) {
    Kernel& k = out_.kernel;
    k.form = step_.form;
    std::vector<Axis> axes;
    for (size_t d : order) {
      Axis axis{domain_[d], {}, {}};
      for (const Walk& w : walks_) {
        axis.strides.push_back(w.layout.strides[d]);
        bool guarded = !w.lo.empty() && w.hi[d] >= 0;
        axis.guards.emplace_back(guarded ? w.lo[d] : 0, guarded ? w.hi[d] : -1);
        axis.guarded |= guarded;
      }
      axes.push_back(std::move(axis));
    }
    Axis inner = std::move(axes.back());
    axes.pop_back();
    std::optional<Axis> reduced;  // columns: the last outer dimension stays alone
    if (k.form == KernelForm::columns) {
      reduced = std::move(axes.back());
      axes.pop_back();
    }
    std::erase_if(axes, [](const Axis& a) { return a.size == 1 && !a.guarded; });
    auto mergeable = [&](const Axis& outer, const Axis& below) {
      if (outer.guarded || below.guarded) return false;
      for (size_t w = 0; w < walks_.size(); ++w)
        if (outer.strides[w] != below.strides[w] * below.size) return false;
      return true;
    };
    for (size_t d = axes.size(); d-- > 1;)
      if (mergeable(axes[d - 1], axes[d])) {
        axes[d].size *= axes[d - 1].size;
        axes.erase(axes.begin() + static_cast<int64_t>(d) - 1);
      }
    // Rows without meaning of their own are joined to longer ones.
    if (k.form == KernelForm::rows && !step_.row_bound)
      while (!axes.empty() && mergeable(axes.back(), inner)) {
        inner.size *= axes.back().size;
        axes.pop_back();
      }
    if (k.form == KernelForm::rows && !step_.row_bound && inner.size == 1 && !inner.guarded && !axes.empty()) {
      inner = std::move(axes.back());
      axes.pop_back();
    }
    if (reduced) axes.push_back(std::move(*reduced));
    const int64_t row = inner.size, chunk = ir::kRowTree.chunk;
    const bool chunked = step_.chunked && k.form == KernelForm::rows;
    if (chunked) {
      Axis chunks{row / chunk, {}, {}};
      for (size_t w = 0; w < walks_.size(); ++w) {
        chunks.strides.push_back(partials_.count(static_cast<int32_t>(w)) ? 1 : inner.strides[w] * chunk);
        chunks.guards.emplace_back(0, -1);
      }
      axes.push_back(std::move(chunks));
      inner.size = chunk;
    }
    if (axes.size() > ir::kMaxOuter)
      usage_error("a kernel over {} needs {} loops, at most {} are possible: make the operands contiguous", ir::to_string(domain_),
                  axes.size() + 1, ir::kMaxOuter + 1);
    k.outer_rank = static_cast<int32_t>(axes.size());
    Launch launch;
    launch.inner = inner.size;
    launch.params = params_;
    for (size_t d = 0; d < axes.size(); ++d) launch.outer[d] = axes[d].size;
    for (size_t w = 0; w < walks_.size(); ++w) {
      const Walk& walk = walks_[w];
      Access access{walk.operand, ir::InnerStride::any, walk.index, 0};
      Launch::Access run;
      run.offset = walk.layout.offset;
      run.inner_stride = inner.strides[w];
      access.inner = run.inner_stride == 0 ? ir::InnerStride::zero : run.inner_stride == 1 ? ir::InnerStride::one : ir::InnerStride::any;
      run.index_stride = walk.index_stride;
      run.index_bound = walk.index_bound;
      for (size_t d = 0; d < axes.size(); ++d) {
        run.strides[d] = axes[d].strides[w];
        if (axes[d].guards[w].second >= 0) {
          access.guards |= static_cast<uint8_t>(1u << d);
          run.lo[d] = axes[d].guards[w].first;
          run.hi[d] = axes[d].guards[w].second;
        }
      }
      if (inner.guards[w].second >= 0) {
        access.guards |= static_cast<uint8_t>(1u << k.outer_rank);
        run.lo[k.outer_rank] = inner.guards[w].first;
        run.hi[k.outer_rank] = inner.guards[w].second;
      }
      k.accesses.push_back(access);
      launch.accesses.push_back(run);
    }
    out_.launches.push_back(launch);
    if (chunked && row % chunk) {
      // The last chunk, shorter than the others.
      Launch tail = launch;
      const int64_t d = k.outer_rank - 1, full = launch.outer[d];
      for (Launch::Access& a : tail.accesses) a.offset += a.strides[d] * full;
      tail.outer[d] = 1;
      tail.inner = row % chunk;
      out_.launches.push_back(tail);
    }
  }

  const Partition& p_;
  const Graph& graph_;
  const Step& step_;
  Dims domain_;
  LoweredKernel out_;
  std::vector<Walk> walks_;
  std::vector<int64_t> params_;
  std::set<int32_t> partials_;  // walks over partial results
  std::map<int32_t, Expr> members_;
  std::vector<std::pair<std::pair<ValueRef, Layout>, Expr>> repeated_;
};

}  // namespace

Type partial_type(const Graph& graph, int32_t i) {
  const Node& n = graph.nodes()[i];
  ReduceInfo info = reduce_info(n);
  const Dims& in = graph.type(n.inputs[0]).dims;
  Type out{ir::scalar_type(n.types[0].dtype), n.types[0].dims};
  out.dims[info.axis] = (in[info.axis] + info.tree.chunk - 1) / info.tree.chunk;
  return out;
}

std::vector<LoweredKernel> lower(const Partition& partition, const Step& step) { return Lowering(partition, step).run(); }

}  // namespace corten::kernel
