// Fusion: which nodes of a materialized graph are computed together.
//
// One rule. A node joins the kernel of its latest operand when it walks the same rows: the same elements in the same order
// (any factorisation of the sizes), or one value per row, or the rows of which that kernel has one value each. Everything
// else starts a kernel. Indices, constants, widening casts and cheap functions of those are virtual: each reader computes
// them itself. A reduction over other axes than the last repeats cheap element-wise work of its operand instead of reading
// it from memory. The order of steps is the order of creation, so a value is always computed before its readers.
#pragma once

#include <set>

#include "ir/kernel.h"
#include "passes/place.h"

namespace corten::kernel {

struct Step {
  int32_t index = 0;                        // in Partition::steps, of copies too
  bool library = false;                     // a family's; otherwise a kernel of the form below
  ir::KernelForm form = ir::KernelForm::rows;
  ir::Dims domain;                          // points of the kernel, the row last; columns: the reduced operand's sizes
  int64_t axis = -1;                        // columns: the reduced axis
  bool row_bound = false;                   // the row may not be split any more
  bool frozen = false;                      // no dimension may be split any more (guards)
  bool chunked = false;                     // reductions leave one partial result per chunk of the row
  int32_t phase = 0;                        // of the first member
  bool finish = false;                      // combines partial results; its only reduction is the first member
  std::vector<int32_t> members;             // nodes, in order
  std::set<ir::ValueRef> clones;            // values of other kernels computed again here, from what is stored anyway
};

struct Partition {
  const ir::Graph* graph;
  passes::Places places;
  std::vector<Step> steps;
  ir::RefSet stored;                        // roots that some step writes to memory
  ir::RefIndex step_of;                     // of a root: the step that computes it
  ir::RefSet virtual_roots;                 // computed by every reader
  ir::RefSet realised;                      // were virtual for steps formed before; got storage for a later reader
};

/// Rows of at least this many elements are reduced in parallel chunks when there are few of them.
inline constexpr int64_t kLongRow = 32768, kFewRows = 8;
/// A kernel's limits: it is split rather than grown beyond them.
inline constexpr size_t kMaxMembers = 96;
/// Limits of what one value may take to be computed again.
inline constexpr size_t kMaxClones = 48;
/// How many readers on a value looks for a kernel to join.
inline constexpr int kMaxSiblings = 8;
inline constexpr int kMaxCostly = 4;

Partition partition(const ir::Graph& graph, bool fuse);

/// The dimensions that both shapes (of the same number of elements) are made of, or nothing.
std::optional<ir::Dims> refine(const ir::Dims& a, const ir::Dims& b);
/// A layout over `dims` as a layout over `domain`: dimensions are split; a value per row does not vary along the row.
std::optional<ir::Layout> to_domain(const ir::Dims& domain, const ir::Dims& dims, const ir::Layout& layout);
/// Whether two layouts over `domain` address the same elements.
bool same_layout(const ir::Dims& domain, const ir::Layout& a, const ir::Layout& b);

}  // namespace corten::kernel
