// Kernel text to binaries for a GPU architecture, cached on disk.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "codegen/gpu/emit.h"
#include "cuda/plugin.h"

namespace corten::cuda {

/// A compiled module.
struct Binary {
  std::string cubin;
  std::vector<KernelResources> resources;  ///< by kernel
  bool from_disk = false;
  double ms = 0;  ///< to compile or load it
};

/// The options that every module is compiled with, for "sm_90".
std::vector<std::string> compile_options(const std::string& architecture);

/// Compiles kernels to `modules` modules or fewer, side by side; those that the object cache has
/// are taken from there. The key is a hash of the compiler's version, the options and the text.
/// Resource error without a compiler.
std::vector<Binary> compile_kernels(std::span<const codegen::gpu::KernelText> kernels,
                                    const std::string& architecture, int modules = 1);

/// ptxas's reports in a compiler's log.
std::vector<KernelResources> parse_resources(const std::string& log);

}  // namespace corten::cuda
