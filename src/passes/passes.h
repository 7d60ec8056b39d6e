// The graph passes. Each takes a graph and returns a better one of the same meaning.
#pragma once

#include "ir/graph.h"

namespace corten::passes {

/// Evaluates what depends on constants only, in the run's arithmetic, and drops operations without effect (casts to the
/// same type, products with one, views of views). Early: the less the other passes see, the better.
ir::Graph fold(const ir::Graph& graph);
/// Merges equal nodes of equal operands. Nodes of different phases stay apart: recomputation is deliberate.
ir::Graph cse(const ir::Graph& graph);
/// Removes nodes that no output depends on.
ir::Graph dce(const ir::Graph& graph);
/// Gives matrix products to the GEMM family, with a following bias and rounding as its epilogue. A defining pass: after
/// it, products have the family's bits. Before expand would be too early: products hide in composites.
ir::Graph claim(const ir::Graph& graph);
/// Replaces every composite by its definition, until only primitives are left. After families had their turn.
ir::Graph expand(const ir::Graph& graph);
/// Moves a node down to just before its first user where that shortens lives: operands that live on anyway do not count.
ir::Graph schedule(const ir::Graph& graph);
/// Inserts copies where strides cannot express a view, where a product cannot read an operand, and where an output is not
/// storage of its own. Required before fuse; last graph pass.
ir::Graph materialize(const ir::Graph& graph);

}  // namespace corten::passes
