// The plug-in's use of the CUDA driver without a GPU: its code on functions of the driver's
// interface that know which context is the thread's and refuse what belongs to another one.
#ifdef CORTEN_TEST_DRIVER
#include "cuda/plugin/driver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <thread>

#include "cuda/plugin/device.h"
#include "cuda/plugin/library.h"
#include "temp_folder.h"

namespace corten::cuda::test {
namespace {

using Context = uint64_t;
uint64_t value(const void* handle) { return reinterpret_cast<uint64_t>(handle); }

// Two devices. Every handle and address belongs to the context that was current when it was made.
struct StandIn {
  int version = 13000;
  std::map<Context, int> retained;
  std::map<uint64_t, Context> owners;
  std::map<uint64_t, size_t> memory;  // bytes by address
  uint64_t newest = 0x1000;
  size_t free = 1000;
  int shared = 0, allowed = 99 << 10;  // shared memory of a block
  int attribute_calls = 0;
  std::set<CUstream> capturing;
  std::multimap<CUmodule, uint64_t> functions;
  std::set<uint64_t> untimed;
  std::set<std::string> lacking;  // symbols
};
StandIn* stand_in = nullptr;
thread_local Context current = 0;

// Whether the thread's context is one that lives.
bool alive() { return current && stand_in->retained[current] > 0; }
template <typename T>
CUresult make(T* handle) {
  if (!alive()) return CUDA_ERROR_INVALID_CONTEXT;
  stand_in->owners[++stand_in->newest] = current;
  *handle = reinterpret_cast<T>(stand_in->newest);
  return CUDA_SUCCESS;
}
CUresult use(uint64_t handle) {
  if (!alive()) return CUDA_ERROR_INVALID_CONTEXT;
  const auto found = stand_in->owners.find(handle);
  if (found == stand_in->owners.end()) return CUDA_ERROR_INVALID_HANDLE;
  return found->second == current ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}
template <typename... T>
CUresult use(uint64_t first, T... rest) {
  const CUresult result = use(first);
  return result == CUDA_SUCCESS ? use(rest...) : result;
}
template <typename T>
CUresult drop(T handle) {
  const CUresult result = use(value(handle));
  if (result == CUDA_SUCCESS) stand_in->owners.erase(value(handle));
  return result;
}

Driver functions() {
  Driver d;
  d.cuInit_ = [](unsigned) { return CUDA_SUCCESS; };
  d.cuDriverGetVersion_ = [](int* version) {
    *version = stand_in->version;
    return CUDA_SUCCESS;
  };
  d.cuGetErrorName_ = [](CUresult r, const char** text) {
    *text = r == CUDA_ERROR_INVALID_CONTEXT ? "CUDA_ERROR_INVALID_CONTEXT" : "CUDA_ERROR";
    return CUDA_SUCCESS;
  };
  d.cuGetErrorString_ = [](CUresult, const char** text) {
    *text = "a failure";
    return CUDA_SUCCESS;
  };
  d.cuDeviceGetCount_ = [](int* count) {
    *count = 2;
    return CUDA_SUCCESS;
  };
  d.cuDeviceGet_ = [](CUdevice* device, int index) {
    *device = index;
    return index < 2 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
  };
  d.cuDeviceGetName_ = [](char* name, int length, CUdevice) {
    std::snprintf(name, static_cast<size_t>(length), "stand-in");
    return CUDA_SUCCESS;
  };
  d.cuDeviceGetAttribute_ = [](int* out, CUdevice_attribute a, CUdevice) {
    *out = a == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? 8
           : a == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? 9
           : a == CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN ? stand_in->allowed
                                                                        : 1;
    return CUDA_SUCCESS;
  };
  d.cuDeviceTotalMem_ = [](size_t* bytes, CUdevice) {
    *bytes = 1000;
    return CUDA_SUCCESS;
  };
  d.cuDevicePrimaryCtxRetain_ = [](CUcontext* context, CUdevice device) {
    const Context c = 0x100 + static_cast<Context>(device);
    ++stand_in->retained[c];
    *context = reinterpret_cast<CUcontext>(c);
    return CUDA_SUCCESS;
  };
  d.cuDevicePrimaryCtxRelease_ = [](CUdevice device) {
    return --stand_in->retained[0x100 + static_cast<Context>(device)] >= 0
               ? CUDA_SUCCESS
               : CUDA_ERROR_INVALID_CONTEXT;
  };
  d.cuCtxGetCurrent_ = [](CUcontext* context) {
    *context = reinterpret_cast<CUcontext>(current);
    return CUDA_SUCCESS;
  };
  d.cuCtxSetCurrent_ = [](CUcontext context) {
    current = value(context);
    return CUDA_SUCCESS;
  };
  d.cuMemAlloc_ = [](CUdeviceptr* p, size_t bytes) {
    if (!alive()) return CUDA_ERROR_INVALID_CONTEXT;
    if (bytes > stand_in->free) return CUDA_ERROR_OUT_OF_MEMORY;
    *p = ++stand_in->newest;
    stand_in->owners[*p] = current;
    return CUDA_SUCCESS;
  };
  d.cuMemFree_ = [](CUdeviceptr p) { return drop(reinterpret_cast<void*>(p)); };
  d.cuMemGetInfo_ = [](size_t* free, size_t* total) {
    *free = stand_in->free;
    *total = 1000 + static_cast<size_t>(current);  // tells them apart
    return alive() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
  };
  d.cuMemHostAlloc_ = [](void** p, size_t bytes, unsigned) {
    if (bytes > 1000) return CUDA_ERROR_OUT_OF_MEMORY;
    return make(p);
  };
  d.cuMemFreeHost_ = [](void* p) { return drop(p); };
  d.cuMemcpyHtoDAsync_ = [](CUdeviceptr to, const void*, size_t, CUstream s) {
    return use(to, value(s));
  };
  d.cuMemcpyDtoHAsync_ = [](void*, CUdeviceptr from, size_t, CUstream s) {
    return use(from, value(s));
  };
  d.cuMemcpyDtoDAsync_ = [](CUdeviceptr to, CUdeviceptr from, size_t, CUstream s) {
    return use(to, from, value(s));
  };
  d.cuMemsetD8Async_ = [](CUdeviceptr to, unsigned char, size_t, CUstream s) {
    return use(to, value(s));
  };
  d.cuStreamCreate_ = [](CUstream* s, unsigned) { return make(s); };
  d.cuStreamDestroy_ = [](CUstream s) { return drop(s); };
  d.cuStreamSynchronize_ = [](CUstream s) { return use(value(s)); };
  d.cuStreamQuery_ = [](CUstream s) { return use(value(s)); };
  d.cuStreamWaitEvent_ = [](CUstream s, CUevent e, unsigned) { return use(value(s), value(e)); };
  d.cuStreamBeginCapture_ = [](CUstream s, CUstreamCaptureMode) {
    const CUresult result = use(value(s));
    if (result != CUDA_SUCCESS) return result;
    return stand_in->capturing.insert(s).second ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_STATE;
  };
  d.cuStreamEndCapture_ = [](CUstream s, CUgraph* graph) {
    if (stand_in->capturing.erase(s) == 0) return CUDA_ERROR_ILLEGAL_STATE;
    const CUresult result = use(value(s));
    return result == CUDA_SUCCESS ? make(graph) : result;
  };
  d.cuGraphInstantiateWithFlags_ = [](CUgraphExec* out, CUgraph graph, unsigned long long) {
    const CUresult result = use(value(graph));
    return result == CUDA_SUCCESS ? make(out) : result;
  };
  d.cuGraphLaunch_ = [](CUgraphExec graph, CUstream s) { return use(value(graph), value(s)); };
  d.cuGraphExecDestroy_ = [](CUgraphExec graph) { return drop(graph); };
  d.cuGraphDestroy_ = [](CUgraph graph) { return drop(graph); };
  d.cuModuleLoadData_ = [](CUmodule* module, const void*) { return make(module); };
  d.cuModuleUnload_ = [](CUmodule module) {
    const auto [first, last] = stand_in->functions.equal_range(module);
    for (auto f = first; f != last; ++f) stand_in->owners.erase(f->second);
    return drop(module);
  };
  d.cuModuleGetFunction_ = [](CUfunction* function, CUmodule module, const char*) {
    const CUresult result = use(value(module));
    if (result != CUDA_SUCCESS) return result;
    stand_in->functions.emplace(module, stand_in->newest + 1);
    return make(function);
  };
  d.cuFuncSetAttribute_ = [](CUfunction function, CUfunction_attribute, int bytes) {
    ++stand_in->attribute_calls;
    if (bytes > stand_in->allowed) return CUDA_ERROR_INVALID_VALUE;
    stand_in->shared = bytes;
    return use(value(function));
  };
  d.cuLaunchKernel_ = [](CUfunction function, unsigned, unsigned, unsigned, unsigned, unsigned,
                         unsigned, unsigned, CUstream s, void**, void**) {
    return use(value(function), value(s));
  };
  d.cuEventCreate_ = [](CUevent* event, unsigned flags) {
    const CUresult result = make(event);
    if (flags & CU_EVENT_DISABLE_TIMING) stand_in->untimed.insert(stand_in->newest);
    return result;
  };
  d.cuEventRecord_ = [](CUevent event, CUstream s) { return use(value(event), value(s)); };
  d.cuEventSynchronize_ = [](CUevent event) { return use(value(event)); };
  d.cuEventElapsedTime_ = [](float* ms, CUevent from, CUevent to) {
    *ms = 1;
    if (stand_in->untimed.count(value(from)) || stand_in->untimed.count(value(to)))
      return CUDA_ERROR_INVALID_HANDLE;
    return use(value(from), value(to));
  };
  d.cuEventDestroy_ = [](CUevent event) { return drop(event); };
  d.version = stand_in->version;
  return d;
}

class DriverCalls : public ::testing::Test {
 protected:
  DriverCalls() { stand_in = &state; }
  ~DriverCalls() override {
    stand_in = nullptr;
    current = 0;
  }
  std::unique_ptr<Device> open(int index) {
    std::unique_ptr<Device> device;
    EXPECT_EQ(open_device(driver, index, device), "");
    return device;
  }
  StandIn state;
  Driver driver = (stand_in = &state, functions());
};

// Every call of a device, among them all that make and release something.
struct Used {
  Device& d;
  uint64_t address = 0, other = 0, module = 0, function = 0, event = 0, graph = 0;
  void* host = nullptr;
  std::vector<std::function<Status()>> calls{
      [&] { return d.allocate(100, address); },
      [&] { return d.allocate(100, other); },
      [&] { return d.allocate_host(100, host); },
      [&] { return d.to_device(address, host, 100); },
      [&] { return d.copy(other, address, 100); },
      [&] { return d.fill(other, 0, 100); },
      [&] { return d.to_host(host, other, 100); },
      [&] { return d.prefetch(address, host, 100); },
      [&] { return d.create_event(event); },
      [&] { return d.record_prefetch(event); },
      [&] { return d.wait_event(event); },
      [&] { return d.wait_host(event); },
      [&] { return d.record_event(event); },
      [&] {
        float ms = 0;
        return d.milliseconds(event, event, ms);
      },
      [&] { return d.load_module("code", module); },
      [&] { return d.find_function(module, "kernel", function); },
      [&] { return d.launch(function, 1, 32, nullptr, 64 << 10); },
      [&] { return d.begin_capture(); },
      [&] { return d.launch(function, 1, 32, nullptr); },
      [&] { return d.end_capture(graph); },
      [&] { return d.launch_graph(graph); },
      [&] { return d.synchronize(); },
      [&] {
        int64_t free = 0, total = 0;
        return d.memory(free, total);
      },
      [&] { return d.release_graph(graph); },
      [&] { return d.unload_module(module); },
      [&] { return d.release_event(event); },
      [&] { return d.release_host(host); },
      [&] { return d.release(address); },
      [&] { return d.release(other); },
  };
};

TEST_F(DriverCalls, OfTwoDevicesInTurn) {
  const auto first = open(0), second = open(1);
  Used a{*first}, b{*second};
  for (size_t i = 0; i < a.calls.size(); ++i) {
    EXPECT_EQ(a.calls[i](), "") << "call " << i << " of the first";
    EXPECT_EQ(b.calls[i](), "") << "call " << i << " of the second";
  }
}

TEST_F(DriverCalls, OfADeviceWhenAnotherOneWent) {
  auto first = open(0), second = open(1);
  Used b{*second};
  EXPECT_EQ(b.calls[0](), "");
  second.reset();
  EXPECT_NE(current, Context{0x101}) << "what is current is gone";
  EXPECT_EQ(state.retained[0x101], 0);
  Used a{*first};
  for (const auto& call : a.calls) EXPECT_EQ(call(), "");
  // The last one goes while another context is current.
  current = 0x777;
  first.reset();
  for (const auto& [handle, owner] : state.owners) EXPECT_NE(owner, Context{0x100});
}

TEST_F(DriverCalls, OfAnotherThread) {
  const auto first = open(0), second = open(1);
  std::thread([&] {
    int64_t free = 0, total = 0;
    EXPECT_EQ(first->memory(free, total), "");
    EXPECT_EQ(total, 1000 + 0x100);
    EXPECT_EQ(second->memory(free, total), "");
    EXPECT_EQ(total, 1000 + 0x101);
    EXPECT_EQ(first->synchronize(), "");
  }).join();
}

TEST_F(DriverCalls, DevicesGoInAnyOrder) {
  auto first = open(0), second = open(1), again = open(0);
  first.reset();
  Used c{*again};
  for (const auto& call : c.calls) EXPECT_EQ(call(), "");
  second.reset();
  again.reset();
  EXPECT_EQ(state.owners, (std::map<uint64_t, Context>())) << "what was not released";
  EXPECT_EQ(state.retained[0x100] + state.retained[0x101], 0);
}

TEST_F(DriverCalls, SharedMemoryIsAskedForUntilItIsGiven) {
  const auto device = open(0);
  EXPECT_EQ(device->info().shared_bytes, 99 << 10);
  uint64_t module = 0, function = 0;
  ASSERT_EQ(device->load_module("code", module), "");
  ASSERT_EQ(device->find_function(module, "kernel", function), "");
  EXPECT_EQ(device->launch(function, 1, 32, nullptr, 40 << 10), "");
  EXPECT_EQ(state.attribute_calls, 0);
  EXPECT_NE(device->launch(function, 1, 32, nullptr, 120 << 10), "");
  EXPECT_NE(device->launch(function, 1, 32, nullptr, 120 << 10), "") << "still not";
  EXPECT_EQ(device->launch(function, 1, 32, nullptr, 80 << 10), "");
  EXPECT_EQ(device->launch(function, 1, 32, nullptr, 80 << 10), "");
  EXPECT_EQ(state.attribute_calls, 3);
}

TEST_F(DriverCalls, MemoryOfTheDeviceAndOfTheHost) {
  const auto device = open(0);
  uint64_t address = 0;
  void* host = nullptr;
  EXPECT_TRUE(device->allocate(2000, address).starts_with(kOutOfMemory));
  const Status s = device->allocate_host(2000, host);
  EXPECT_NE(s.find("the host has not got 2000 bytes"), s.npos) << s;
  EXPECT_EQ(s.find("device"), s.npos) << s;
}

TEST_F(DriverCalls, EventsWithoutTimeHaveNone) {
  const auto device = open(0);
  uint64_t timed = 0, plain = 0;
  ASSERT_EQ(device->create_event(timed), "");
  ASSERT_EQ(device->create_event(plain, false), "");
  float ms = 0;
  EXPECT_EQ(device->milliseconds(timed, timed, ms), "");
  EXPECT_NE(device->milliseconds(timed, plain, ms), "");
}

// The symbols that a driver has.
Driver load(const std::set<std::string>& without, int version) {
  static int reported;
  reported = version;
  return load_driver(
      [&](const char* symbol) -> void* {
        if (without.count(symbol)) return nullptr;
        if (std::string(symbol) == "cuDriverGetVersion") {
          const auto f = +[](int* out) {
            *out = reported;
            return CUDA_SUCCESS;
          };
          return reinterpret_cast<void*>(f);
        }
        const auto f = +[] { return CUDA_SUCCESS; };
        return reinterpret_cast<void*>(f);
      },
      "libcuda.so.1");
}

TEST(Driver, OfEveryVersionFrom12On) {
  EXPECT_EQ(load({}, 13000).missing, "");
  const Driver d = load({"cuEventElapsedTime_v2"}, 12040);
  EXPECT_EQ(d.missing, "");
  EXPECT_NE(d.cuEventElapsedTime_, nullptr);
  const std::string lacking = load({"cuMemAlloc_v2"}, 12040).missing;
  EXPECT_NE(lacking.find("has no cuMemAlloc_v2: the CUDA driver (for CUDA 12.4)"), lacking.npos)
      << lacking;
  const std::string old = load({}, 11080).missing;
  EXPECT_NE(old.find("it is for CUDA 11.8, at least 12.0 is needed"), old.npos) << old;
}

TEST(Driver, ErrorsSayWhatToDo) {
  const auto text = [](CUresult result) {
    return explain(result, "cuCall", "CUDA_ERROR", "text", 12040);
  };
  EXPECT_EQ(text(CUDA_SUCCESS), "");
  EXPECT_EQ(text(CUDA_ERROR_INVALID_VALUE), "cuCall: CUDA_ERROR, text");
  EXPECT_EQ(explain(CUDA_ERROR_INVALID_VALUE, "cuCall", nullptr, nullptr, 0), "cuCall: error 1");
  for (const CUresult lost :
       {CUDA_ERROR_ILLEGAL_ADDRESS, CUDA_ERROR_MISALIGNED_ADDRESS, CUDA_ERROR_ILLEGAL_INSTRUCTION,
        CUDA_ERROR_LAUNCH_TIMEOUT, CUDA_ERROR_ECC_UNCORRECTABLE, CUDA_ERROR_ASSERT,
        CUDA_ERROR_LAUNCH_FAILED}) {
    const std::string s = text(lost);
    EXPECT_NE(s.find("the process cannot use the device any more"), s.npos) << lost << ": " << s;
  }
  for (const CUresult image :
       {CUDA_ERROR_NO_BINARY_FOR_GPU, CUDA_ERROR_INVALID_IMAGE, CUDA_ERROR_UNSUPPORTED_PTX_VERSION}) {
    const std::string s = text(image);
    EXPECT_NE(s.find("no kernel image for this device: its driver (for CUDA 12.4)"), s.npos) << s;
    EXPECT_NE(s.find("install"), s.npos) << s;
  }
  EXPECT_TRUE(text(CUDA_ERROR_OUT_OF_MEMORY).starts_with(kOutOfMemory));
}

TEST(Libraries, AreOfTheDriversVersionFirst) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(library_names("libx", 12080), (Names{"libx.so.12", "libx.so.13", "libx.so"}));
  for (const int driver : {0, 13000, 14000})
    EXPECT_EQ(library_names("libx", driver), (Names{"libx.so.13", "libx.so.12", "libx.so"}));
}

TEST(Libraries, AreLookedForWhereTheyAreInstalled) {
  const testing::TempFolder folder;
  const std::string wheel = folder.path() + "/lib/python3.12/site-packages/nvidia/cublas/lib";
  std::filesystem::create_directories(wheel);
  const auto with = [](const char* name, const std::string& value) {
    const char* before = std::getenv(name);
    const std::string old = before ? before : "";
    setenv(name, value.c_str(), 1);
    const std::vector<std::string> out = library_folders();
    if (before)
      setenv(name, old.c_str(), 1);
    else
      unsetenv(name);
    return out;
  };
  const auto place = [](const std::vector<std::string>& folders, const std::string& of) {
    return std::find(folders.begin(), folders.end(), of) - folders.begin();
  };
  auto folders = with("VIRTUAL_ENV", folder.path());
  EXPECT_LT(place(folders, wheel + "/"), std::ssize(folders));
  EXPECT_LT(place(folders, ""), place(folders, wheel + "/")) << "the system's come before";
  folders = with("CUDA_HOME", "/toolkit");
  for (const char* inside : {"/lib64/", "/lib/", "/extras/CUPTI/lib64/"})
    EXPECT_LT(place(folders, std::string("/toolkit") + inside), std::ssize(folders)) << inside;
  folders = with("CORTEN_CUDA_LIBRARIES", "/a:/b");
  EXPECT_EQ(place(folders, "/a/"), 0);
  EXPECT_EQ(place(folders, "/b/"), 1);
  EXPECT_EQ(place(folders, ""), 2);
}

}  // namespace
}  // namespace corten::cuda::test

#endif
