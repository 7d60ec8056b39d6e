// NVRTC, loaded when the first kernel is compiled.
#pragma once

#include "cuda/plugin.h"

namespace corten::cuda {

CompilerInfo compiler_info();
Status compile_text(const std::string& text, const std::vector<std::string>& options,
                    std::string& cubin, std::string& log);

}  // namespace corten::cuda
