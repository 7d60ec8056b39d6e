#include "kernel/partition.h"

#include <algorithm>
#include <tuple>

#include "base/format.h"
#include "ops/view_layout.h"

namespace corten::kernel {

using ir::Dims;
using ir::Graph;
using ir::Layout;
using ir::Node;
using ir::OpKind;
using ir::ValueRef;

std::optional<Dims> refine(const Dims& a, const Dims& b) {
  if (ir::product(a) != ir::product(b)) return std::nullopt;
  if (ir::product(a) == 0) return a == b ? std::optional(a) : std::nullopt;
  Dims out;
  size_t i = a.size(), j = b.size();
  int64_t x = 1, y = 1;
  while (true) {
    while (x == 1 && i > 0) x = a[--i];
    while (y == 1 && j > 0) y = b[--j];
    if (x == 1 && y == 1) break;
    int64_t take = std::min(x, y);
    if (x % take || y % take) return std::nullopt;
    out.insert(out.begin(), take);
    x /= take;
    y /= take;
  }
  // Both sides end with their own last dimension: [n, 1] has rows of one element.
  if (!a.empty() && !b.empty() && a.back() == 1 && b.back() == 1) out.push_back(1);
  if (out.empty()) out.push_back(1);
  return out;
}

std::optional<Layout> to_domain(const Dims& domain, const Dims& dims, const Layout& layout) {
  Layout out{layout.offset, Dims(domain.size(), 0)};
  int64_t total = ir::product(domain), own = ir::product(dims);
  size_t g = domain.size();
  if (own != total) {  // one value per row
    if (domain.empty() || own * domain.back() != total) return std::nullopt;
    // Rows without elements have values too.
    if (own != ir::product(Dims(domain.begin(), domain.end() - 1))) return std::nullopt;
    --g;
  }
  if (own == 0) return dims == domain ? std::optional(Layout{layout.offset, layout.strides}) : std::optional(out);
  for (size_t j = dims.size(); j-- > 0;) {
    int64_t covered = 1;
    while (covered < dims[j]) {
      if (g == 0) return std::nullopt;
      --g;
      out.strides[g] = layout.strides[j] * covered;
      covered *= domain[g];
    }
    if (covered != dims[j]) return std::nullopt;
  }
  return out;
}

bool same_layout(const Dims& domain, const Layout& a, const Layout& b) {
  if (a.offset != b.offset) return false;
  for (size_t d = 0; d < domain.size(); ++d)
    if (domain[d] > 1 && a.strides[d] != b.strides[d]) return false;
  return true;
}

namespace {

bool cheap(const ir::Op& op) {
  static const std::set<std::string_view> costly{"exp", "log", "tanh", "erf", "sin", "cos", "philox", "rem", "custom_part"};
  return op.kind == OpKind::elementwise && !costly.count(op.name);
}

/// A few values, each once.
class Refs {
 public:
  void insert(ValueRef r) {
    if (std::find(list_.begin(), list_.end(), r) == list_.end()) list_.push_back(r);
  }
  void insert(const Refs& more) {
    for (ValueRef r : more) insert(r);
  }
  void erase(ValueRef r) {
    const auto found = std::find(list_.begin(), list_.end(), r);
    if (found == list_.end()) return;
    *found = list_.back();
    list_.pop_back();
  }
  const ValueRef* begin() const { return list_.begin(); }
  const ValueRef* end() const { return list_.end(); }

 private:
  SmallVector<ValueRef, 8> list_;
};

class Partitioner {
 public:
  Partitioner(const Graph& graph, bool fuse) : graph_(graph), fuse_(fuse) { p_.graph = &graph; }

  Partition run() {
    uses_.resize(graph_.nodes().size());
    first_use_.assign(graph_.nodes().size(), -1);
    for (const Node& n : graph_.nodes()) {
      for (ValueRef r : n.inputs) {
        ++uses_[r.node];
        int32_t& first = first_use_[r.node];
        if (first < 0) first = static_cast<int32_t>(&n - graph_.nodes().data());
      }
      if (n.op->in_place >= 0) mutable_.insert(n.inputs[n.op->in_place]);
    }
    for (const ir::Output& o : graph_.outputs())
      if (o.alias >= 0) mutable_.insert(graph_.inputs()[o.alias]);
    p_.steps.reserve(graph_.nodes().size() / 4);
    for (int32_t i = 0; i < static_cast<int32_t>(graph_.nodes().size()); ++i) node(i);
    for (const ir::Output& o : graph_.outputs()) store(p_.places[o.value].root);
    return std::move(p_);
  }

