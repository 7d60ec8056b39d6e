#include "cli/version.h"

#include <dlfcn.h>

#include <memory>

#include "base/cpu.h"
#include "base/format.h"

#ifndef CORTEN_VERSION
#error "the build defines CORTEN_VERSION"
#endif

namespace corten::cli {
namespace {

/// Asks the CUDA driver for devices, through its library alone (CUDA Driver API, cuInit ff.).
Json cuda_json() {
  auto absent = [](std::string reason) {
    return Json::object({{"available", false}, {"reason", std::move(reason)}});
  };
  struct Close {
    void operator()(void* handle) const { dlclose(handle); }
  };
  std::unique_ptr<void, Close> library(dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL));
  if (!library) return absent("no CUDA driver: libcuda.so.1 was not found");
  auto function = [&](const char* symbol) { return dlsym(library.get(), symbol); };
  auto init = reinterpret_cast<int (*)(unsigned)>(function("cuInit"));
  auto driver_version = reinterpret_cast<int (*)(int*)>(function("cuDriverGetVersion"));
  auto device_count = reinterpret_cast<int (*)(int*)>(function("cuDeviceGetCount"));
  auto device_name = reinterpret_cast<int (*)(char*, int, int)>(function("cuDeviceGetName"));
  if (!init || !driver_version || !device_count || !device_name)
    return absent("libcuda.so.1 lacks functions of the CUDA driver");
  if (int status = init(0); status != 0) {
    library.release();  // the driver may have started threads
    return absent(format("the CUDA driver does not start (cuInit returned {})", status));
  }
  int version = 0, count = 0;
  driver_version(&version);
  if (int status = device_count(&count); status != 0 || count == 0) {
    library.release();
    return absent(format("the CUDA driver lists no device (status {})", status));
  }
  Json devices = Json::array();
  for (int i = 0; i < count; ++i) {
    char name[256] = "";
    device_name(name, sizeof(name) - 1, i);
    devices.push_back(name);
  }
  library.release();
  return Json::object({{"available", true},
                       {"driver", format("{}.{}", version / 1000, version % 1000 / 10)},
                       {"devices", std::move(devices)}});
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
