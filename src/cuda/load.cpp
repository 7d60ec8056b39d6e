#include "cuda/load.h"

#include <dlfcn.h>

#include "base/env.h"
#include "base/file.h"
#include "base/format.h"

namespace corten::cuda {
namespace {

constexpr const char* kName = "libcorten_cuda.so";

// The folder of the program or shared library that this function is in, with a slash.
std::string own_folder() {
  Dl_info info;
  if (!dladdr(reinterpret_cast<const void*>(&own_folder), &info) || !info.dli_fname) return "";
  const std::string path = info.dli_fname;
  // A program that was found on the search path has no folder in its name.
  if (path.find('/') == std::string::npos) return "/proc/self/exe/../";
  return path.substr(0, path.rfind('/') + 1);
}

struct Loaded {
  Plugin* plugin = nullptr;
  std::string missing;

  Loaded() {
    std::vector<std::string> places;
    if (const auto own = env_string("CORTEN_CUDA_PLUGIN"))
      places = {*own};
    else
      places = {own_folder() + kName, own_folder() + "../lib/" + kName, kName};
    for (const std::string& place : places) {
      void* library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (!library) {
        // Of a file that exists, the reason is worth knowing.
        const char* reason = dlerror();
        if (missing.empty() && place.find('/') != std::string::npos && file_exists(place))
          missing = reason;
        continue;
      }
      const auto entry = reinterpret_cast<PluginEntry>(dlsym(library, kPluginEntry));
      plugin = entry ? entry(kPluginVersion) : nullptr;
      if (plugin) return;
      missing = format("{} belongs to another version of Corten", place);
    }
    if (missing.empty())
      missing = env_string("CORTEN_CUDA_PLUGIN")
                    ? format("CORTEN_CUDA_PLUGIN names no file: {}", places[0])
                    : format("no CUDA plug-in: {} is neither in {} nor in {}../lib/ nor on the "
                             "library path; set CORTEN_CUDA_PLUGIN to where it is, or configure "
                             "Corten with -DCORTEN_CUDA=ON where the CUDA toolkit is installed",
                             kName, own_folder(), own_folder());
  }
};

const Loaded& loaded() {
  static const auto* instance = new Loaded;
  return *instance;
}

}  // namespace

Plugin* find_plugin(std::string& missing) {
  missing = loaded().missing;
  return loaded().plugin;
}

Plugin& plugin() {
  if (!loaded().plugin) resource_error("{}", loaded().missing);
  return *loaded().plugin;
}

std::string missing_device() {
  std::string missing;
  Plugin* found = find_plugin(missing);
  if (!found) return missing;
  if (missing = found->driver().missing; !missing.empty()) return missing;
  return found->compiler().missing;
}

std::unique_ptr<Device> open_device(int index) {
  if (const std::string missing = missing_device(); !missing.empty()) resource_error("{}", missing);
  const size_t count = plugin().driver().devices.size();
  if (index < 0 || static_cast<size_t>(index) >= count)
    resource_error("there is no CUDA device {}: the driver lists {}", index, count);
  std::unique_ptr<Device> device;
  if (const Status status = plugin().open(index, device); !status.empty())
    resource_error("{}", status);
  return device;
}

}  // namespace corten::cuda
