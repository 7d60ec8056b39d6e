// The order of reductions over ranks: a binary tree that the number of ranks alone defines.
#pragma once

#include <cstdint>
#include <span>

#include "comm/comm.h"

namespace corten::comm {

/// The reduction of elements [begin, begin + count) of `inputs`, one per rank, becomes the elements
/// from `to_begin` on of every one of `outputs`. Ranks [lo, hi) are those of [lo, mid) with those
/// of [mid, hi), mid = lo + (hi - lo) / 2, in the compute type (f32 for bf16 and f16); the result
/// is rounded once. NaN wins every max; of zeros with different signs the lower rank's stays.
/// Elements that are written may be those that are read. Allocates nothing and raises nothing.
void reduce_ranks(std::span<const void* const> inputs, int64_t begin, int64_t count,
                  std::span<void* const> outputs, int64_t to_begin, DType dtype,
                  Reduction reduction) noexcept;

}  // namespace corten::comm
