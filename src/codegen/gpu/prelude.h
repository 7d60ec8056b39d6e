// What the text of every GPU kernel starts with: types, arithmetic with the numerics contract's
// meaning, memory access, barriers and shuffles. CUDA C++ for NVRTC; with CORTEN_HOST defined, host
// C++ in which a test executes the kernels thread by thread, with hooks for memory, barriers and
// shuffles.
#pragma once

#include <string_view>

namespace corten::codegen::gpu {

std::string_view prelude();

}  // namespace corten::codegen::gpu
