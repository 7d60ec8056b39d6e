#include "cuda/plugin/compiler.h"

#include <nvrtc.h>

#include "cuda/plugin/driver.h"
#include "cuda/plugin/library.h"

namespace corten::cuda {
namespace {

struct Nvrtc {
  Library library{library_names("libnvrtc", driver().version)};
  decltype(&nvrtcVersion) version;
  decltype(&nvrtcGetNumSupportedArchs) arch_count;
  decltype(&nvrtcGetSupportedArchs) archs;
  decltype(&nvrtcCreateProgram) create;
  decltype(&nvrtcCompileProgram) compile;
  decltype(&nvrtcDestroyProgram) destroy;
  decltype(&nvrtcGetCUBINSize) cubin_size;
  decltype(&nvrtcGetCUBIN) cubin;
  decltype(&nvrtcGetProgramLogSize) log_size;
  decltype(&nvrtcGetProgramLog) log;
  decltype(&nvrtcGetErrorString) error;
  std::string missing;

  Nvrtc() {
    if (!library) {
      missing =
          "no CUDA compiler: libnvrtc.so.13 or .12 was not found; install the CUDA toolkit "
          "(package cuda-nvrtc) or set "
          "CUDA_HOME or CORTEN_CUDA_LIBRARIES to where it is";
      return;
    }
    const bool all =
        library.find(version, "nvrtcVersion") &&
        library.find(arch_count, "nvrtcGetNumSupportedArchs") &&
        library.find(archs, "nvrtcGetSupportedArchs") &&
        library.find(create, "nvrtcCreateProgram") &&
        library.find(compile, "nvrtcCompileProgram") &&
        library.find(destroy, "nvrtcDestroyProgram") &&
        library.find(cubin_size, "nvrtcGetCUBINSize") && library.find(cubin, "nvrtcGetCUBIN") &&
        library.find(log_size, "nvrtcGetProgramLogSize") &&
        library.find(log, "nvrtcGetProgramLog") && library.find(error, "nvrtcGetErrorString");
    if (!all)
      missing = library.path() + " lacks functions of NVRTC 12; install a newer CUDA toolkit";
  }
};

Nvrtc& nvrtc() {
  static auto* instance = new Nvrtc;
  return *instance;
}

}  // namespace

CompilerInfo compiler_info() {
  Nvrtc& n = nvrtc();
  CompilerInfo out;
  out.missing = n.missing;
  out.library = n.library.path();
  out.build = n.library.build();
  if (!out.missing.empty()) return out;
  n.version(&out.major, &out.minor);
  int count = 0;
  if (n.arch_count(&count) == NVRTC_SUCCESS && count > 0) {
    out.architectures.resize(static_cast<size_t>(count));
    n.archs(out.architectures.data());
  }
  return out;
}

namespace {

// A call that failed before it came to the text: the library is what is wrong.
Status failed(const Nvrtc& n, const char* what, nvrtcResult result) {
  int major = 0, minor = 0;
  n.version(&major, &minor);
  return std::string(what) + ": " + n.error(result) + " (NVRTC " + std::to_string(major) + "." +
         std::to_string(minor) + " in " + n.library.path() + ", " +
         driver_text(driver().version) +
         "); install the CUDA toolkit again, or set CORTEN_CUDA_LIBRARIES to where another is";
}

}  // namespace

Status compile_text(const std::string& text, const std::vector<std::string>& options,
                    std::string& cubin, std::string& log) {
  Nvrtc& n = nvrtc();
  if (!n.missing.empty()) return n.missing;
  nvrtcProgram program = nullptr;
  nvrtcResult result = n.create(&program, text.c_str(), "kernels.cu", 0, nullptr, nullptr);
  if (result != NVRTC_SUCCESS) return failed(n, "nvrtcCreateProgram", result);
  std::vector<const char*> words;
  for (const std::string& o : options) words.push_back(o.c_str());
  result = n.compile(program, static_cast<int>(words.size()), words.data());
  size_t size = 0;
  if (n.log_size(program, &size) == NVRTC_SUCCESS && size > 1) {
    log.resize(size);
    n.log(program, log.data());
    log.resize(size - 1);
  }
  Status status;
  if (result == NVRTC_ERROR_COMPILATION) {
    status = std::string("nvrtcCompileProgram: ") + n.error(result);
  } else if (result != NVRTC_SUCCESS) {
    status = failed(n, "nvrtcCompileProgram", result);
  } else if (n.cubin_size(program, &size) != NVRTC_SUCCESS || size == 0) {
    status = "NVRTC gave no binary: the architecture must be a real one (sm_90, not compute_90)";
  } else {
    cubin.resize(size);
    n.cubin(program, cubin.data());
  }
  n.destroy(&program);
  return status;
}

}  // namespace corten::cuda
