// Where the elements of a view lie, given where its source's lie.
#pragma once

#include <optional>

#include "ir/op.h"

namespace corten::ops {

/// Layout of the result of a view op over a source of `dims` lying at `layout`; nothing if strides cannot express it (a
/// reshape of a source that is not contiguous enough).
std::optional<ir::Layout> view_layout(const ir::Op& op, const ir::AttrsPtr& attrs, const ir::Dims& dims, const ir::Layout& layout);

}  // namespace corten::ops
