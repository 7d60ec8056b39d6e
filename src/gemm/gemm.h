// Matrix products on the CPU: C = A B, with float32 accumulation whose bits depend on nothing but
// the row of A, the column of B, k, the dtypes and the kernel family.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "corten/dtype.h"

namespace corten {

/// Called on the f32 accumulators of finished rows m0 .. m0 + mn, columns n0 .. n0 + nn, after the
/// bias and before they are rounded and stored: element (i, j) is tile[i * tile_ld + j]. Each element
/// of C is passed exactly once. Rows are counted through the batch: m0 = batch index * m + row. It
/// may run on several threads at once and must not throw.
using GemmEpilogue = void (*)(void* context, float* tile, int64_t tile_ld, int64_t m0, int64_t n0,
                              int64_t mn, int64_t nn);

/// Called with finished elements of C, rounded to c_dtype, while they are in cache: rows m0 .. m0 + mn (counted as for an
/// epilogue), columns n0 .. n0 + nn, element (i, j) at c[i * ld + j] with ld the row stride of C, or of its tiles if C is null
/// (gemm_tile_stride). Each element of C is passed exactly once. It may run on several threads at once and must not throw.
using GemmConsumer = void (*)(void* context, const void* c, int64_t m0, int64_t n0, int64_t mn, int64_t nn);

/// One product, or a batch of equal ones. Strides are in elements, may be 0 for broadcast operands,
/// and any combination is correct; fast ones have a stride of 1 in A and in B.
///
/// Every element of C is one chain over ascending k:
///   float32 (any of f32, bf16, f16, converted exactly): acc = fma(a, b, acc), from +0; the same
///     on every family;
///   float32 with bf16 operands on the avx512bf16 family: one VDPBF16PS step per 2 k, zero-padded:
///     the odd k first, acc = fma(a, b, acc), then the even one, with subnormals as zeros;
///   float32 with bf16 operands on the amx family: one TDPBF16PS step per 32 k, zero-padded;
///   float64: acc = fma(a, b, acc).
/// Then, in this order: + bias[n] (one f32 addition), the epilogue, + C if accumulating (one
/// addition), rounding to c_dtype to nearest even, where bf16 flushes f32 subnormals to signed zero.
/// k = 0 gives zeros before the bias.
struct GemmArgs {
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;  ///< [m, k]: f32, bf16, f16, or f64 if all three are f64
  int64_t a_row_stride = 0, a_col_stride = 1;
  const void* b = nullptr;  ///< [k, n]: as a; the dtypes may differ
  int64_t b_row_stride = 0, b_col_stride = 1;
  void* c = nullptr;  ///< [m, n]: f32, bf16, f16 or f64, columns contiguous; overlaps neither a nor b
  int64_t c_row_stride = 0;
  DType a_dtype = DType::f32, b_dtype = DType::f32, c_dtype = DType::f32;
  /// The operand lies there as f32 and counts as the bf16 that each element rounds to (to nearest even, subnormals to signed
  /// zero), which it does as it is read: the bits of a product of the rounded copy, without the copy.
  bool a_as_bf16 = false, b_as_bf16 = false;
  bool accumulate = false;     ///< C += A B; c_dtype f32 or f64
  /// C holds the sums of the k before these (a multiple of 32), and the chains go on from them: the bits of one product
  /// over both. c_dtype f32 or f64; neither with bias, epilogue nor accumulate.
  bool resume = false;
  const void* bias = nullptr;  ///< [n] or null: f32, or f64 in a float64 product
  GemmEpilogue epilogue = nullptr;
  void* epilogue_context = nullptr;
  /// With a consumer, c may be null: the elements are passed on and stored nowhere. Not with f64 products.
  GemmConsumer consumer = nullptr;
  void* consumer_context = nullptr;

  /// Batch: sizes, outermost first, and strides in elements.
  int64_t batch[3] = {1, 1, 1};
  int64_t a_batch_stride[3] = {0, 0, 0};
  int64_t b_batch_stride[3] = {0, 0, 0};
  int64_t c_batch_stride[3] = {0, 0, 0};
};

/// Bytes of workspace that gemm() needs with `threads` threads; depends on neither pointers nor the
/// values of strides other than which of them are 1. `isa` defaults to cpu_isa(). Usage error as
/// gemm().
size_t gemm_workspace_bytes(const GemmArgs& args, int threads, std::optional<Isa> isa = {});

/// Elements between the rows of the tiles that a consumer gets where C is null. Usage error as gemm().
int64_t gemm_tile_stride(const GemmArgs& args, std::optional<Isa> isa = {});

/// Computes the product on the pool's threads. `workspace` has gemm_workspace_bytes(args,
/// pool.num_threads()) bytes at an address divisible by 64; nothing is allocated. Usage error on
/// negative sizes or dtypes outside the above; `isa` must be one that this machine has.
void gemm(const GemmArgs& args, void* workspace, ThreadPool& pool, std::optional<Isa> isa = {});
/// The same on this thread alone, in the FpEnvironment that it is in: a part of a task of a pool.
/// `workspace` has gemm_workspace_bytes(args, 1) bytes.
void gemm_serial(const GemmArgs& args, void* workspace, std::optional<Isa> isa = {});

}  // namespace corten
