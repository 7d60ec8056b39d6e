#include "cli/version.h"

#include "base/cpu.h"
#include "base/format.h"
#include "cuda/load.h"

#ifndef CORTEN_VERSION
#error "the build defines CORTEN_VERSION"
#endif

namespace corten::cli {
namespace {

std::string cuda_version(int version) { return format("{}.{}", version / 1000, version % 1000 / 10); }

/// What the plug-in finds: the driver, its devices and the compiler of kernels.
Json cuda_json() {
  const auto absent = [](std::string reason) {
    return Json::object({{"available", false}, {"reason", std::move(reason)}});
  };
  std::string missing;
  cuda::Plugin* plugin = cuda::find_plugin(missing);
  if (!plugin) return absent(std::move(missing));
  const cuda::DriverInfo driver = plugin->driver();
  if (!driver.missing.empty()) return absent(driver.missing);
  const cuda::CompilerInfo compiler = plugin->compiler();
  if (!compiler.missing.empty()) return absent(compiler.missing);
  Json devices = Json::array(), capabilities = Json::array();
  for (const cuda::DeviceInfo& device : driver.devices) {
    devices.push_back(device.name);
    capabilities.push_back(format("{}.{}", device.major, device.minor));
  }
  return Json::object({{"available", true},
                       {"driver", cuda_version(driver.version)},
                       {"compiler", format("{}.{}", compiler.major, compiler.minor)},
                       {"devices", std::move(devices)},
                       {"compute_capabilities", std::move(capabilities)}});
}

}  // namespace

Json version_json() {
  const CpuInfo& cpu = cpu_info();
  return Json::object({{"version", CORTEN_VERSION},
                       {"isa", name(cpu_isa())},
                       {"cpu", cpu.model},
                       {"cores", cpu.cores},
                       {"cuda", cuda_json()}});
}

std::string version_text() {
  const Json info = version_json();
  const Json& cuda = info.at("cuda");
  std::string found = cuda.at("available").as_bool()
                          ? format("driver {}, {} device(s), first {}",
                                   cuda.at("driver").as_string(), cuda.at("devices").size(),
                                   cuda.at("devices").at(size_t{0}).as_string())
                          : cuda.at("reason").as_string();
  return format("corten {}\ncpu   {} ({} cores, {} kernels)\ncuda  {}\n",
                info.at("version").as_string(), info.at("cpu").as_string(),
                info.at("cores").as_int(), info.at("isa").as_string(), found);
}

}  // namespace corten::cli
