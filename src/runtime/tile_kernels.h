// Kernels that run on a product's tiles while those are in cache.
#pragma once

#include <vector>

#include "kernel/lower.h"

namespace corten::runtime {

/// A step on its way from the partition to the program.
struct Lowered {
  const kernel::Step* step = nullptr;
  /// Of kernels. Of products: the kernel that takes its tiles, if it has launches.
  kernel::LoweredKernel kernel;
  const kernel::Step* tile_step = nullptr;  ///< the step that this kernel was
  bool stores_result = true;                ///< of products: false if nothing but that kernel reads the result

  bool library() const { return step->library; }
  bool has_kernel() const { return !library() || takes_tiles(); }
  bool takes_tiles() const { return library() && !kernel.launches.empty(); }
};

/// The memory that a step reads, or writes.
std::vector<kernel::Storage> touched(const kernel::Partition& partition, const Lowered& step, bool written);

/// Gives element-wise kernels that follow a product row by row to the product's step: it runs them on a block of rows and
/// columns as soon as that is finished and rounded, the same values as before. A result that nothing else reads is never stored.
/// Only results of at least `least` bytes: smaller ones are in cache anyway.
void attach_tile_kernels(const kernel::Partition& partition, std::vector<Lowered>& steps, int64_t least);

}  // namespace corten::runtime
