// Attention on the CPU, forward and backward, without the matrix of weights: softmax(q k^T scale + mask) v computed over
// blocks of keys with a running maximum and sum (Milakov and Gimelshein, 2018; Dao et al., 2022; Dao, 2023).
//
// The bits of a result row depend on its own query, the keys it may see, their values and masks, the dtype and the
// kernel family only: never on the number of queries, how they are divided, hidden keys or threads. Gradients of
// keys and values are one chain over ascending queries, those of queries one over ascending keys.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "corten/dtype.h"

namespace corten {

inline constexpr int64_t kMaxHeadSize = 256;

/// [batch, batch, batch, rows, head_size] with contiguous columns; strides are in elements and may be 0 for inputs.
struct AttentionTensor {
  void* data = nullptr;
  int64_t batch_stride[3] = {0, 0, 0};
  int64_t row_stride = 0;
};

struct AttentionArgs {
  DType dtype = DType::f32;  ///< of all tensors: f32, bf16 or f16
  int64_t batch[3] = {1, 1, 1};
  int64_t queries = 0, keys = 0, head_size = 0;  ///< keys and head_size >= 1; head_size <= kMaxHeadSize
  float scale = 1;
  bool causal = false;  ///< query i sees keys 0 .. i
  AttentionTensor q, k, v;

  /// Null: none. bool: true = visible; f32: added to the scaled scores.
  const void* mask = nullptr;
  DType mask_dtype = DType::boolean;
  int64_t mask_batch_stride[3] = {0, 0, 0}, mask_query_stride = 0;
  int64_t mask_key_stride = 1;  ///< 1 or 0

  /// Weight (head, i, j) is dropped where the uniform number of ir::philox at element (head * queries + i) * keys + j,
  /// word 0, is below p; the others are divided by 1 - p.
  float p = 0;
  int64_t seed = 0, step = 0, site = 0;

  AttentionTensor out;   ///< written by attention(), read by attention_gradient(); 0 for a query that sees nothing
  float* lse = nullptr;  ///< [batches, queries] contiguous: log of the sum of exp of the scores

  AttentionTensor g;           ///< the gradient of out
  AttentionTensor dq, dk, dv;  ///< the results of attention_gradient()
};

/// Bytes of workspace for `threads` threads; depends on neither pointers nor strides. `isa` defaults to cpu_isa().
size_t attention_workspace_bytes(const AttentionArgs& args, int threads, std::optional<Isa> isa = {});
size_t attention_gradient_workspace_bytes(const AttentionArgs& args, int threads, std::optional<Isa> isa = {});

/// Computes out and lse. `workspace` is divisible by 64; nothing is allocated. Usage error for sizes and dtypes outside
/// of the above; `isa` must be one that this machine has.
void attention(const AttentionArgs& args, void* workspace, ThreadPool& pool, std::optional<Isa> isa = {});
/// Computes dq, dk and dv from g and the results of attention().
void attention_gradient(const AttentionArgs& args, void* workspace, ThreadPool& pool, std::optional<Isa> isa = {});

/// Pairs of a query and a key that it may see, per head, masks aside.
double attention_pairs(int64_t queries, int64_t keys, bool causal);
/// Multiplications and additions: two products, or four for the gradient; weights that it computes again do not count.
double attention_flops(const AttentionArgs& args, bool gradient);

}  // namespace corten
