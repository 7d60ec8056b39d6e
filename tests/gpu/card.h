// The GPU that tests run on, if there is one, and the table that they write.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <memory>

#include "base/env.h"
#include "cuda/load.h"

namespace corten::cuda::test {

// The device, or why there is none.
inline Device* gpu(std::string& missing) {
  static std::string reason;
  static Device* device = [] {
    Plugin* plugin = find_plugin(reason);
    if (!plugin) return static_cast<Device*>(nullptr);
    reason = plugin->driver().missing;
    if (reason.empty()) reason = plugin->compiler().missing;
    std::unique_ptr<Device> opened;
    if (reason.empty()) reason = plugin->open(0, opened);
    return opened.release();  // as long as the process
  }();
  missing = reason;
  return device;
}

#define DEVICE_OR_SKIP(device)         \
  std::string missing;                 \
  Device* const device = gpu(missing); \
  if (!device) GTEST_SKIP() << missing

// Their library is one that need not be there.
#define CONVOLUTIONS_OR_SKIP(device)                                     \
  {                                                                      \
    std::string version;                                                 \
    if (const Status status = device->convolution_library(version); !status.empty()) \
      GTEST_SKIP() << status;                                            \
  }

// A line of the table.
inline void report(const std::string& what, const std::string& value) {
  std::printf("| %-58s | %s\n", what.c_str(), value.c_str());
  if (const auto path = env_string("CORTEN_GPU_TABLE"))
    if (std::FILE* file = std::fopen(path->c_str(), "a")) {
      std::fprintf(file, "| %-58s | %s |\n", what.c_str(), value.c_str());
      std::fclose(file);
    }
}

}  // namespace corten::cuda::test
