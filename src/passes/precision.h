// The precision of float32 products.
#pragma once

#include "ir/graph.h"

namespace corten::passes {

/// "highest", "high" or "medium", for the process; see set_float32_matmul_precision in corten/ops.h. What is compiled
/// depends on it: caches of programs have it in their keys.
void set_matmul_precision(std::string_view precision);
std::string_view matmul_precision();

/// At "medium", rounds the f32 operands of products to bf16; their results stay f32. A defining pass, like claim. After
/// expand, which shows the products of composites and of their gradients; before cse, since an operand of several products
/// is to be rounded once, and before claim, which gives products to a family by their dtypes.
ir::Graph lower_precision(const ir::Graph& graph);
bool lowers_precision();

}  // namespace corten::passes
