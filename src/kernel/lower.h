// From a step of a partition to a kernel and its run-time arguments.
#pragma once

#include "kernel/partition.h"

namespace corten::kernel {

/// Memory that a kernel touches: a root's storage, or the partial results of a chunked reduction.
struct Storage {
  ir::ValueRef root;
  bool partial = false;
  auto operator<=>(const Storage&) const = default;
};

struct LoweredKernel {
  ir::Kernel kernel;
  std::vector<ir::Launch> launches;   // usually one; a second for the tail of chunked rows
  std::vector<Storage> operands;      // per kernel operand
};

/// Type of the partial results of a reduction node: as many chunks as its tree asks for.
ir::Type partial_type(const ir::Graph& graph, int32_t node);
/// The kernels of a step, in order of execution (columns of many rows: partial results, then their combination).
std::vector<LoweredKernel> lower(const Partition& partition, const Step& step);

}  // namespace corten::kernel
