// The CUDA driver, loaded when something asks for a device.
#pragma once

#include <cuda.h>

#include <functional>
#include <string>

#include "cuda/plugin.h"

namespace corten::cuda {

#define CORTEN_CUDA_FUNCTIONS(X)                                                                 \
  X(cuInit)                                                                                      \
  X(cuDriverGetVersion) X(cuGetErrorName) X(cuGetErrorString) X(cuDeviceGetCount) X(cuDeviceGet) \
      X(cuDeviceGetName) X(cuDeviceGetAttribute) X(cuDeviceTotalMem) X(cuDevicePrimaryCtxRetain) \
          X(cuDevicePrimaryCtxRelease) X(cuCtxGetCurrent) X(cuCtxSetCurrent) X(cuMemAlloc) X(cuMemFree) \
              X(cuMemGetInfo) X(cuMemHostAlloc) X(cuMemFreeHost) X(cuMemcpyHtoDAsync)            \
                  X(cuMemcpyDtoHAsync) X(cuMemcpyDtoDAsync) X(cuMemsetD8Async) X(cuStreamCreate) \
                      X(cuStreamDestroy) X(cuStreamSynchronize) X(cuStreamBeginCapture)          \
                          X(cuStreamEndCapture) X(cuModuleLoadData) X(cuModuleUnload)            \
                              X(cuModuleGetFunction) X(cuFuncSetAttribute) X(cuLaunchKernel)     \
                                  X(cuGraphInstantiateWithFlags) X(cuGraphLaunch)                \
                                      X(cuGraphExecDestroy) X(cuGraphDestroy) X(cuEventCreate)   \
                                          X(cuEventRecord) X(cuEventSynchronize)                 \
                                              X(cuEventElapsedTime) X(cuEventDestroy)        \
                                                  X(cuStreamWaitEvent) X(cuStreamQuery)

/// The driver's functions under their names without version.
struct Driver {
#define CORTEN_X(name) decltype(&::name) name##_ = nullptr;
  CORTEN_CUDA_FUNCTIONS(CORTEN_X)
#undef CORTEN_X
  Status missing;  ///< "" if it was loaded and started
  int version = 0;

  /// "" or what a call that failed means, and what to do.
  Status check(CUresult result, const char* what) const;
};

/// What a driver for CUDA `version` (13000: 13.0) means by the result of a call, and what to do;
/// `name` and `text` are its own words, null if it has none.
Status explain(CUresult result, const char* what, const char* name, const char* text, int version);
/// "driver for CUDA 12.4", of which NVIDIA's libraries must not be newer by a major version.
std::string driver_text(int version);

/// The driver of a library that finds a symbol by its name, or null; started.
Driver load_driver(const std::function<void*(const char*)>& find, const std::string& library);

const Driver& driver();
DriverInfo driver_info(const Driver& driver);
/// Of device number `index`.
Status device_info(const Driver& driver, int index, CUdevice& device, DeviceInfo& info);

}  // namespace corten::cuda
