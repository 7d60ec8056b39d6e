// An attention node of a graph as launches of a program.
#pragma once

#include <map>
#include <vector>

#include "cuda/attention/attention_kernels.h"
#include "kernel/partition.h"

namespace corten::cuda {

class AttentionStep {
 public:
  /// `types`, `layouts`: of the node's inputs. Their storage lies at multiples of 16 bytes.
  /// `shared_limit`: as attention_kernels() has it.
  AttentionStep(const ir::Node& node, std::span<const ir::Type> types,
                std::span<const ir::Layout> layouts, int shared_limit);

  const std::vector<AttentionKernel>& kernels() const { return kernels_; }
  int64_t workspace_bytes() const { return attention_workspace_bytes(args_, gradient_); }
  double flops() const { return attention_flops(args_, gradient_); }
  /// The words of all kernels. `addresses`: of the storage of the node's inputs, then of its
  /// results.
  std::vector<int64_t> words(std::span<const uint64_t> addresses, uint64_t workspace) const;

 private:
  ops::AttentionAttrs attrs_;
  bool gradient_;
  AttentionArgs args_;
  std::vector<int64_t> offsets_;  // bytes
  std::vector<AttentionKernel> kernels_;
};

/// The library steps of a partition that are attention or its gradient, by their number.
std::map<int32_t, AttentionStep> attention_steps(const kernel::Partition& partition,
                                                 int shared_limit = kMaxSharedBytes);

}  // namespace corten::cuda
