// What the pack headers read and where they put it. See word_block.h.
#pragma once

#include "gemm/block.h"

namespace corten::gemm_detail {
namespace {

/// An operand: A with rows as lanes, or B with columns as lanes.
struct Operand {
  const void* data;
  DType dtype;
  bool as_bf16;  // f32 that is rounded as it is read
  int64_t lane_stride, k_stride;
};

/// For pack_words(), where somebody else prefetches.
constexpr int64_t kNoPrefetch = -1;

/// Panels of [word][width]: panel p holds `width` lanes from first[p] on, of which those from `limit`
/// on are zeros, and lies `stride` words after the one before.
struct Panels {
  static constexpr int kMost = 48;
  int count = 0, width = 0;
  int64_t limit = 0, stride = 0;
  int64_t first[kMost];

  int lanes(int p) const {
    const int64_t left = limit - first[p];
    return left < width ? static_cast<int>(left) : width;
  }
};

}  // namespace
}  // namespace corten::gemm_detail
