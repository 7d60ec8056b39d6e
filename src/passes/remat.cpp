#include "passes/remat.h"

#include <algorithm>
#include <limits>

#include "passes/passes.h"
#include "passes/rewrite.h"

namespace corten::passes {

using ir::Graph;
using ir::Node;
using ir::OpKind;
using ir::ValueRef;
using ir::ValueRefs;
using Held = Timeline::Held;

namespace {

/// Products do about this many operations in the time of one byte moved.
constexpr double kFlopsPerByte = 20;
/// Time of an element-wise function of one element, in bytes moved.
constexpr double kBytesPerFunction = 0.5;

class Order {
 public:
  Order(const Graph& graph, const Timeline& t) : graph_(graph), t_(t), buffers_of_(graph.nodes().size()), closures_(graph.nodes().size()) {
    live_.assign(static_cast<size_t>(t.steps), 0);
    lives_.resize(t.buffers.size());
    for (size_t k = 0; k < t.buffers.size(); ++k) {
      const Timeline::Buffer& b = t.buffers[k];
      index_[b.root] = static_cast<int32_t>(k);
      buffers_of_[b.root.node].push_back(static_cast<int32_t>(k));
      lives_[k] = {{b.touches.front(), b.touches.back()}};
      change(b.touches.front(), b.touches.back(), b.bytes);
    }
    for (const ir::Output& o : graph.outputs()) kept_.push_back((*t.places)[o.value].root.node);
    for (int32_t s = 0; s < t.steps; ++s) total_ += time(s);
  }

  std::vector<Recomputation> run(double most_cost) {
    std::vector<Recomputation> out;
    double cost = 0;
    while (out.size() < kMost) {
      const int32_t peak = peak_step();
      if (peak < 0) break;
      Choice best;
      for (int32_t node = 0; node < static_cast<int32_t>(graph_.nodes().size()); ++node)
        if (Choice c = choice(node, peak); c.gain > 0 && c.gain / c.cost > best.gain / best.cost) best = std::move(c);
      if (best.node < 0 || cost + best.cost / total_ > most_cost) break;
      apply(best, peak);
      cost += best.cost / total_;
      out.push_back({best.node, peak, cost, live_[static_cast<size_t>(peak_step())]});
    }
    return out;
  }

 private:
  static constexpr size_t kMost = 4096;

  /// What computing a node again reads, and its time.
  struct Closure {
    bool known = false, possible = false;
    std::vector<ValueRef> leaves;  // roots in memory
    double cost = 0;
  };
  struct Choice {
    int32_t node = -1, at = 0;  // computed again for step `at`
    double gain = 0, cost = 1;
    std::vector<std::pair<int32_t, int32_t>> extended;  // buffers that must live till a step
  };

  double time(int32_t step) const { return t_.bytes[step] + t_.flops[step] / kFlopsPerByte; }
  void change(int32_t first, int32_t last, int64_t bytes) {
    for (int32_t s = first; s <= last; ++s) live_[static_cast<size_t>(s)] += bytes;
  }
  int32_t peak_step() const {
    return live_.empty() ? -1 : static_cast<int32_t>(std::max_element(live_.begin(), live_.end()) - live_.begin());
  }

  const Closure& closure(int32_t node) {
    Closure& c = closures_[node];
    if (c.known) return c;
    c.known = true;
    const Node& n = graph_.nodes()[node];
    // Gradients stay: whoever asks for less memory for activations does not expect products of the backward pass twice.
    if (n.source.stage != ir::Stage::forward || t_.held[node] != Held::stored || buffers_of_[node].empty() || n.op->in_place >= 0 || n.op->kind == OpKind::scatter ||
        n.op->kind == OpKind::input || n.op->kind == OpKind::constant)
      return c;
    if (std::find(kept_.begin(), kept_.end(), node) != kept_.end()) return c;
    for (size_t k = 0; k < n.types.size(); ++k)
      if (t_.overwritten.count({node, static_cast<int32_t>(k)})) return c;
    c.possible = true;
    std::vector<int32_t> seen;
    gather(node, true, c, seen);
    for (ValueRef leaf : c.leaves) c.cost += static_cast<double>(graph_.type(leaf).bytes());
    for (int32_t k : buffers_of_[node]) c.cost += static_cast<double>(t_.buffers[k].bytes);
    return c;
  }
  void gather(int32_t node, bool top, Closure& c, std::vector<int32_t>& seen) {
    if (std::find(seen.begin(), seen.end(), node) != seen.end()) return;
    seen.push_back(node);
    const Node& n = graph_.nodes()[node];
    if (!top && t_.held[node] == Held::stored) {
      const ValueRef root = (*t_.places)[{node, 0}].root;
      if (std::find(c.leaves.begin(), c.leaves.end(), root) == c.leaves.end()) c.leaves.push_back(root);
      return;
    }
    if (n.op->in_place >= 0 || n.op->kind == OpKind::scatter) c.possible = false;
    if (n.op->kind == OpKind::library) c.cost += t_.flops[t_.step_of[node]] / kFlopsPerByte;
    else if (n.op->kind != OpKind::view)
      c.cost += kBytesPerFunction * static_cast<double>(ir::product(n.types[0].dims));
    for (ValueRef r : n.inputs) {
      // Results of a node with several are leaves of their own.
      if (r.output > 0 && t_.held[r.node] == Held::stored) {
        const ValueRef root = (*t_.places)[r].root;
        if (std::find(c.leaves.begin(), c.leaves.end(), root) == c.leaves.end()) c.leaves.push_back(root);
      } else {
        gather(r.node, false, c, seen);
      }
    }
  }

