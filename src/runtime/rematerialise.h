// Choosing what to compute again by real plans (docs/design/memory.md).
#pragma once

#include <functional>

#include "runtime/draft.h"

namespace corten::runtime {

/// The draft that keeps to the budget with the least recomputation, or the least one; without a budget, what costs next to
/// nothing. `draft` plans a graph.
std::unique_ptr<Draft> rematerialise(std::unique_ptr<Draft> plain, int64_t budget,
                                     const std::function<std::unique_ptr<Draft>(ir::Graph)>& draft);

}  // namespace corten::runtime
