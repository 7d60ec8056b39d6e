#include "codegen/plan.h"

#include <algorithm>
#include <bit>

#include "base/format.h"

namespace corten::codegen {
namespace {

using ir::Access;
using ir::Body;
using ir::Expr;
using ir::InnerStride;
using ir::Kernel;
using ir::KernelForm;
using ir::ScalarNode;
using ir::ScalarOp;

bool is_reduce(ScalarOp op) {
  return op == ScalarOp::reduce_sum || op == ScalarOp::reduce_max || op == ScalarOp::reduce_min;
}

bool is_function(ScalarOp op) {
  switch (op) {
    case ScalarOp::exp:
    case ScalarOp::log:
    case ScalarOp::tanh:
    case ScalarOp::erf:
    case ScalarOp::sin:
    case ScalarOp::cos:
    case ScalarOp::rsqrt:
      return true;
    default:
      return false;
  }
}

int access_of(const ScalarNode& n) {
  return n.op == ScalarOp::load || n.op == ScalarOp::index ? static_cast<int>(n.imm) : -1;
}

// Nodes that a node is computed from: its arguments, and the index of the place that it loads.
template <typename F>
void for_each_source(const Kernel& k, const ScalarNode& n, F visit) {
  for (int32_t arg : n.arg)
    if (arg >= 0) visit(arg);
  if (const int a = access_of(n); a >= 0 && k.accesses[a].index >= 0) visit(k.accesses[a].index);
}

// Copies the live part of a kernel's body, with f32 functions replaced by arithmetic.
class Expander {
 public:
  explicit Expander(const Kernel& from) : from_(from), map_(from.body.nodes().size(), -1) {
    out_.form = from.form;
    out_.outer_rank = from.outer_rank;
    out_.operands = from.operands;
    out_.accesses = from.accesses;
    out_.params = from.params;
    out_.stores = from.stores;
    for (ir::Store& s : out_.stores) {
      s.node = map(s.node);
      map_index(s.access);
    }
  }
  Kernel take() { return std::move(out_); }

 private:
  void map_index(int access) {
    const int32_t index = from_.accesses[access].index;
    if (index >= 0) out_.accesses[access].index = map(index);
  }

  int32_t map(int32_t id) {
    if (map_[id] >= 0) return map_[id];
    ScalarNode n = from_.body.node(id);
    if (const int a = access_of(n); a >= 0) map_index(a);
    for (int32_t& arg : n.arg)
      if (arg >= 0) arg = map(arg);
    const Expr x = n.type == DType::f32 && is_function(n.op)
                       ? ir::expand_math(n.op, {&out_.body, n.arg[0]})
                       : out_.body.add(n);
    return map_[id] = x.id;
  }

  const Kernel& from_;
  Kernel out_;
  std::vector<int32_t> map_;
};

// About how many vector instructions a node takes.
int node_cost(const Kernel& k, const ScalarNode& n) {
  const bool wide = n.type == DType::f64 || n.type == DType::i64;
  switch (n.op) {
    case ScalarOp::constant:
    case ScalarOp::param:
      return 0;
    case ScalarOp::load: {
      const Access& a = k.accesses[n.imm];
      const bool gathers = a.index >= 0 || a.inner == InnerStride::any;
      return (gathers ? 8 : 1) + (a.guards ? 3 : 0) + (wide ? 1 : 0);
    }
    case ScalarOp::div:
    case ScalarOp::rem:
      return n.type == DType::f32 ? 4 : 16;
    case ScalarOp::sqrt:
      return wide ? 12 : 5;
    case ScalarOp::exp:
    case ScalarOp::log:
    case ScalarOp::tanh:
    case ScalarOp::erf:
    case ScalarOp::sin:
    case ScalarOp::cos:
      return 60;
    case ScalarOp::min:
    case ScalarOp::max:
      return 4;
    case ScalarOp::scale:
      return 3;
    case ScalarOp::umulhi:
      return 5;
    default:
      return wide ? 2 : 1;
  }
}

constexpr int kCostCap = 1 << 20;

class Planner {
 public:
  Planner(Plan& plan, const KeepPolicy& keep) : p_(plan), k_(plan.kernel), keep_(keep) {}

  void run() {
    check();
    classify();
    make_stages();
    lay_out();
  }

 private:
  void check() const {
    CORTEN_CHECK(k_.outer_rank >= 0 && k_.outer_rank <= ir::kMaxOuter);
    CORTEN_CHECK(k_.form != KernelForm::columns || k_.outer_rank >= 1);
    for (const Access& a : k_.accesses)
      CORTEN_CHECK(a.operand < static_cast<int>(k_.operands.size()));
    for (const ir::Store& s : k_.stores) {
      CORTEN_CHECK(k_.accesses[s.access].operand >= 0);
      CORTEN_CHECK(s.mode == ir::StoreMode::set || k_.form == KernelForm::scatter);
    }
  }