 private:
  const Node& at(int32_t i) const { return graph_.nodes()[i]; }
  const Dims& dims(ValueRef r) const { return graph_.type(r).dims; }

  void node(int32_t i) {
    const Node& n = at(i);
    if (!p_.places.add(graph_, i)) internal_error("a view of a materialized graph cannot be expressed by strides");
    switch (n.op->kind) {
      case OpKind::input: case OpKind::constant: case OpKind::view: break;
      case OpKind::full: case OpKind::iota: p_.virtual_roots.insert({i, 0}); break;
      case OpKind::elementwise:
        if (is_virtual(n)) p_.virtual_roots.insert({i, 0});
        else member(i);
        break;
      case OpKind::pad: case OpKind::gather:
        store(p_.places[n.inputs[0]].root);
        member(i);
        break;
      case OpKind::reduce: reduce(i); break;
      case OpKind::library: {
        for (ValueRef r : n.inputs) store(p_.places[r].root);
        Step step;
        step.library = true;
        const int32_t index = append(std::move(step), i);
        for (const passes::Place& place : p_.places.of(i)) {
          p_.step_of.set(place.root, index);
          p_.stored.insert(place.root);
        }
        break;
      }
      case OpKind::scatter: {
        store(p_.places[n.inputs[0]].root);
        Step step;
        step.form = ir::KernelForm::scatter;
        step.domain = dims(n.inputs[1]);
        if (step.domain.empty()) step.domain.push_back(1);
        step.frozen = true;
        Refs from;
        for (size_t k : {1, 2}) sources(n.inputs[k], &from);
        settle(append(std::move(step), i), from);
        break;
      }
      default: internal_error("{} nodes have no place in a kernel", n.op->name);
    }
  }

  /// A step that starts with a node, whatever it makes.
  int32_t start(Step step, int32_t member) {
    step.index = static_cast<int32_t>(p_.steps.size());
    step.members.push_back(member);
    step.phase = at(member).phase;
    p_.steps.push_back(std::move(step));
    return p_.steps.back().index;
  }

  int32_t append(Step step, int32_t member) {
    const int32_t index = start(std::move(step), member);
    // A scatter's result is its base, written again: later readers come after this step.
    const ValueRef root = p_.places[{member, 0}].root;
    p_.step_of.set(root, index);
    return index;
  }

  bool is_virtual(const Node& n) const {
    if (!fuse_) return false;
    bool all = true;
    for (ValueRef r : n.inputs) all &= p_.virtual_roots.count(p_.places[r].root) > 0;
    if (all) return cheap(*n.op);
    if (n.op->name != "cast") return false;
    ValueRef root = p_.places[n.inputs[0]].root;
    return size_of(n.types[0].dtype) > size_of(graph_.type(root).dtype) && !mutable_.count(root);
  }

  /// Makes a virtual value one with storage.
  void realise(ValueRef root) {
    if (!p_.virtual_roots.erase(root)) return;
    p_.realised.insert(root);
    member(root.node);
  }
  void store(ValueRef root) {
    realise(root);
    p_.stored.insert(root);
  }

  /// Roots (other than virtual ones) that computing `value` reads, through virtual ones. A virtual value whose operands
  /// cannot be addressed from here gets storage. Filled into `out` unless null.
  void sources(ValueRef value, Refs* out) {
    passes::Place place = p_.places[value];
    sources(place.root, dims(value), place.layout, out);
  }
  void sources(ValueRef root, const Dims& over, const Layout& layout, Refs* out) {
    if (p_.virtual_roots.count(root)) {
      std::vector<std::pair<ValueRef, Layout>> operands;
      if (!composed(root, over, layout, operands)) {
        realise(root);
      } else {
        for (auto& [r, l] : operands) sources(r, over, l, out);
        return;
      }
    }
    if (out) out->insert(root);
  }

  /// Operands of a virtual or cloned element-wise value as places over `over`.
  bool composed(ValueRef root, const Dims& over, const Layout& layout, std::vector<std::pair<ValueRef, Layout>>& out) const {
    const Node& n = at(root.node);
    if (n.op->kind == OpKind::full) return true;
    if (n.op->kind == OpKind::iota) return passes::compose(over, layout, n.types[0].dims, Layout{0, ops::iota_strides(n.attrs)}).has_value();
    for (ValueRef r : n.inputs) {
      const passes::Place& place = p_.places[r];
      auto l = passes::compose(over, layout, n.types[0].dims, place.layout);
      if (!l) return false;
      out.emplace_back(place.root, *l);
    }
    return true;
  }

