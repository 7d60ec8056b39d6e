// What a rank asks an engine of communication for.
#pragma once

#include <cstdint>

#include "corten/dtype.h"

namespace corten::comm {

/// A mean is the sum, divided by the number of ranks before it is rounded to the dtype. The sum of
/// i64 wraps; there is no mean of i64.
enum class Reduction : uint8_t { sum, max, mean };

enum class CallKind : uint8_t {
  all_reduce,
  all_gather,
  reduce_scatter,
  broadcast,
  send,
  recv,
  barrier
};

struct Call {
  CallKind kind = CallKind::barrier;
  DType dtype = DType::f32;
  Reduction reduction = Reduction::sum;  ///< of all_reduce and reduce_scatter
  int peer = 0;                          ///< the other rank of send and recv, the root of broadcast
  const void* from = nullptr;            ///< memory of the engine's device
  void* to = nullptr;
  int64_t count =
      0;  ///< elements of a rank: all_gather writes, reduce_scatter reads `size` times it
};

}  // namespace corten::comm
