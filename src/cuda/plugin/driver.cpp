#include "cuda/plugin/driver.h"

#include "cuda/plugin/library.h"

namespace corten::cuda {
namespace {

// The name of a function with its version: the header's macros give it.
#define CORTEN_TEXT(x) #x
#define CORTEN_SYMBOL(x) CORTEN_TEXT(x)

constexpr int kOldestDriver = 12000;

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Driver load() {
  const Library library({"libcuda.so.1"});
  if (library)
    return load_driver(
        [&](const char* symbol) {
          void* function = nullptr;
          library.find(function, symbol);
          return function;
        },
        library.path());
  Driver d;
  d.missing =
      "no CUDA driver: libcuda.so.1 was not found; install NVIDIA's driver (Debian: "
      "nvidia-driver), in a container start it "
      "with the NVIDIA container toolkit";
  return d;
}

}  // namespace

Driver load_driver(const std::function<void*(const char*)>& find, const std::string& library) {
  Driver d;
  std::string lacking;
  const auto load = [&](auto& function, const char* symbol) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(find(symbol));
    return function != nullptr;
  };
#define CORTEN_X(name)                                                   \
  if (!load(d.name##_, CORTEN_SYMBOL(name)) && !older(#name, d.name##_)) \
    if (lacking.empty()) lacking = CORTEN_SYMBOL(name);
  // Its second version came with CUDA 12.8; the first one does the same.
  const auto older = [&](const char* name, auto& function) {
    return std::string(name) == "cuEventElapsedTime" && load(function, name);
  };
  CORTEN_CUDA_FUNCTIONS(CORTEN_X)
#undef CORTEN_X
  if (d.cuDriverGetVersion_) d.cuDriverGetVersion_(&d.version);
  if (d.version && d.version < kOldestDriver) {
    d.missing = "the CUDA driver is too old: it is for CUDA " + version_text(d.version) +
                ", at least " + version_text(kOldestDriver) +
                " is needed; install a newer NVIDIA driver";
    return d;
  }
  if (!lacking.empty()) {
    d.missing = library + " has no " + lacking + ": the CUDA driver (for CUDA " +
                version_text(d.version) +
                ") is older than this plug-in; install a newer NVIDIA driver";
    return d;
  }
  d.missing = d.check(d.cuInit_(0), "cuInit");
  return d;
}

std::string driver_text(int version) {
  return version ? "driver for CUDA " + version_text(version) : "no CUDA driver";
}

Status Driver::check(CUresult result, const char* what) const {
  if (result == CUDA_SUCCESS) return "";
  const char *name = nullptr, *text = nullptr;
  if (cuGetErrorName_) cuGetErrorName_(result, &name);
  if (cuGetErrorString_) cuGetErrorString_(result, &text);
  return explain(result, what, name, text, version);
}

Status explain(CUresult result, const char* what, const char* name, const char* text,
               int version) {
  if (result == CUDA_SUCCESS) return "";
  const std::string out = std::string(what) + ": " +
                          (name ? name : "error " + std::to_string(result)) +
                          (text ? std::string(", ") + text : "");
  switch (result) {
    case CUDA_ERROR_NO_DEVICE:
      return "no CUDA device: " + out + "; see what nvidia-smi and CUDA_VISIBLE_DEVICES say";
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
      return out +
             "; libcuda.so and the kernel's driver are of different versions: restart the machine "
             "or install the driver again";
    case CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
      return out +
             "; the cuda-compat package does not serve this device: remove it from LD_LIBRARY_PATH";
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_INVALID_IMAGE:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
      return out + "; no kernel image for this device: its driver (for CUDA " +
             version_text(version) +
             ") is older than the CUDA compiler that made the kernels; install a newer NVIDIA "
             "driver, or an older libnvrtc";
    case CUDA_ERROR_OUT_OF_MEMORY:
      return std::string(kOutOfMemory) + ": " + out;
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_LAUNCH_FAILED:
      return out +
             "; the process cannot use the device any more (a fault of Corten: please report)";
    case CUDA_ERROR_LAUNCH_TIMEOUT:
      return out +
             "; the process cannot use the device any more: a display on it limits how long a "
             "kernel may take; use a device without one";
    case CUDA_ERROR_ECC_UNCORRECTABLE:
      return out +
             "; the process cannot use the device any more: its memory has a fault (nvidia-smi -q "
             "-d ECC says more); restart the machine";
    default:
      return out;
  }
}

const Driver& driver() {
  static const auto* instance = new Driver(load());
  return *instance;
}

Status device_info(const Driver& d, int index, CUdevice& device, DeviceInfo& info) {
  if (!d.missing.empty()) return d.missing;
  if (Status s = d.check(d.cuDeviceGet_(&device, index), "cuDeviceGet"); !s.empty()) return s;
  char name[256] = "";
  d.cuDeviceGetName_(name, sizeof(name) - 1, device);
  info.name = name;
  const auto attribute = [&](CUdevice_attribute a) {
    int value = 0;
    d.cuDeviceGetAttribute_(&value, a, device);
    return value;
  };
  info.major = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  info.minor = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  info.multiprocessors = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  info.l2_bytes = attribute(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
  info.shared_bytes = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
  size_t bytes = 0;
  d.cuDeviceTotalMem_(&bytes, device);
  info.memory_bytes = bytes;
  return "";
}

DriverInfo driver_info(const Driver& d) {
  DriverInfo out;
  out.missing = d.missing;
  out.version = d.version;
  if (!out.missing.empty()) return out;
  int count = 0;
  out.missing = d.check(d.cuDeviceGetCount_(&count), "cuDeviceGetCount");
  for (int i = 0; i < count && out.missing.empty(); ++i) {
    CUdevice device;
    DeviceInfo info;
    out.missing = device_info(d, i, device, info);
    out.devices.push_back(info);
  }
  if (out.missing.empty() && count == 0)
    out.missing =
        "no CUDA device: the driver lists none; see what nvidia-smi and CUDA_VISIBLE_DEVICES say";
  return out;
}

}  // namespace corten::cuda
