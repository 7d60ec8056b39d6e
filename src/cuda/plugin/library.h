// A shared library of NVIDIA's that is loaded when it is first used.
#pragma once

#include <dlfcn.h>

#include <string>
#include <vector>

namespace corten::cuda {

/// Where NVIDIA's libraries are looked for, in this order: the folders that CORTEN_CUDA_LIBRARIES
/// names (separated by colons), "" (the system's search path), the toolkit's (CUDA_HOME, CUDA_PATH,
/// /usr/local/cuda), those of Python's packages (site-packages/nvidia/*/lib).
std::vector<std::string> library_folders();

/// "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so" for "libnvrtc": a driver for CUDA 12 (version
/// 12040, say) takes what is of CUDA 12 before what is of CUDA 13, whose binaries it refuses. 0: there
/// is no driver.
std::vector<std::string> library_names(const std::string& stem, int driver_version);

class Library {
 public:
  /// The first of `names` that is in any of the folders.
  explicit Library(const std::vector<std::string>& names);
  // Never unloaded: NVIDIA's libraries start threads.
  explicit operator bool() const {
    return handle_ != nullptr;
  }
  /// Of the file.
  const std::string& path() const {
    return path_;
  }
  /// Size and time of the file: libraries of one version that are not the same differ in them.
  std::string build() const;

  template <typename F>
  bool find(F& function, const char* symbol) const {
    function = handle_ ? reinterpret_cast<F>(dlsym(handle_, symbol)) : nullptr;
    return function != nullptr;
  }

 private:
  void* handle_ = nullptr;
  std::string path_;
};

}  // namespace corten::cuda
