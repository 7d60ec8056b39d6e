// A kernel and its schedule to CUDA C++ text: one function of the prelude's language (prelude.h).
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "codegen/gpu/schedule.h"
#include "ir/kernel.h"

namespace corten::codegen::gpu {

/// Part of the key of cached binaries and of kernel names: raise it with every change of what is
/// emitted or of the prelude.
inline constexpr int kGpuEmitterVersion = 5;

struct KernelText {
  std::string name;  ///< of the function; equal kernels with equal schedules have equal names
  std::string text;
  int threads = 0;  ///< of a block
  int words = 0;    ///< arguments
  bool grouped = false;
  bool collective = false;  ///< has barriers or shuffles
  std::string_view library = {};  ///< functions that it calls, beyond the prelude's; never freed
  int shared_bytes = 0;           ///< of shared memory that the launch asks for
};

KernelText emit(const ir::Kernel& kernel, const Schedule& schedule);

/// The prelude, libraries and the functions of several kernels, equal ones once.
std::string module_text(std::span<const KernelText> kernels);

}  // namespace corten::codegen::gpu