  /// Whether everything that `root` at `layout` over the domain of a kernel reads from that kernel is the value of the
  /// point itself.
  bool natural(int32_t step, const Dims& domain, ValueRef root, const Layout& layout) const {
    if (p_.virtual_roots.count(root) || p_.steps[step].clones.count(root)) {
      std::vector<std::pair<ValueRef, Layout>> operands;
      if (!composed(root, domain, layout, operands)) return false;
      return std::all_of(operands.begin(), operands.end(), [&](auto& o) { return natural(step, domain, o.first, o.second); });
    }
    if (p_.step_of[root] != step) return true;
    auto own = to_domain(domain, dims(root), Layout{0, ir::contiguous_strides(dims(root))});
    return own && same_layout(domain, *own, layout);
  }

  /// The domain that a kernel has when node `n` joins it, or nothing.
  std::optional<Dims> joined(const Step& s, const Node& n) const {
    const bool reduces = n.op->kind == OpKind::reduce;
    const Dims& own = reduces ? dims(n.inputs[0]) : n.types[0].dims;
    // Single numbers join each other; in the kernel of a reduction they would make it wait.
    if (own.empty()) return s.domain == Dims{1} && !s.row_bound ? std::optional(s.domain) : std::nullopt;
    int64_t total = ir::product(s.domain), mine = ir::product(own), row = s.domain.back();
    std::optional<Dims> out;
    if (total == 0 || mine == 0) return s.domain == own ? std::optional(own) : std::nullopt;
    if (mine == total) {
      out = refine(s.domain, own);
      if (!out || (s.row_bound && out->back() != row) || (reduces && out->back() != own.back())) return std::nullopt;
    } else if (s.row_bound && !s.chunked && !reduces && own.back() == 1 && mine * row == total) {
      out = refine(Dims(s.domain.begin(), s.domain.end() - 1), Dims(own.begin(), own.end() - 1));
      if (out) out->push_back(row);
    } else if (!s.row_bound && !s.frozen && total > 1 && own.back() > 1 && mine == total * own.back()) {
      out = refine(s.domain, Dims(own.begin(), own.end() - 1));
      if (out) out->push_back(own.back());
    }
    if (out && s.frozen && *out != s.domain) return std::nullopt;
    if (out && out->size() > 1 + ir::kMaxOuter) return std::nullopt;
    return out;
  }

  /// The domain of a kernel that node `n` can join, all of whose operands are made before it or in it.
  std::optional<Dims> joins(int32_t step, const Node& n) const {
    const Step& s = p_.steps[step];
    if (s.library || s.form != ir::KernelForm::rows || s.members.size() >= kMaxMembers) return std::nullopt;
    // What is computed again must not move into the kernel that computed its operands long before.
    if (n.phase != 0 && n.phase != s.phase) return std::nullopt;
    const std::optional<Dims> domain = joined(s, n);
    if (!domain || (n.op->kind == OpKind::pad && *domain != n.types[0].dims)) return std::nullopt;
    const bool reads_memory = n.op->kind == OpKind::pad || n.op->kind == OpKind::gather;
    for (size_t k = 0; k < n.inputs.size(); ++k) {
      const passes::Place& place = p_.places[n.inputs[k]];
      if (reads_memory && k == 0) {
        if (p_.step_of[place.root] == step) return std::nullopt;
        continue;
      }
      auto layout = to_domain(*domain, dims(n.inputs[k]), place.layout);
      if (!layout || !natural(step, *domain, place.root, *layout)) return std::nullopt;
    }
    return domain;
  }

  /// What computing a value again, instead of storing it, takes.
  struct Again {
    std::map<ValueRef, Layout> clones;  // over the domain
    Refs leaves;
    int costly = 0;
  };

  /// Follows `root` through element-wise values without storage to what is read from memory. False if it cannot be told
  /// how, or takes too much.
  bool follow(const Step& s, ValueRef root, const Layout& layout, Again& again) const {
    const Node& n = at(root.node);
    const int32_t made = p_.step_of[root];
    const bool is_virtual = p_.virtual_roots.count(root) > 0;
    const bool repeat = n.op->kind == OpKind::elementwise && made >= 0 && !p_.stored.count(root);
    if (!is_virtual && !repeat && !s.clones.count(root)) {
      again.leaves.insert(root);
      return !mutable_.count(root);
    }
    if (!is_virtual) {
      auto [known, fresh] = again.clones.emplace(root, layout);
      if (!fresh) return same_layout(s.domain, known->second, layout);
      again.costly += !cheap(*n.op);
      if (again.clones.size() > kMaxClones || again.costly > kMaxCostly) return false;
    }
    std::vector<std::pair<ValueRef, Layout>> operands;
    if (!composed(root, s.domain, layout, operands)) return false;
    return std::all_of(operands.begin(), operands.end(), [&](auto& o) { return follow(s, o.first, o.second, again); });
  }

