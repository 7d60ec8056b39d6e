// schedule: when each value is made. Moving a node changes no bits, only what lives at the same time.
#include <algorithm>
#include <numeric>

#include "ops/functions.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

namespace corten::passes {
namespace {

using ir::Graph;
using ir::Node;
using ir::OpKind;
using ir::ValueRef;

// Gradients smaller than this are not worth a kernel launch of their own.
constexpr int64_t kWorthHoisting = 1 << 20;

bool is_leaf(const Node& n) { return n.op == &ir::kInputOp || n.op == &ir::kConstantOp; }

class Scheduler {
 public:
  explicit Scheduler(const Graph& graph)
      : graph_(graph), nodes_(graph.nodes()), count_(static_cast<int32_t>(nodes_.size())), users_(nodes_.size()), output_(nodes_.size()), together_(nodes_.size()) {
    for (int32_t i = 0; i < count_; ++i)
      for (ValueRef r : nodes_[i].inputs) users_[r.node].push_back({i, r.output});
    for (const ir::Output& o : graph.outputs()) output_[o.value.node] = true;
  }

  Graph run() {
    move_down();
    move_numbers_up();
    move_updates_up();
    return in_order();
  }

 private:
  struct User {
    int32_t node, output;
  };

  // To just before the first user where fewer bytes live in between; views follow their user for free.
  void move_down() {
    place_.resize(nodes_.size());
    for (int32_t i = count_; i-- > 0;) {
      place_[i] = i;
      const Node& n = nodes_[i];
      if (is_leaf(n) || users_[i].empty()) continue;
      int32_t target = count_;
      for (const User& u : users_[i]) target = std::min(target, place_[u.node]);
      int64_t own = 0, kept = 0;  // bytes that need not live till then, and bytes that must
      for (const ir::Type& t : n.types) own += t.bytes();
      for (ValueRef r : n.inputs) {
        const Node& operand = nodes_[r.node];
        bool lives_on = is_leaf(operand) || operand.op->kind == OpKind::full || operand.op->kind == OpKind::iota || output_[r.node];
        // Another user at or behind the target keeps the operand alive anyway; the later ones come first.
        for (size_t u = users_[r.node].size(); u-- > 0 && !lives_on && users_[r.node][u].node >= target;)
          lives_on = users_[r.node][u].node != i && users_[r.node][u].output == r.output;
        if (!lives_on) kept += graph_.type(r).bytes();
      }
      if (kept == 0 || kept < own) place_[i] = target;
    }
  }

  // Single numbers that depend on arguments only (the optimizer's bias corrections) come first: made later they would come
  // between the parts of the kernels that read them. Unless they are new state whose old value has other readers.
  void move_numbers_up() {
    std::vector<bool> output = output_;
    early_.assign(nodes_.size(), false);
    for (const ir::Output& o : graph_.outputs())
      if (o.alias >= 0 && users_[graph_.inputs()[o.alias].node].size() == 1) output[o.value.node] = false;
    for (int32_t i = 0; i < count_; ++i) {
      const Node& n = nodes_[i];
      early_[i] = is_leaf(n);
      if (early_[i] || !is_number(n) || (n.op->kind != OpKind::elementwise && n.op->kind != OpKind::view) || output[i]) continue;
      early_[i] = std::all_of(n.inputs.begin(), n.inputs.end(),
                              [&](ValueRef r) { return early_[r.node] || nodes_[r.node].op->kind == OpKind::full; });
      if (early_[i]) place_[i] = -1;
    }
    for (int32_t i = 0; i < count_; ++i)
      if (place_[i] < 0)
        for (ValueRef r : nodes_[i].inputs)
          if (!early_[r.node]) place_[r.node] = -1;
  }

