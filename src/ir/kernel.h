// Level 3, kernels: an outer parallel domain times work over one row.
//
// A kernel reads and writes operands (buffers) through accesses: affine functions of the iteration point, optionally
// guarded (padding) and with at most one gathered dimension. What it computes is a scalar Body (ir/scalar.h) whose leaves
// are loads, and stores of nodes of that body. Sizes, strides, offsets and numbers are run-time arguments (Launch), so one
// compiled kernel serves every shape of the same structure.
//
// Iteration point: (o_0, ..., o_{outer_rank-1}, c) with c in [0, inner).
//   rows     For each outer point: stages over the row c. A reduce node combines its argument over the whole row; nodes
//            that depend on no c are computed once per row. Stages (codegen's business): level(reduce) = level(arg) + 1,
//            a loop over c per level.
//   columns  The last outer dimension is reduced: reduce nodes combine their argument over it, for each c. Every store is
//            of a reduce node or of an expression of reduce nodes. With Launch::chunks > 1 (as many as tree.chunk asks for;
//            stores are then plain reduce nodes in the reduction's type) the last outer stride of a store is the stride of
//            the chunk index; otherwise it is unused.
//   scatter  Executed in ascending order of the outer points; parallel only over c, and only where no index varies with
//            c. The (single) store is gathered: it writes (set) or adds to (add) the place that its index names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ir/scalar.h"

namespace corten::ir {

inline constexpr int kMaxOuter = 6;

enum class KernelForm : uint8_t { rows, columns, scatter };
enum class InnerStride : uint8_t { zero, one, any };  // specialised in the kernel; `any` is a run-time argument

struct Operand {
  DType dtype = DType::f32;
  bool written = false;
  bool operator==(const Operand&) const = default;
};

/// How a load, store or index walks the domain. Run-time part: Launch::Access.
struct Access {
  int32_t operand = -1;  ///< -1: an index, its value is the affine expression itself
  InnerStride inner = InnerStride::zero;
  int32_t index = -1;    ///< body node (i64) that gives the coordinate of the gathered dimension, or -1
  uint8_t guards = 0;    ///< bit d: outer dimension d is guarded by lo <= o_d < hi; bit outer_rank: the inner one is
  bool operator==(const Access&) const = default;
};

enum class StoreMode : uint8_t { set, add };

struct Store {
  int32_t access = -1, node = -1;
  StoreMode mode = StoreMode::set;   ///< add: scatter form only
  bool streaming = false;            ///< non-temporal: the result leaves the cache
  bool operator==(const Store&) const = default;
};

struct Kernel {
  KernelForm form = KernelForm::rows;
  int32_t outer_rank = 0;
  std::vector<Operand> operands;
  std::vector<Access> accesses;
  Body body;
  std::vector<Store> stores;
  std::vector<DType> params;  ///< types of the run-time scalars
};

/// Run-time arguments of one execution. All strides and offsets are in elements.
struct Launch {
  struct Access {
    int64_t offset = 0;
    int64_t inner_stride = 0;             // as the kernel's InnerStride says
    int64_t strides[kMaxOuter] = {};
    int64_t index_stride = 0, index_bound = 0;  // gathered dimension; 0 <= index < bound, else an error is flagged
    int64_t lo[kMaxOuter + 1] = {}, hi[kMaxOuter + 1] = {};  // guards; [outer_rank] is the inner dimension's
  };
  int64_t outer[kMaxOuter] = {};
  int64_t inner = 1;
  int64_t chunks = 1;  // columns form
  std::vector<Access> accesses;
  std::vector<int64_t> params;  // bits of the values: f32 in the low 32 bits, booleans 0 or 1
};

/// First out-of-range index met by a launch; kernels write it, the runtime raises it.
struct KernelFault {
  int64_t flagged = 0, access = 0, value = 0;
};

/// Text form: the identity of a kernel (structure only), used for cache keys, dumps and tests.
std::string to_string(const Kernel& kernel);

}  // namespace corten::ir
