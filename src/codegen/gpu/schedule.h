// How a kernel is laid over the blocks and threads of a GPU: everything about a launch that its
// text depends on.
//
//   points   Kernels without reductions: a thread takes `vector` neighbouring elements of a row, or
//   one row's elements that
//            do not vary.
//   rows     Reductions over rows. `group` threads share a row: up to a warp, whose lanes are pairs
//   of lanes of the row's
//            tree (thread t has lanes 2t and 2t + 1), or the warps of a block, each of which takes
//            a run of whole chunks. Rows of at most a chunk per warp stay in registers (`steps`
//            pairs per thread); longer ones are read again.
//   columns  A thread takes `vector` columns and walks down the rows of one chunk, or of all. Few
//   columns of many chunks: `group` threads of a block share a column, each takes a run of chunks.
//   scatter  A block takes one outer point and `vector` columns per thread. It does the work of all
//   points that name the
//            same place, if its point is the first of them (set: the last), and otherwise none:
//            every place has one writer, which goes through the points in order.
//   walk     Scatters to places of which some coordinates are no index (planes of images, in the
//            gradient of pooling): a thread takes one combination of these (`own`) and goes through
//            all points that have it, in order. Without any, and with an index that varies with c,
//            that is one thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ir/kernel.h"

namespace corten::codegen::gpu {

enum class Shape : uint8_t { points, rows, columns, scatter, walk };

struct Schedule {
  Shape shape = Shape::points;
  int threads = 256;  ///< of a block
  int vector = 1;     ///< see above; rows: 2
  int group = 1;      ///< rows: threads of a row; columns: of a column. A power of two
  int steps = 0;  ///< rows: pairs of elements per thread, kept in registers; 0: rows of any length
  int own = 0;    ///< walk: bit d: outer dimension d; bit kMaxOuter: c
  bool whole = false;         ///< rows: the threads' pairs cover the row exactly
  bool chunks = false;        ///< columns: a thread combines several chunks
  bool wide = false;          ///< more points than 32 bits count
  bool grouped = false;       ///< many launches in one; see arguments.h
  std::vector<bool> aligned;  ///< by access: `vector` elements are read or written at once
  bool operator==(const Schedule&) const = default;
};

/// Bytes that the base addresses of operands are multiples of, at most.
inline constexpr int kMaxAlignment = 16;

/// `addresses[i]`: base address of operand i, or a number that is a multiple of the same powers of
/// two.
Schedule choose_schedule(const ir::Kernel& kernel, const ir::Launch& launch,
                         std::span<const uint64_t> addresses);

/// A schedule that serves launches of both, if there is one.
bool join(Schedule& into, const Schedule& other);

/// Blocks of a launch; 0: nothing to do.
int64_t block_count(const ir::Kernel& kernel, const ir::Launch& launch, const Schedule& schedule);

/// "rows: 4 rows of 32 threads, 12 steps"
std::string to_string(const Schedule& schedule);

}  // namespace corten::codegen::gpu