  // What the optimizer makes of one gradient (new state, a part of the norm) comes right after what it reads: a large gradient is
  // gone before the next one is made.
  void move_updates_up() {
    std::vector<int32_t> written_over(nodes_.size(), -1);  // by maker of new state: the input whose memory it takes
    for (const ir::Output& o : graph_.outputs()) {
      const bool once = o.alias >= 0 && written_over[o.value.node] < 0 && nodes_[o.value.node].types.size() == 1;
      written_over[o.value.node] = once ? graph_.inputs()[o.alias].node : -2;
    }
    // Connected parts of the nodes that nothing else depends on; the number of a part is that of its last node.
    std::vector<int32_t> part(nodes_.size(), -1);
    std::vector<int32_t> parent;
    const auto find = [&](int32_t x) {
      while (parent[x] != x) x = parent[x] = parent[parent[x]];
      return x;
    };
    // Numbers spread over a shape are shared by all parameters of that shape; they are no memory.
    for (int32_t i = 0; i < count_; ++i) {
      const Node& n = nodes_[i];
      const bool spread = n.op->kind == OpKind::view && std::all_of(n.inputs.begin(), n.inputs.end(), [&](ValueRef r) {
        return early_[r.node] && !(is_leaf(nodes_[r.node]) && !is_number(nodes_[r.node]));
      });
      if (!spread && n.op->kind != OpKind::full) continue;
      early_[i] = true;
      place_[i] = -1;
    }
    for (int32_t i = count_; i-- > 0;) {
      const Node& n = nodes_[i];
      const OpKind kind = n.op->kind;
      if (early_[i] || place_[i] < 0 || written_over[i] == -2 || n.types.size() != 1 || n.source.stage != ir::Stage::update) continue;
      const bool number = kind == OpKind::reduce && is_number(n) && written_over[i] < 0;  // whatever reads it stays behind
      if (!number) {
        if (kind != OpKind::elementwise && kind != OpKind::view && kind != OpKind::reduce) continue;
        if (is_number(n)) continue;
        const bool inside = std::all_of(users_[i].begin(), users_[i].end(), [&](const User& u) { return part[u.node] >= 0; });
        if (!inside || (users_[i].empty() && written_over[i] < 0)) continue;
      }
      part[i] = static_cast<int32_t>(parent.size());
      parent.push_back(part[i]);
      if (number) continue;
      for (const User& u : users_[i]) parent[find(part[u.node])] = part[i];
    }
    struct Part {
      int32_t after = -1, large = -1;  // what it reads is made by then; what is large of that
      int32_t first = INT32_MAX;       // where it is now
      bool stays = false;
    };
    std::vector<Part> parts(parent.size());
    for (int32_t i = 0; i < count_; ++i) {
      if (part[i] < 0) continue;
      part[i] = find(part[i]);
      Part& p = parts[part[i]];
      p.first = std::min(p.first, place_[i]);
    }
    for (int32_t i = 0; i < count_; ++i) {
      if (part[i] < 0) continue;
      Part& p = parts[part[i]];
      for (ValueRef r : nodes_[i].inputs) {
        if (part[r.node] == part[i] || early_[r.node]) continue;
        p.after = std::max(p.after, place_[r.node]);
        if (graph_.type(r).bytes() >= kWorthHoisting) p.large = std::max(p.large, place_[r.node]);
      }
      if (written_over[i] < 0) continue;
      for (const User& u : users_[written_over[i]]) {  // readers of the old state come before
        if (part[u.node] == part[i]) continue;
        if (u.node > i) p.stays = true;
        p.after = std::max(p.after, place_[u.node]);
      }
    }
    for (int32_t i = 0; i < count_; ++i) {
      if (part[i] < 0) continue;
      const Part& p = parts[part[i]];
      if (p.stays || p.large < p.after || p.after >= p.first) continue;  // what waits for others keeps its inputs anyway
      place_[i] = p.after;
      together_[i] = part[i] + 1;
    }
  }

  Graph in_order() const {
    std::vector<int32_t> order(nodes_.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return std::pair(place_[a], together_[a]) < std::pair(place_[b], together_[b]);
    });
    ir::ValueMap map;
    Graph out = graph_.header(map);
    for (int32_t i : order) {
      const Node& n = nodes_[i];
      if (is_leaf(n)) continue;
      ir::ValueRefs in;
      for (ValueRef r : n.inputs) in.push_back(map.at(r));
      auto results = out.append(n, std::move(in));
      for (size_t k = 0; k < results.size(); ++k) map[{i, static_cast<int32_t>(k)}] = results[k];
    }
    for (const ir::Output& o : graph_.outputs()) out.output(map.at(o.value), o.alias);
    return out;
  }

  static bool is_number(const Node& n) { return ir::product(n.types[0].dims) == 1; }

  const Graph& graph_;
  const std::vector<Node>& nodes_;
  const int32_t count_;
  std::vector<std::vector<User>> users_;  // of any result, in order
  std::vector<bool> output_, early_;
  std::vector<int32_t> place_;  // place_[i]: the index before which node i is emitted
  std::vector<int32_t> together_;  // > 0: an update that comes as one, after all else of its place
};

}  // namespace

Graph schedule(const Graph& graph) { return Scheduler(graph).run(); }

}  // namespace corten::passes
