// The text of the attention kernels: templates over dtype, head size and features in the language
// of codegen/gpu/prelude.h, of which a kernel is one instance.
#pragma once

#include <string_view>

namespace corten::cuda {

/// Products of tiles by a warp, and tiles of shared memory: what the kernels are made of.
std::string_view tile_text();
/// What forward and backward pass share: operands, masks, dropout.
std::string_view attention_rows_text();
std::string_view attention_forward_text();
std::string_view attention_gradient_text();

}  // namespace corten::cuda