  void classify() {
    const size_t n = k_.body.nodes().size();
    p_.varies.assign(n, 0);
    p_.invariant.assign(n, 0);
    p_.level.assign(n, 0);
    p_.row.assign(n, -1);
    recompute_cost_.assign(n, 0);
    for (size_t id = 0; id < n; ++id) {
      const ScalarNode& node = k_.body.node(static_cast<int32_t>(id));
      const int a = access_of(node);
      bool varies = a >= 0 && p_.access_varies(a), invariant = a < 0 && !is_reduce(node.op);
      int level = 0;
      int64_t cost = node_cost(k_, node) + (node.op == ScalarOp::load ? keep_.load_cost : 0);
      for_each_source(k_, node, [&](int32_t s) {
        varies |= p_.varies[s] != 0;
        invariant &= p_.invariant[s] != 0;
        level = std::max(level, p_.level[s]);
        if (p_.varies[s]) cost += recompute_cost_[s];
      });
      if (is_reduce(node.op)) {
        ++level;
        varies = k_.form == KernelForm::columns;
        cost = 1;
      }
      p_.varies[id] = varies;
      p_.invariant[id] = invariant;
      p_.level[id] = level;
      recompute_cost_[id] = static_cast<int>(std::min<int64_t>(cost, kCostCap));
    }
  }

  void make_stages() {
    int last = 0;
    std::vector<char> live(k_.body.nodes().size(), 0);
    const auto mark = [&](auto&& self, int32_t id) -> void {
      if (live[id]) return;
      live[id] = 1;
      last = std::max(last, p_.level[id]);
      for_each_source(k_, k_.body.node(id), [&](int32_t s) { self(self, s); });
    };
    for (const ir::Store& s : k_.stores) {
      mark(mark, s.node);
      if (const int32_t index = k_.accesses[s.access].index; index >= 0) mark(mark, index);
    }
    for (size_t id = 0; id < live.size(); ++id)
      if (live[id] && is_reduce(k_.body.node(static_cast<int32_t>(id)).op))
        p_.reductions.push_back({static_cast<int32_t>(id)});

    for (int level = 0; level < last; ++level) group_reductions(level);
    Stage& stores = p_.stages.emplace_back();
    stores.tree = {};
    for (size_t i = 0; i < k_.stores.size(); ++i) {
      const ir::Store& s = k_.stores[i];
      const bool once = k_.form != KernelForm::columns && s.mode == ir::StoreMode::set &&
                        !p_.varies[s.node] && !p_.access_varies(s.access);
      (once ? p_.row_stores : p_.loop_stores).push_back(static_cast<int32_t>(i));
    }
    computed_.assign(live.size(), -1);
    for (size_t s = 0; s < p_.stages.size(); ++s) fill_stage(static_cast<int>(s));
  }

  // Whether the result of a reduction depends on its tree.
  bool ordered(const Reduction& r) const {
    const ScalarNode& n = k_.body.node(r.node);
    return n.op == ScalarOp::reduce_sum && is_floating(n.type);
  }
  static bool fits_lanes(ir::Tree t) {
    const int vectors = t.lanes / kLanes;
    return t.lanes % kLanes == 0 && (vectors == 1 || vectors == 2 || vectors == 4) &&
           t.chunk % t.lanes == 0;
  }

  void group_reductions(int level) {
    std::vector<int32_t> mine;
    for (size_t i = 0; i < p_.reductions.size(); ++i)
      if (p_.level[p_.reductions[i].node] == level + 1) mine.push_back(static_cast<int32_t>(i));
    const auto tree = [&](int32_t i) { return Body::tree(k_.body.node(p_.reductions[i].node)); };
    if (k_.form != KernelForm::columns) {
      Stage& stage = p_.stages.emplace_back();
      stage.reductions = mine;
      stage.tree = ir::kRowTree;
      for (int32_t i : mine)
        if (ordered(p_.reductions[i]) && fits_lanes(tree(i))) {
          stage.tree = tree(i);
          break;
        }
      for (int32_t i : mine)
        p_.reductions[i].in_lanes = !ordered(p_.reductions[i]) || tree(i) == stage.tree;
      return;
    }
    // Columns: a stage for each tree; reductions that any tree serves join the first.
    std::vector<ir::Tree> trees;
    for (int32_t i : mine)
      if (ordered(p_.reductions[i]) &&
          std::find(trees.begin(), trees.end(), tree(i)) == trees.end())
        trees.push_back(tree(i));
    if (trees.empty()) trees.push_back(tree(mine[0]));
    for (ir::Tree t : trees) {
      Stage& stage = p_.stages.emplace_back();
      stage.tree = t;
      for (int32_t i : mine)
        if (ordered(p_.reductions[i]) ? tree(i) == t : t == trees[0]) stage.reductions.push_back(i);
    }
  }

