// What the emitter decides before it writes code: stages, what is computed once per row, what is
// kept between stages.
//
// A kernel's rows (or, in the columns form, tiles of its columns) are processed in stages with one
// loop each. A stage feeds reductions; the last one holds the stores. In the rows and scatter forms
// stage L feeds the reductions whose argument has level L, where level(reduce) = level(argument) +
// 1; in the columns form reductions of one level and different trees have stages of their own. A
// value that a later stage needs again is computed again where that is cheap and kept in a scratch
// row where it is not.
#pragma once

#include <cstdint>
#include <vector>

#include "ir/kernel.h"

namespace corten::codegen {

inline constexpr int kLanes = 16;             // elements per vector, on every instruction set
inline constexpr int64_t kColumnTile = 1024;  // columns form: columns accumulated at a time

/// A reduce node and where its partial results lie.
struct Reduction {
  int32_t node = -1;
  /// Rows: whether it is accumulated in vectors; otherwise its elements are kept in scratch row
  /// `row` and combined there.
  bool in_lanes = true;
  int row = -1;
  /// Columns: byte offset of its accumulators (one per lane of the tree) in the scratch of a column
  /// tile.
  int64_t tile = 0;
};

struct Stage {
  std::vector<int32_t> uniform;     ///< nodes evaluated once per row before the loop, in order
  std::vector<int32_t> varying;     ///< nodes evaluated per vector, in order
  std::vector<int32_t> kept;        ///< those of `varying` to write to scratch rows
  std::vector<int32_t> restored;    ///< nodes to read from scratch rows
  std::vector<int32_t> reductions;  ///< indices into Plan::reductions
  ir::Tree tree;                    ///< of its reductions (rows: of those in lanes)
  int cost = 0;                     ///< about the number of instructions per vector
};

/// What is left of a plan when its kernel is compiled: how much scratch memory a launch needs.
struct ScratchNeeds {
  bool columns = false;
  int32_t outer_rank = 0;
  int64_t row_bytes = 0;   ///< bytes of one element of all scratch rows
  int64_t tile_bytes = 0;  ///< columns: bytes of the accumulators of a column tile
  struct Stack {           ///< columns: partial results of the chunks of a stage
    int64_t chunk, level_bytes;
  };
  std::vector<Stack> stacks;

  int64_t bytes(const ir::Launch& launch) const;
};

struct Plan {
  ir::Kernel kernel;  ///< functions expanded; a node's id is above those of all it depends on
  std::vector<char> varies;     ///< by node: depends on c
  std::vector<char> invariant;  ///< by node: depends on neither c nor the outer point
  std::vector<int> level;       ///< by node
  std::vector<int> row;         ///< by node: its scratch row, or -1
  std::vector<Stage> stages;    ///< the last one holds the stores
  std::vector<Reduction> reductions;
  std::vector<int32_t> loop_stores;  ///< stores made for every c, indices into kernel.stores
  std::vector<int32_t> row_stores;   ///< stores made once per row
  std::vector<int64_t> row_offset;   ///< by scratch row: bytes of one element of all rows before it
  ScratchNeeds scratch;

  bool splittable_inner() const;
  /// Whether the address or the guards of an access vary with c.
  bool access_varies(int32_t access) const;
};

/// What a value that a later stage needs again costs to keep: less on a GPU, whose threads keep their elements in
/// registers, as long as there are any.
struct KeepPolicy {
  int above = 6;           ///< instructions that computing it again must take
  int load_cost = 0;       ///< what reading memory again counts in addition
  int rows = 1 << 20;      ///< values that can be kept
};

Plan make_plan(const ir::Kernel& kernel, const KeepPolicy& keep = {});

/// Rows form: how many columns a scratch row of `inner` values has room for.
inline int64_t scratch_row_length(int64_t inner) {
  return (inner + 63) / 64 * 64;
}

}  // namespace corten::codegen
