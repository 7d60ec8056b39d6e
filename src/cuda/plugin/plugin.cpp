// The plug-in's entry.
#include "cuda/plugin.h"

#include "cuda/plugin/collectives.h"
#include "cuda/plugin/compiler.h"
#include "cuda/plugin/device.h"
#include "cuda/plugin/driver.h"

namespace corten::cuda {
namespace {

class CudaPlugin final : public Plugin {
 public:
  CompilerInfo compiler() override { return compiler_info(); }
  Status compile(const std::string& text, const std::vector<std::string>& options,
                 std::string& cubin, std::string& log) override {
    return compile_text(text, options, cubin, log);
  }
  DriverInfo driver() override { return driver_info(cuda::driver()); }
  Status open(int device, std::unique_ptr<Device>& out) override {
    return open_device(cuda::driver(), device, out);
  }
  Status new_group_id(std::string& id) override { return cuda::new_group_id(id); }
};

}  // namespace
}  // namespace corten::cuda

extern "C" __attribute__((visibility("default"))) corten::cuda::Plugin* corten_cuda_plugin(
    int version) {
  static auto* plugin = new corten::cuda::CudaPlugin;
  return version == corten::cuda::kPluginVersion ? plugin : nullptr;
}
