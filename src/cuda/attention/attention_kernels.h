// Attention on a GPU, forward and backward, without the matrix of weights: the method of
// src/attention by tiles of shared memory and tensor cores. Results are the same in every run, and
// close to the CPU's.
#pragma once

#include <vector>

#include "attention/operands.h"
#include "codegen/gpu/emit.h"
#include "cuda/plugin.h"

namespace corten::cuda {

/// A kernel of a step, and how many blocks of it are launched. All kernels of a step have the same
/// words.
struct AttentionKernel {
  codegen::gpu::KernelText text;
  int64_t blocks = 0;
};

/// The kernels of attention, or of its gradient, in order. Addresses of `args` count by what they
/// are divisible by only: tensors that are not at multiples of 16 bytes are read number by number.
/// Internal error for sizes that claim_attention (passes.h) does not give to a GPU.
/// `shared_limit`: bytes of shared memory that a block may have; where it is small, blocks are too.
std::vector<AttentionKernel> attention_kernels(const AttentionArgs& args, bool gradient,
                                               int shared_limit = kMaxSharedBytes);

/// Bytes that the gradient needs: one number per query and head.
int64_t attention_workspace_bytes(const AttentionArgs& args, bool gradient);

/// The kernels' words for addresses of the device; `workspace` is its address.
std::vector<int64_t> attention_words(const AttentionArgs& args, const DropoutState& dropout,
                                     uint64_t workspace);

/// Blocks of a kernel that a multiprocessor has at a time, by registers, shared memory and threads;
/// `major`, `minor`: compute capability.
int resident_blocks(int threads, int registers, int shared_bytes, int major, int minor);

}  // namespace corten::cuda
