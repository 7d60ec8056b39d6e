// Reverse mode: walks the tape from results back to leaves, applying each op's gradient rule through the current builder,
// so that it works the same on concrete values and inside a graph.
#pragma once

#include "ir/value.h"

namespace corten::autodiff {

/// Gradients of sum_i <outputs[i], seeds[i]> with respect to the leaves or intermediate values behind `wrt`; null where
/// nothing depends on one. Adjoints of a value are added as a left fold in reverse order of creation (numerics contract,
/// point 5). `create_graph` records the gradient computation on the tape too, for second derivatives.
/// Unless `through`, the graph ends at `wrt`: nothing behind them contributes.
ir::Values gradients(const ir::Values& outputs, const ir::Values& seeds, const std::vector<ir::GradEdge>& wrt,
                     bool create_graph, bool through = true);

/// Every leaf (parameter) that `outputs` depend on, in order of creation.
std::vector<ir::GradEdge> leaves(const ir::Values& outputs);

}  // namespace corten::autodiff