  void fill_stage(int index) {
    Stage& stage = p_.stages[index];
    const bool last = index + 1 == static_cast<int>(p_.stages.size());
    const bool columns = k_.form == KernelForm::columns;
    std::vector<int32_t> roots;
    for (int32_t r : stage.reductions) roots.push_back(k_.body.node(p_.reductions[r].node).arg[0]);
    if (last)
      for (const ir::Store& s : k_.stores) {
        roots.push_back(s.node);
        if (const int32_t i = k_.accesses[s.access].index; i >= 0) roots.push_back(i);
      }
    std::vector<char> seen(k_.body.nodes().size(), 0);
    const auto visit = [&](auto&& self, int32_t id) -> void {
      if (seen[id]) return;
      seen[id] = 1;
      const ScalarNode& n = k_.body.node(id);
      if (!p_.varies[id]) {
        // Computed once per row, in the first stage that needs it; rows of the columns form start
        // afresh in each stage.
        if (!columns && computed_[id] >= 0) return;
        computed_[id] = index;
        if (!is_reduce(n.op)) {
          for_each_source(k_, n, [&](int32_t s) { self(self, s); });
          stage.uniform.push_back(id);
        }
        return;
      }
      const int before = computed_[id];
      if (!columns && before >= 0 && before < index && recompute_cost_[id] > keep_.above) {
        std::vector<int32_t>& kept = p_.stages[before].kept;
        const bool known = std::find(kept.begin(), kept.end(), id) != kept.end();
        if (known || rows_kept_ < keep_.rows) {
          stage.restored.push_back(id);
          if (!known) {
            kept.push_back(id);
            ++rows_kept_;
          }
          return;
        }
      }
      if (before < 0) computed_[id] = index;
      if (!is_reduce(n.op)) for_each_source(k_, n, [&](int32_t s) { self(self, s); });
      stage.varying.push_back(id);
      stage.cost += node_cost(k_, n);
    };
    for (int32_t root : roots) visit(visit, root);
    std::sort(stage.uniform.begin(), stage.uniform.end());
    std::sort(stage.varying.begin(), stage.varying.end());
  }

  void lay_out() {
    ScratchNeeds& needs = p_.scratch;
    needs.columns = k_.form == KernelForm::columns;
    needs.outer_rank = k_.outer_rank;
    if (needs.columns) {
      for (const Stage& stage : p_.stages) {
        if (stage.reductions.empty()) continue;
        ScratchNeeds::Stack& stack =
            needs.stacks.emplace_back(ScratchNeeds::Stack{stage.tree.chunk, 0});
        for (int32_t i : stage.reductions) {
          Reduction& r = p_.reductions[i];
          const auto bytes = static_cast<int64_t>(size_of(k_.body.node(r.node).type));
          r.tile = needs.tile_bytes;
          needs.tile_bytes += bytes * kColumnTile * stage.tree.lanes;
          stack.level_bytes += bytes * kColumnTile;
        }
      }
      return;
    }
    const auto add_row = [&](DType type) {
      p_.row_offset.push_back(needs.row_bytes);
      needs.row_bytes += static_cast<int64_t>(size_of(type));
      return static_cast<int>(p_.row_offset.size()) - 1;
    };
    for (const Stage& stage : p_.stages)
      for (int32_t id : stage.kept) p_.row[id] = add_row(k_.body.node(id).type);
    for (Reduction& r : p_.reductions)
      if (!r.in_lanes) r.row = add_row(k_.body.node(r.node).type);
  }

  Plan& p_;
  const Kernel& k_;
  const KeepPolicy keep_;
  int rows_kept_ = 0;
  std::vector<int> recompute_cost_;
  std::vector<int> computed_;  // by node: the first stage that computes it, or -1
};

}  // namespace

bool Plan::access_varies(int32_t access) const {
  const Access& a = kernel.accesses[access];
  return a.inner != InnerStride::zero || (a.guards >> kernel.outer_rank & 1) ||
         (a.index >= 0 && varies[a.index]);
}

bool Plan::splittable_inner() const {
  if (kernel.form == KernelForm::columns) return true;
  if (!reductions.empty() || !row_stores.empty()) return false;
  return std::all_of(loop_stores.begin(), loop_stores.end(), [&](int32_t i) {
    const Access& a = kernel.accesses[kernel.stores[i].access];
    return a.inner != InnerStride::zero &&
           (kernel.form != KernelForm::scatter || a.index < 0 || !varies[a.index]);
  });
}

int64_t ScratchNeeds::bytes(const ir::Launch& launch) const {
  if (!columns) return row_bytes * scratch_row_length(launch.inner);
  const int64_t rows = launch.outer[outer_rank - 1];
  int64_t stack = 0;
  for (const Stack& s : stacks) {
    const int64_t chunks = rows / s.chunk + (rows % s.chunk != 0);
    if (chunks > 1 && launch.chunks <= 1)
      stack =
          std::max<int64_t>(stack, s.level_bytes * std::bit_width(static_cast<uint64_t>(chunks)));
  }
  return tile_bytes + stack;
}

Plan make_plan(const Kernel& kernel, const KeepPolicy& keep) {
  Plan plan;
  plan.kernel = Expander(kernel).take();
  Planner(plan, keep).run();
  return plan;
}

}  // namespace corten::codegen