  /// The steps around `step` at which a buffer that lives then is touched; equal to it if it is touched there.
  struct Gap {
    int32_t before = -1, behind = -1;
  };
  bool lives_at(int32_t buffer, int32_t step) const {
    for (auto [first, last] : lives_[buffer])
      if (first <= step && step <= last) return true;
    return false;
  }
  Gap gap(int32_t buffer, int32_t step) const {
    const std::vector<int32_t>& touches = t_.buffers[buffer].touches;
    const auto next = std::upper_bound(touches.begin(), touches.end(), step);
    if (next == touches.begin() || next == touches.end()) return {};
    return {*(next - 1), *next};
  }

  Choice choice(int32_t node, int32_t peak) {
    Choice out;
    if (buffers_of_[node].empty()) return out;
    int64_t saved = 0;
    int32_t at = std::numeric_limits<int32_t>::max();
    for (int32_t k : buffers_of_[node]) {
      if (!lives_at(k, peak)) continue;
      const Gap g = gap(k, peak);
      if (g.behind < 0 || g.before == peak) return out;  // needed now, or never again
      at = std::min(at, g.behind);
      saved += t_.buffers[k].bytes;
    }
    if (saved == 0 || !closure(node).possible) return out;
    out.at = at;
    out.cost = 0;
    int64_t added = 0;
    if (!require(node, at, peak, added, out, 0) || saved <= added) return out;
    out.node = node;
    out.gain = static_cast<double>(saved - added);
    return out;
  }

  /// What computing `node` again at step `at` takes: operands that would be gone live longer, or are computed again too.
  bool require(int32_t node, int32_t at, int32_t peak, int64_t& added, Choice& out, int depth) {
    const Closure& c = closure(node);
    if (!c.possible || depth > 8) return false;
    out.cost += c.cost;
    for (ValueRef leaf : c.leaves) {
      if (const auto o = t_.overwritten.find(leaf); o != t_.overwritten.end() && o->second < at) return false;
      const auto found = index_.find(leaf);
      if (found == index_.end()) continue;  // arguments and constants are always there
      const int32_t k = found->second;
      if (lives_at(k, at)) continue;
      const auto& lives = lives_[k];
      const bool cut = std::any_of(lives.begin(), lives.end(), [&](auto life) { return life.first > at; });
      if (cut && lives.front().first < at) {  // let go before, computed again earlier now
        if (!require(leaf.node, at, peak, added, out, depth + 1)) return false;
        continue;
      }
      const auto last = std::find_if(lives.rbegin(), lives.rend(), [&](auto life) { return life.second < at; });
      if (last == lives.rend()) return false;
      if (last->second < peak && peak <= at) added += t_.buffers[k].bytes;
      out.extended.emplace_back(k, at);
    }
    return true;
  }

  void apply(const Choice& c, int32_t peak) {
    for (auto [k, at] : c.extended) {
      if (lives_at(k, at)) continue;
      auto& lives = lives_[k];
      const auto last = std::find_if(lives.rbegin(), lives.rend(), [at = at](auto life) { return life.second < at; });
      change(last->second + 1, at, t_.buffers[k].bytes);
      last->second = at;
    }
    for (int32_t k : buffers_of_[c.node]) {
      if (!lives_at(k, peak)) continue;
      const Gap g = gap(k, peak);
      auto& lives = lives_[k];
      const auto life = std::find_if(lives.begin(), lives.end(), [&](auto l) { return l.first <= peak && peak <= l.second; });
      const int32_t last = life->second, before = std::max(g.before, life->first);
      // A node of several results makes them all again at once.
      if (last < c.at) continue;
      change(before + 1, c.at - 1, -t_.buffers[k].bytes);
      life->second = before;
      lives.insert(life + 1, {c.at, last});
    }
  }

