// Between the driver (gemm.cpp) and the kernel families: one block of C per call.
//
// The families' files are compiled for instruction sets that the machine may lack. A function with
// external linkage that two files instantiate could be taken by the linker from the wrong one, so
// they include nothing but intrinsics, plain structs and headers whose code lies in an unnamed
// namespace, and share no inline function with the rest of the program.
#pragma once

#include "gemm/gemm.h"

namespace corten::gemm_detail {

/// How a family cuts a product up; the values never change a bit of the result.
struct Blocking {
  int64_t m_step, n_step;  ///< rows and columns whose accumulators are kept while k is split
  int64_t k_step;          ///< k handled at a time
  int64_t strips;          ///< strips of the streaming operand packed at a time
  bool a_stationary;       ///< A is packed and B streams past it, instead of the reverse
  int64_t m_grain, n_grain;  ///< a block's sizes are multiples of these, but for the last ones
  int64_t m_block, n_block;  ///< the largest block
  int64_t sums_stride;       ///< floats between the rows of the sums that are finished
  size_t scratch_bytes;      ///< per thread, for blocks of at most m_block x n_block
};

/// Rows [m0, m1) and columns [n0, n1) of one product of the batch.
struct Block {
  const GemmArgs* args;
  const Blocking* blocking;
  const void* a;  ///< of this product of the batch
  const void* b;
  void* c;
  int64_t first_row;  ///< of this product, counted through the batch
  int64_t m0, m1, n0, n1;
  int64_t next_n0, next_n1;  ///< columns of the block that this thread will probably have next; may be none
  bool stream;    ///< C is large: write it past the caches
  void* scratch;  ///< blocking->scratch_bytes, 64-byte aligned
};

/// A kernel family. begin and end bracket a thread's blocks.
struct Family {
  Blocking (*plan)(const GemmArgs& args);
  void (*begin)();
  void (*run)(const Block& block);
  void (*end)();
  /// Repeats the inner loop on operands in L1, kPeakBytes at `memory`; returns the operations done.
  double (*peak)(void* memory, int64_t repeats);
};
inline constexpr size_t kPeakBytes = 64 << 10;  ///< operands, then room for a register tile

extern const Family kF32Avx2, kF32Avx512, kBf16Avx512, kBf16Amx, kF64;

/// The family that computes such a product.
const Family& family_of(const GemmArgs& args, Isa isa);

}  // namespace corten::gemm_detail
