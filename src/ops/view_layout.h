// What passes ask of ops: where the elements of a view lie, and attributes.
#pragma once

#include <optional>

#include "ir/op.h"

namespace corten::ops {

/// Layout of the result of a view op over a source of `dims` lying at `layout`; nothing if strides cannot express it (a
/// reshape of a source that is not contiguous enough).
std::optional<ir::Layout> view_layout(const ir::Op& op, const ir::AttrsPtr& attrs, const ir::Dims& dims, const ir::Layout& layout);

/// The number that a `full` op fills its result with.
double full_value(const ir::AttrsPtr& attrs);
/// Strides of the coordinates that an `iota` op adds up.
const ir::Dims& iota_strides(const ir::AttrsPtr& attrs);
/// The axis that a reduction combines.
int64_t reduce_axis(const ir::AttrsPtr& attrs);
/// The tree by which it does.
ir::Tree reduce_tree(const ir::AttrsPtr& attrs);

}  // namespace corten::ops
