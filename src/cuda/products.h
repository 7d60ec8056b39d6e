// Products of a graph in terms of the device's library.
#pragma once

#include <vector>

#include "cuda/plugin.h"
#include "ir/graph.h"

namespace corten::cuda {

/// Matrices of one call: its grid has them in a dimension of at most 65,535 blocks.
inline constexpr int64_t kMaxBatch = 32768;

/// A product of a node: one call of the library for each combination of the batch dimensions that
/// one stride cannot express, and for each kMaxBatch of them. Offsets are bytes from the operands'
/// addresses.
struct ProductCalls {
  Product product;  ///< of the call with most matrices; its algorithm is that of all
  struct Call {
    int64_t a = 0, b = 0, c = 0;
    int64_t batch = 1;
  };
  std::vector<Call> calls;
  int64_t bias = 0;  ///< bytes from its address, of all calls
  int64_t scale_a = 0, scale_b = 0;
};

/// Of a `gemm` node, whose bias is left to the caller: [..., m, k] and [..., k, n] where they lie, to a contiguous
/// result; or of a `scaled_matmul` node, whose right operand is [n, k] and whose scales are left to the caller. Usage error
/// for operands that the library cannot read.
ProductCalls product_calls(const ir::Node& node, const ir::Type& a, const ir::Layout& a_at,
                           const ir::Type& b, const ir::Layout& b_at);

}  // namespace corten::cuda