  const Graph& graph_;
  const Timeline& t_;
  std::vector<std::vector<int32_t>> buffers_of_;  // of each node
  std::vector<Closure> closures_;
  std::vector<std::vector<std::pair<int32_t, int32_t>>> lives_;  // of each buffer, ascending
  std::vector<int64_t> live_;                                    // bytes at each step
  std::map<ValueRef, int32_t> index_;
  std::vector<int32_t> kept_;
  double total_ = 1e-9;
};

/// Rebuilds the graph; late readers get clones, which are appended just before the first of them.
class Recompute {
 public:
  Recompute(const Graph& graph, const Timeline& t, const std::vector<Recomputation>& choices) : old_(graph), t_(t) {
    for (const Recomputation& c : choices) cuts_[c.node].push_back(c.after);
    for (const Node& n : graph.nodes()) first_phase_ = std::max(first_phase_, n.phase + 1);
  }

  Graph run() {
    return dce(Rewriter(old_).run([&](Rewriter& rw, const Node& n, int32_t i) {
      rw_ = &rw;
      const int32_t at = t_.step_of[i];
      if (at < 0) return rw.keep(n);
      phase_ = first_phase_ + i;
      ValueRefs in;
      for (ValueRef r : n.inputs) in.push_back(need(r, at));
      return rw.graph().append(n, std::move(in));
    }));
  }

 private:
  int version(int32_t node, int32_t at) const {
    const auto found = cuts_.find(node);
    if (found == cuts_.end()) return 0;
    return static_cast<int>(std::count_if(found->second.begin(), found->second.end(), [&](int32_t after) { return after < at; }));
  }

  /// The value as a reader at step `at` finds it.
  ValueRef need(ValueRef r, int32_t at) {
    auto known = needed_.find({r.node, at});
    if (known == needed_.end()) known = needed_.emplace(std::pair(r.node, at), make(r.node, at, false)).first;
    return result(r, known->second);
  }
  /// The same for a value that is computed again: what no memory holds is computed again too.
  ValueRef again(ValueRef r, int32_t at) {
    auto known = again_.find({r.node, at});
    if (known == again_.end()) known = again_.emplace(std::pair(r.node, at), make(r.node, at, true)).first;
    return result(r, known->second);
  }
  ValueRef result(ValueRef r, const ValueRefs& clones) const { return clones.empty() ? rw_->at(r) : clones[r.output]; }

  /// Clones of a node's results for readers at `at`; none if the old ones serve.
  ValueRefs make(int32_t node, int32_t at, bool always) {
    const Node& n = old_.nodes()[node];
    const Held held = t_.held[node];
    if (n.op->kind == OpKind::input || n.op->kind == OpKind::constant) return {};
    const int v = version(node, at);
    if (v > 0) {
      auto found = versions_.find({node, v});
      if (found == versions_.end()) found = versions_.emplace(std::pair(node, v), clone(node, operands(n, at, true))).first;
      return found->second;
    }
    if (held == Held::stored) return {};
    ValueRefs in = operands(n, at, always);
    if (in == rw_->graph().node(rw_->at({node, 0})).inputs && !(always && held == Held::inner)) return {};
    auto key = std::pair(node, std::vector<ValueRef>(in.begin(), in.end()));
    auto found = derived_.find(key);
    if (found == derived_.end()) found = derived_.emplace(key, clone(node, std::move(in))).first;
    return found->second;
  }
  ValueRefs operands(const Node& n, int32_t at, bool always) {
    ValueRefs in;
    for (ValueRef r : n.inputs) in.push_back(always ? again(r, at) : need(r, at));
    return in;
  }
  ValueRefs clone(int32_t node, ValueRefs in) {
    const Node& n = old_.nodes()[node];
    return rw_->graph().append(*n.op, n.attrs, std::move(in), n.source, phase_);
  }

  const Graph& old_;
  const Timeline& t_;
  Rewriter* rw_ = nullptr;
  std::map<int32_t, std::vector<int32_t>> cuts_;
  std::map<std::pair<int32_t, int32_t>, ValueRefs> needed_, again_;  // by node and step
  std::map<std::pair<int32_t, int>, ValueRefs> versions_;
  std::map<std::pair<int32_t, std::vector<ValueRef>>, ValueRefs> derived_;  // by node and operands
  int32_t first_phase_ = 0, phase_ = 0;
};

}  // namespace

std::vector<Recomputation> order_recomputations(const Graph& graph, const Timeline& timeline, double most_cost) {
  return Order(graph, timeline).run(most_cost);
}

Graph recompute(const Graph& graph, const Timeline& timeline, const std::vector<Recomputation>& choices) {
  return Recompute(graph, timeline, choices).run();
}

}  // namespace corten::passes
