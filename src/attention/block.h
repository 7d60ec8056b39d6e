// Between the driver (attention.cpp) and the kernel families: some queries or keys of one head per call.
//
// The families' files are compiled for instruction sets that the machine may lack. A function with external linkage
// that two files instantiate could be taken by the linker from the wrong one, so they include nothing but intrinsics,
// plain structs and headers whose code lies in an unnamed namespace.
#pragma once

#include "attention/attention.h"

namespace corten::attention_detail {

/// One head: args with the pointers moved to it.
struct Head {
  AttentionArgs args;
  int64_t index;  ///< counted through the batch
  float* dots;    ///< [queries]: sum of g * out per query, for the gradient
};

/// What a call of Family::gradient computes.
enum class Part {
  all,      ///< the whole head
  keys,     ///< dk and dv of a range of keys
  queries,  ///< dq of a range of queries
};

/// Sizes by which the driver divides the work; none changes a bit of a result.
struct Blocks {
  int64_t rows;  ///< queries of a register tile
  int64_t gradient_queries, gradient_keys;  ///< ranges of Part::queries and Part::keys start at multiples of these
};

struct Family {
  Blocks blocks;
  size_t (*forward_bytes)(const AttentionArgs& args, int64_t queries);
  void (*forward)(const Head& head, int64_t q0, int64_t q1, void* scratch);
  void (*dots)(const Head& head, int64_t q0, int64_t q1);
  size_t (*gradient_bytes)(const AttentionArgs& args, Part part);
  void (*gradient)(const Head& head, Part part, int64_t first, int64_t last, void* scratch);
};

/// kAvx512Bf16 is for bf16 only.
extern const Family kAvx2, kAvx512, kAvx512Bf16;

}  // namespace corten::attention_detail