  /// What node `n` of step `s` reads from memory. Values that other kernels made and nobody stored are computed again where
  /// that moves fewer bytes than writing and reading them: gradients then start from what products made, not from
  /// intermediate values of the forward pass.
  Refs reads(Step& s, const Node& n) {
    Refs from;
    const bool reads_memory = n.op->kind == OpKind::pad || n.op->kind == OpKind::gather;
    if (reads_memory) from.insert(p_.places[n.inputs[0]].root);
    for (size_t k = reads_memory ? 1 : 0; k < n.inputs.size(); ++k) {
      const passes::Place& place = p_.places[n.inputs[k]];
      if (auto layout = to_domain(s.domain, dims(n.inputs[k]), place.layout)) reads(s, place.root, *layout, from);
      else sources(n.inputs[k], &from);
    }
    return from;
  }
  void reads(Step& s, ValueRef root, const Layout& layout, Refs& from) {
    std::vector<std::pair<ValueRef, Layout>> operands;
    if (p_.virtual_roots.count(root) || s.clones.count(root)) {
      if (composed(root, s.domain, layout, operands)) {
        for (auto& [r, l] : operands) reads(s, r, l, from);
        return;
      }
      realise(root);
    }
    from.insert(root);
    const int32_t made = p_.step_of[root];
    if (!fuse_ || made < 0 || made == s.index || p_.stored.count(root) || at(root.node).op->kind != OpKind::elementwise)
      return;
    Again again;
    if (!follow(s, root, layout, again)) return;
    int64_t bytes = 0;
    for (ValueRef leaf : again.leaves) {
      const int32_t maker = p_.step_of[leaf];
      if (maker == s.index) return;
      const bool stored = maker < 0 || p_.stored.count(leaf);
      bytes += graph_.type(leaf).bytes() * (stored ? 1 : 2);
    }
    if (bytes * 4 > graph_.type(root).bytes() * 2 * 3) return;
    from.erase(root);
    for (auto& [clone, where] : again.clones) s.clones.insert(clone);
    from.insert(again.leaves);
  }

  /// A kernel behind step `after` that the first reader of an element-wise value, or a reader of that one's, will join for its
  /// other operands, and that this value can join too: both are then in one. With the kernel's new domain.
  std::optional<std::pair<int32_t, Dims>> sibling(int32_t i, int32_t after) {
    for (int32_t node = i, hops = 0; hops < kMaxSiblings; ++hops) {
      const int32_t reader = first_use_[node];
      if (reader < 0 || at(node).op->kind != OpKind::elementwise || at(reader).op->kind != OpKind::elementwise) break;
      Refs beside;
      for (ValueRef r : at(reader).inputs)
        if (r.node < i) sources(r, &beside);
      int32_t latest = -1;
      for (ValueRef r : beside) latest = std::max(latest, p_.step_of[r]);
      if (latest > after)
        if (auto domain = joins(latest, at(i))) return std::pair(latest, std::move(*domain));
      node = reader;
    }
    return std::nullopt;
  }

  void member(int32_t i) {
    const Node& n = at(i);
    Refs from;
    // pad and gather read their first operand from memory.
    const bool reads_memory = n.op->kind == OpKind::pad || n.op->kind == OpKind::gather;
    for (size_t k = reads_memory ? 1 : 0; k < n.inputs.size(); ++k) sources(n.inputs[k], &from);
    if (reads_memory) from.insert(p_.places[n.inputs[0]].root);
    int32_t latest = -1;
    for (ValueRef r : from)
      latest = std::max(latest, p_.step_of[r]);
    std::optional<Dims> domain = fuse_ && latest >= 0 ? joins(latest, n) : std::nullopt;
    if (fuse_ && !domain)
      if (auto found = sibling(i, latest)) std::tie(latest, domain) = std::move(*found);
    if (!domain) {
      Step step;
      step.domain = n.op->kind == OpKind::reduce ? dims(n.inputs[0]) : n.types[0].dims;
      if (step.domain.empty()) step.domain.push_back(1);
      latest = append(std::move(step), i);
    } else {
      Step& s = p_.steps[latest];
      if (ir::product(*domain) > ir::product(s.domain)) s.row_bound = true;  // its values are now one per row
      s.domain = *domain;
      s.members.push_back(i);
      p_.step_of.set({i, 0}, latest);
    }
    Step& s = p_.steps[latest];
    if (n.op->kind == OpKind::pad) s.frozen = true;
    if (n.op->kind == OpKind::reduce) s.row_bound = true;
    settle(latest, reads(s, n));
  }

