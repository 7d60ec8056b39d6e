// What rematerialisation needs to know of a planned partition.
#pragma once

#include <map>
#include <vector>

#include "kernel/lower.h"
#include "passes/remat.h"

namespace corten::kernel {

/// A step of a program on its way to a plan.
struct TimelineStep {
  std::vector<const Step*> steps;      ///< of the partition, that it computes
  bool stores_result = true;           ///< of products: false if only its own kernel reads the result
  std::vector<Storage> read, written;
  double bytes = 0, flops = 0;
};

/// A root's buffer in the arena.
struct ArenaBuffer {
  int64_t bytes = 0;
  bool to_end = false;  ///< it is read after the last step
};

/// What lives when. Steps are in order of creation, as a value that is computed again goes before
/// its first reader there. Valid as long as the partition.
passes::Timeline timeline(const Partition& partition, const std::vector<TimelineStep>& steps,
                          const std::map<ir::ValueRef, ArenaBuffer>& arena);

}  // namespace corten::kernel
