// The operands of attention nodes as the family takes them.
#pragma once

#include <span>

#include "attention/attention.h"
#include "ir/graph.h"
#include "ops/attention.h"

namespace corten {

/// Sizes, strides and attributes of an `attention` or `attention_grad` node whose inputs lie at `layouts`; results are
/// contiguous. Pointers are null, and left to the caller with the offsets of the layouts, but `mask`, which is not null if
/// there is one.
AttentionArgs attention_args(const ir::Node& node, std::span<const ir::Type> types, std::span<const ir::Layout> layouts);

/// Where seed and step of dropout lie; null without.
struct DropoutState {
  const void *seed = nullptr, *step = nullptr;
};
/// `addresses`: of an attention node's inputs, then of its results, in order.
DropoutState set_addresses(const ops::AttentionAttrs& attrs, std::span<char* const> addresses, AttentionArgs& args);

}  // namespace corten
