#include "cuda/attention/attention_step.h"

namespace corten::cuda {

AttentionStep::AttentionStep(const ir::Node& node, std::span<const ir::Type> types,
                             std::span<const ir::Layout> layouts, int shared_limit)
    : attrs_(ir::get<ops::AttentionAttrs>(node.attrs)),
      gradient_(node.op->name == "attention_grad"),
      args_(attention_args(node, types, layouts)) {
  std::vector<char*> places;
  for (size_t i = 0; i < types.size(); ++i) {
    offsets_.push_back(layouts[i].offset * static_cast<int64_t>(size_of(types[i].dtype)));
    places.push_back(reinterpret_cast<char*>(offsets_.back()));
  }
  offsets_.resize(types.size() + node.types.size(), 0);
  places.resize(offsets_.size(), nullptr);
  AttentionArgs placed = args_;
  set_addresses(attrs_, places, placed);
  placed.mask = args_.mask;
  kernels_ = attention_kernels(placed, gradient_, shared_limit);
}

std::vector<int64_t> AttentionStep::words(std::span<const uint64_t> addresses,
                                          uint64_t workspace) const {
  std::vector<char*> places;
  for (size_t i = 0; i < addresses.size(); ++i)
    places.push_back(reinterpret_cast<char*>(addresses[i] + static_cast<uint64_t>(offsets_[i])));
  AttentionArgs args = args_;
  const DropoutState dropout = set_addresses(attrs_, places, args);
  return attention_words(args, dropout, workspace);
}

std::map<int32_t, AttentionStep> attention_steps(const kernel::Partition& partition,
                                                 int shared_limit) {
  std::map<int32_t, AttentionStep> out;
  for (size_t s = 0; s < partition.steps.size(); ++s) {
    if (!partition.steps[s].library) continue;
    const ir::Node& node =
        partition.graph->nodes()[static_cast<size_t>(partition.steps[s].members[0])];
    if (node.op->name != "attention" && node.op->name != "attention_grad") continue;
    std::vector<ir::Type> types;
    std::vector<ir::Layout> layouts;
    for (ir::ValueRef r : node.inputs) {
      types.push_back(partition.graph->type(r));
      layouts.push_back(partition.places[r].layout);
    }
    out.emplace(static_cast<int32_t>(s), AttentionStep(node, types, layouts, shared_limit));
  }
  return out;
}

}  // namespace corten::cuda
