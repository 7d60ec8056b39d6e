// A shared library of NVIDIA's that is loaded when it is first used.
#pragma once

#include <dlfcn.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace corten::cuda {

class Library {
 public:
  /// Tries `names` by the system's search path, then in the usual folders of CUDA.
  explicit Library(const std::vector<std::string>& names) {
    std::vector<std::string> folders{""};
    for (const char* variable : {"CUDA_HOME", "CUDA_PATH"})
      if (const char* home = std::getenv(variable); home && *home)
        folders.push_back(std::string(home) + "/lib64/");
    folders.push_back("/usr/local/cuda/lib64/");
#ifdef CORTEN_CUDA_LIBRARIES
    folders.push_back(CORTEN_CUDA_LIBRARIES "/");
#endif
    for (const std::string& folder : folders)
      for (const std::string& name : names) {
        handle_ = dlopen((folder + name).c_str(), RTLD_NOW | RTLD_LOCAL);
        if (handle_) {
          path_ = folder + name;
          return;
        }
      }
  }
  // Never unloaded: NVIDIA's libraries start threads.
  explicit operator bool() const {
    return handle_ != nullptr;
  }
  const std::string& path() const {
    return path_;
  }

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
