#include "cuda/loaded_kernels.h"

#include "base/thread_pool.h"
#include "cuda/binaries.h"

namespace corten::cuda {

using codegen::gpu::KernelText;

LoadedKernels::LoadedKernels(Device& device, MakeModules make_modules)
    : device_(device), make_modules_(std::move(make_modules)), zeros_(device, 256) {
  raise(device_.fill(zeros_.address(), 0, 256));
}

LoadedKernels::~LoadedKernels() {
  device_.synchronize();
  for (uint64_t m : modules_) device_.unload_module(m);
}

std::vector<uint64_t> LoadedKernels::functions(std::span<const KernelText> texts) {
  std::vector<KernelText> fresh;
  for (const KernelText& text : texts)
    if (!functions_.contains(text.name)) fresh.push_back(text);
  if (!fresh.empty()) {
    std::vector<std::string> cubins;
    if (make_modules_) {
      cubins = make_modules_(fresh);
    } else {
      const DeviceInfo& d = device_.info();
      for (Binary& b : compile_kernels(fresh, format("sm_{}{}", d.major, d.minor),
                                       default_thread_pool().num_threads()))
        cubins.push_back(std::move(b.cubin));
    }
    const size_t first = modules_.size();
    for (const std::string& cubin : cubins) {
      uint64_t module = 0;
      raise(device_, device_.load_module(cubin, module), "code of kernels");
      modules_.push_back(module);
    }
    for (const KernelText& text : fresh) {
      Status status = "no module";
      uint64_t function = 0;
      for (size_t m = first; m < modules_.size() && !status.empty(); ++m)
        status = device_.find_function(modules_[m], text.name, function);
      if (!status.empty()) internal_error("kernel {} was not compiled: {}", text.name, status);
      functions_[text.name] = function;
    }
  }
  std::vector<uint64_t> out;
  for (const KernelText& text : texts) out.push_back(functions_.at(text.name));
  return out;
}

}  // namespace corten::cuda
