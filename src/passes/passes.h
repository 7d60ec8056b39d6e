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
/// The same for a library whose epilogues do not keep the contract (a bf16 result with an f32 bias is rounded twice there): a
/// bias stays an addition, which is fused with what follows it.
ir::Graph claim_products(const ir::Graph& graph);
/// Values that follow a product row by row and are larger than `limit` bytes (the logits of a language model, and their
/// gradients) are made in pieces of rows, if nothing needs them whole: products of a piece's rows, and weight gradients that go
/// on from piece to piece. The bits stay the same: rows do not depend on each other, and the sums over rows keep their chains.
/// After claim, which makes the products; before schedule, which would mix other work between the pieces.
ir::Graph chunk_rows(const ir::Graph& graph, int64_t limit);
/// Lets products read float32 values in place of their bf16 copies, if products alone read such a copy and the float32 value is
/// in memory anyway: parameters, mostly. The family rounds as it packs, so the bits are those of the copy, which is never
/// stored. After chunk, which looks for the products that claim made; before schedule, which goes by what lives when.
ir::Graph absorb(const ir::Graph& graph);
/// Gives composites that a kernel family computes whole (attention) to it. A defining pass: after it, they have the
/// family's bits. Before expand, which takes what no family wants.
ir::Graph claim_composites(const ir::Graph& graph);
/// The same for GPUs, whose family has attention with head sizes up to this. It serves many queries at a time: what has so few
/// of them per head as a step of decoding is left to the expansion's products.
ir::Graph claim_attention(const ir::Graph& graph);
inline constexpr int64_t kMaxGpuHeadSize = 128, kFewGpuQueries = 8;
/// Gives convolutions and their gradients to a GPU's library, which rounds its float32 sums to the operands' type: sums that must
/// not be (weight gradients, what a bias is added to) are made of operands widened to float32. A defining pass, before expand.
ir::Graph claim_convolutions(const ir::Graph& graph);
/// Replaces products of 8-bit floats by their definition but for those that tensor cores take, if there are any for such types
/// (`claimed`): at most one f8_e5m2 operand, sizes k and n in multiples of 16. A defining pass. After expand, which makes
/// such products of layers; before precision and claim, which see what they became.
ir::Graph expand_float8(const ir::Graph& graph, bool claimed);
/// Replaces every composite by its definition, until only primitives are left; with `claimed`, library ops that are
/// claimed composites too, as the reference evaluates them.
ir::Graph expand(const ir::Graph& graph, bool claimed = false);
/// Moves a node down to just before its first user where fewer bytes live in between: operands that live on anyway do not
/// count.
ir::Graph schedule(const ir::Graph& graph);
/// Inserts copies where strides cannot express a view, where a product cannot read an operand, and where an output is not
/// storage of its own. Required before fuse; last graph pass.
ir::Graph materialize(const ir::Graph& graph);
/// The same where the GPU's library of convolutions reads contiguous operands at multiples of 16 bytes only.
ir::Graph materialize_for_gpu(const ir::Graph& graph);

}  // namespace corten::passes
