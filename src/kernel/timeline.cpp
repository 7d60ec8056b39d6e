#include "kernel/timeline.h"

#include <algorithm>

namespace corten::kernel {

using ir::Node;
using ir::ValueRef;
using Held = passes::Timeline::Held;

passes::Timeline timeline(const Partition& p, const std::vector<TimelineStep>& steps,
                          const std::map<ValueRef, ArenaBuffer>& arena) {
  passes::Timeline t;
  const auto& nodes = p.graph->nodes();
  const auto end = static_cast<int32_t>(steps.size());
  t.places = &p.places;
  t.steps = end + 1;
  t.step_of.assign(nodes.size(), -1);
  t.held.assign(nodes.size(), Held::anywhere);
  for (int32_t s = end; s-- > 0;)
    for (const Step* step : steps[static_cast<size_t>(s)].steps)
      for (int32_t node : step->members) t.step_of[static_cast<size_t>(node)] = s;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const ir::OpKind kind = nodes[i].op->kind;
    const ValueRef root = p.places[{static_cast<int32_t>(i), 0}].root;
    if (kind == ir::OpKind::input || kind == ir::OpKind::constant ||
        (kind != ir::OpKind::view && p.stored.count(root)))
      t.held[i] = Held::stored;
    else if (t.step_of[i] >= 0)
      t.held[i] = Held::inner;
  }
  std::map<ValueRef, std::vector<int32_t>> touches;
  std::map<ValueRef, int32_t> first_writer;
  for (int32_t s = 0; s < end; ++s) {
    const TimelineStep& step = steps[static_cast<size_t>(s)];
    const int32_t first = step.steps[0]->members[0];
    const Node& n = nodes[static_cast<size_t>(first)];
    if (!step.stores_result) t.held[static_cast<size_t>(first)] = Held::inner;
    t.bytes.push_back(step.bytes);
    t.flops.push_back(step.flops);
    for (const Storage& r : step.read)
      if (!r.partial) touches[r.root].push_back(s);
    for (const Storage& w : step.written)
      if (!w.partial) {
        touches[w.root].push_back(s);
        first_writer.emplace(w.root, s);
      }
    if (step.steps[0]->library && n.op->in_place >= 0)
      t.overwritten.emplace(p.places[n.inputs[static_cast<size_t>(n.op->in_place)]].root, s);
    if (step.steps[0]->form == ir::KernelForm::scatter)
      t.overwritten.emplace(p.places[n.inputs[0]].root, s);
  }
  t.bytes.push_back(0);
  t.flops.push_back(0);
  for (const ir::Output& o : p.graph->outputs())
    if (o.alias >= 0)
      if (const auto writer = first_writer.find(p.places[o.value].root);
          writer != first_writer.end())
        t.overwritten.emplace(p.graph->inputs()[static_cast<size_t>(o.alias)], writer->second);
  for (auto& [root, at] : touches) {
    const auto buffer = arena.find(root);
    if (buffer == arena.end()) continue;
    at.erase(std::unique(at.begin(), at.end()), at.end());
    if (buffer->second.to_end) at.push_back(end);
    t.buffers.push_back({root, buffer->second.bytes, std::move(at)});
  }
  return t;
}

}  // namespace corten::kernel