  /// Everything that a step reads from others is stored.
  void settle(int32_t step, const Refs& from) {
    for (ValueRef r : from)
      if (const int32_t made = p_.step_of[r]; made >= 0 && made != step) p_.stored.insert(r);
  }

  void reduce(int32_t i) {
    const Node& n = at(i);
    const int64_t axis = ops::reduce_axis(n.attrs);
    const Dims& in = dims(n.inputs[0]);
    const bool last = axis == static_cast<int64_t>(in.size()) - 1;
    if (!last) return columns(i, axis);
    int64_t rows = in.back() ? ir::product(in) / in.back() : 0;
    if (in.back() < kLongRow || rows > kFewRows) return member(i);
    // Few long rows: partial results per chunk, then a small kernel that combines them.
    chunked(i);
    Step finish;
    finish.finish = finish.row_bound = true;
    finish.domain = n.types[0].dims;
    finish.domain.back() = (in.back() + ir::kRowTree.chunk - 1) / ir::kRowTree.chunk;
    append(std::move(finish), i);
  }

  void chunked(int32_t i) {
    const Node& n = at(i);
    Refs from;
    sources(n.inputs[0], &from);
    int32_t latest = -1;
    for (ValueRef r : from)
      latest = std::max(latest, p_.step_of[r]);
    bool join = fuse_ && latest >= 0;
    std::optional<Dims> domain;
    if (join) {
      const Step& s = p_.steps[latest];
      join = !s.library && s.form == ir::KernelForm::rows && !s.frozen && !s.finish && (n.phase == 0 || n.phase == s.phase) && s.members.size() < kMaxMembers &&
             (!s.row_bound || s.chunked) && ir::product(s.domain) == ir::product(dims(n.inputs[0]));
      if (join) domain = joined(s, n);
      join = domain.has_value();
      if (join) {
        const passes::Place& place = p_.places[n.inputs[0]];
        auto layout = to_domain(*domain, dims(n.inputs[0]), place.layout);
        join = layout && natural(latest, *domain, place.root, *layout);
      }
    }
    if (!join) {
      Step step;
      step.domain = dims(n.inputs[0]);
      latest = start(std::move(step), i);
    } else {
      p_.steps[latest].domain = *domain;
      p_.steps[latest].members.push_back(i);
    }
    p_.steps[latest].row_bound = p_.steps[latest].chunked = true;
    settle(latest, from);
  }

  void columns(int32_t i, int64_t axis) {
    const Node& n = at(i);
    Step step;
    step.form = ir::KernelForm::columns;
    step.domain = dims(n.inputs[0]);
    step.axis = axis;
    const passes::Place& place = p_.places[n.inputs[0]];
    Refs from;
    int budget = 12;
    repeat(step, place.root, dims(n.inputs[0]), place.layout, from, budget);
    append(std::move(step), i);
    for (ValueRef r : from)
      if (p_.step_of[r] >= 0) p_.stored.insert(r);
  }

  /// Decides for a value read by a column reduction: computed again from its operands, or read from memory.
  void repeat(Step& step, ValueRef root, const Dims& over, const Layout& layout, Refs& from, int& budget) {
    const Node& n = at(root.node);
    const bool is_virtual = p_.virtual_roots.count(root) > 0;
    bool again = is_virtual;
    if (!again && fuse_ && n.op->kind == OpKind::elementwise && !p_.stored.count(root) && budget > 0) {
      bool only_user = uses_[root.node] == 1;
      again = cheap(*n.op) || only_user;
      // Values that would have to change their place in time are read as they are.
      for (ValueRef r : n.inputs) again &= !mutable_.count(p_.places[r].root);
    }
    std::vector<std::pair<ValueRef, Layout>> operands;
    if (again && composed(root, over, layout, operands)) {
      if (!is_virtual) {
        step.clones.insert(root);
        --budget;
      }
      for (auto& [r, l] : operands) repeat(step, r, over, l, from, budget);
      return;
    }
    realise(root);
    from.insert(root);
  }

  const Graph& graph_;
  const bool fuse_;
  Partition p_;
  std::vector<int> uses_;
  std::vector<int32_t> first_use_;  // node that reads a value first, or -1
  ir::RefSet mutable_;  // memory that some step overwrites
};

}  // namespace

Partition partition(const Graph& graph, bool fuse) { return Partitioner(graph, fuse).run(); }

}  // namespace corten::kernel
