#include "cuda/plugin/device.h"

#include <set>

#include "cuda/plugin/collectives.h"
#include "cuda/plugin/convolutions.h"
#include "cuda/plugin/driver.h"
#include "cuda/plugin/products.h"
#include "cuda/plugin/trace.h"

namespace corten::cuda {
namespace {

template <typename T>
uint64_t handle(T* pointer) {
  return reinterpret_cast<uint64_t>(pointer);
}
template <typename T>
T pointer(uint64_t handle) {
  return reinterpret_cast<T>(handle);
}

class DriverDevice final : public Device {
 public:
  DriverDevice(CUdevice device, CUcontext context, CUstream stream, CUstream copies,
               DeviceInfo info)
      : device_(device),
        context_(context),
        stream_(stream),
        copies_(copies),
        info_(std::move(info)) {}
  ~DriverDevice() override {
    d_.cuCtxSetCurrent_(context_);
    d_.cuStreamSynchronize_(copies_);
    d_.cuStreamSynchronize_(stream_);
    products_.reset();
    convolutions_.reset();
    d_.cuStreamDestroy_(copies_);
    d_.cuStreamDestroy_(stream_);
    d_.cuDevicePrimaryCtxRelease_(device_);
  }
  const DeviceInfo& info() const override { return info_; }

  Status allocate(int64_t bytes, uint64_t& address) override {
    CUdeviceptr p = 0;
    Status s = call(d_.cuMemAlloc_(&p, static_cast<size_t>(bytes)), "cuMemAlloc");
    address = p;
    return s;
  }
  Status release(uint64_t address) override { return call(d_.cuMemFree_(address), "cuMemFree"); }
  Status memory(int64_t& free, int64_t& total) override {
    size_t f = 0, t = 0;
    Status s = call(d_.cuMemGetInfo_(&f, &t), "cuMemGetInfo");
    free = static_cast<int64_t>(f);
    total = static_cast<int64_t>(t);
    return s;
  }
  Status allocate_host(int64_t bytes, void*& address) override {
    return call(d_.cuMemHostAlloc_(&address, static_cast<size_t>(bytes), CU_MEMHOSTALLOC_PORTABLE),
                "cuMemHostAlloc");
  }
  Status release_host(void* address) override {
    return call(d_.cuMemFreeHost_(address), "cuMemFreeHost");
  }

  Status to_device(uint64_t to, const void* from, int64_t bytes) override {
    return call(d_.cuMemcpyHtoDAsync_(to, from, static_cast<size_t>(bytes), stream_),
                "cuMemcpyHtoDAsync");
  }
  Status to_host(void* to, uint64_t from, int64_t bytes) override {
    return call(d_.cuMemcpyDtoHAsync_(to, from, static_cast<size_t>(bytes), stream_),
                "cuMemcpyDtoHAsync");
  }
  Status copy(uint64_t to, uint64_t from, int64_t bytes) override {
    return call(d_.cuMemcpyDtoDAsync_(to, from, static_cast<size_t>(bytes), stream_),
                "cuMemcpyDtoDAsync");
  }
  Status fill(uint64_t address, uint8_t byte, int64_t bytes) override {
    return call(d_.cuMemsetD8Async_(address, byte, static_cast<size_t>(bytes), stream_),
                "cuMemsetD8Async");
  }
  Status synchronize() override {
    Status s = call(d_.cuStreamSynchronize_(copies_), "cuStreamSynchronize");
    return s.empty() ? call(d_.cuStreamSynchronize_(stream_), "cuStreamSynchronize") : s;
  }

  Status prefetch(uint64_t to, const void* from, int64_t bytes) override {
    return call(d_.cuMemcpyHtoDAsync_(to, from, static_cast<size_t>(bytes), copies_),
                "cuMemcpyHtoDAsync");
  }
  Status record_prefetch(uint64_t event) override {
    return call(d_.cuEventRecord_(pointer<CUevent>(event), copies_), "cuEventRecord");
  }
  Status wait_event(uint64_t event) override {
    return call(d_.cuStreamWaitEvent_(stream_, pointer<CUevent>(event), 0), "cuStreamWaitEvent");
  }
  Status wait_host(uint64_t event) override {
    return call(d_.cuEventSynchronize_(pointer<CUevent>(event)), "cuEventSynchronize");
  }

  Status load_module(const std::string& cubin, uint64_t& module) override {
    CUmodule m = nullptr;
    Status s = call(d_.cuModuleLoadData_(&m, cubin.data()), "cuModuleLoadData");
    module = handle(m);
    return s;
  }
  Status unload_module(uint64_t module) override {
    large_.clear();  // a handle may come again
    return call(d_.cuModuleUnload_(pointer<CUmodule>(module)), "cuModuleUnload");
  }
  Status find_function(uint64_t module, const std::string& name, uint64_t& function) override {
    CUfunction f = nullptr;
    Status s = call(d_.cuModuleGetFunction_(&f, pointer<CUmodule>(module), name.c_str()),
                    "cuModuleGetFunction");
    function = handle(f);
    return s;
  }
  Status launch(uint64_t function, int64_t blocks, int threads, void** arguments,
                int shared_bytes) override {
    // More than this is given to functions that say so before.
    constexpr int kSharedByDefault = 48 << 10;
    if (shared_bytes > kSharedByDefault && large_.insert(function).second) {
      const Status s = call(
          d_.cuFuncSetAttribute_(pointer<CUfunction>(function),
                                 CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared_bytes),
          "cuFuncSetAttribute");
      if (!s.empty()) return s;
    }
    return call(
        d_.cuLaunchKernel_(pointer<CUfunction>(function), static_cast<unsigned>(blocks), 1, 1,
                           static_cast<unsigned>(threads), 1, 1,
                           static_cast<unsigned>(shared_bytes), stream_, arguments, nullptr),
        "cuLaunchKernel");
  }

  Status product_library(std::string& version) override {
    Status s = prepare_products();
    if (s.empty()) version = products_->version();
    return s;
  }
  Status plan_product(const Product& product, ProductPlan& plan) override {
    Status s = prepare_products();
    return s.empty() ? products_->plan(product, plan) : s;
  }
  Status run_product(const Product& product, const ProductPlan& plan,
                     const ProductAddresses& at) override {
    Status s = prepare_products();
    return s.empty() ? products_->run(product, plan, at, stream_) : s;
  }

  Status convolution_library(std::string& version) override {
    Status s = prepare_convolutions();
    if (s.empty()) version = convolutions_->version();
    return s;
  }
  Status plan_convolution(const Convolution& convolution, int64_t max_workspace,
                          ProductPlan& plan) override {
    Status s = prepare_convolutions();
    return s.empty() ? convolutions_->plan(convolution, max_workspace, plan) : s;
  }
  Status run_convolution(const Convolution& convolution, const ProductPlan& plan, uint64_t a,
                         uint64_t b, uint64_t c, uint64_t workspace) override {
    Status s = prepare_convolutions();
    return s.empty() ? convolutions_->run(convolution, plan, a, b, c, workspace) : s;
  }

  Status begin_capture() override {
    return call(d_.cuStreamBeginCapture_(stream_, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
                "cuStreamBeginCapture");
  }
  Status end_capture(uint64_t& graph) override {
    CUgraph captured = nullptr;
    CUgraphExec executable = nullptr;
    Status s = call(d_.cuStreamEndCapture_(stream_, &captured), "cuStreamEndCapture");
    if (s.empty())
      s = call(d_.cuGraphInstantiateWithFlags_(&executable, captured, 0), "cuGraphInstantiate");
    if (captured) d_.cuGraphDestroy_(captured);
    graph = handle(executable);
    return s;
  }
  Status launch_graph(uint64_t graph) override {
    return call(d_.cuGraphLaunch_(pointer<CUgraphExec>(graph), stream_), "cuGraphLaunch");
  }
  Status release_graph(uint64_t graph) override {
    return call(d_.cuGraphExecDestroy_(pointer<CUgraphExec>(graph)), "cuGraphExecDestroy");
  }

  Status create_event(uint64_t& event) override {
    CUevent e = nullptr;
    Status s = call(d_.cuEventCreate_(&e, CU_EVENT_DEFAULT), "cuEventCreate");
    event = handle(e);
    return s;
  }
  Status record_event(uint64_t event) override {
    return call(d_.cuEventRecord_(pointer<CUevent>(event), stream_), "cuEventRecord");
  }
  Status milliseconds(uint64_t from, uint64_t to, float& ms) override {
    Status s = call(d_.cuEventSynchronize_(pointer<CUevent>(to)), "cuEventSynchronize");
    return s.empty()
               ? call(d_.cuEventElapsedTime_(&ms, pointer<CUevent>(from), pointer<CUevent>(to)),
                      "cuEventElapsedTime")
               : s;
  }
  Status release_event(uint64_t event) override {
    return call(d_.cuEventDestroy_(pointer<CUevent>(event)), "cuEventDestroy");
  }

  Status begin_trace() override {
    Status s = synchronize();
    return s.empty() ? start_trace() : s;
  }
  Status end_trace(std::vector<TracedWork>& work) override {
    Status s = synchronize();
    Status stopped = stop_trace(work);
    return s.empty() ? stopped : s;
  }

  Status join_group(const GroupPlace& place, std::unique_ptr<Collectives>& out) override {
    return cuda::join_group(place, {stream_, [this](bool& done) { return finished(done); }}, out);
  }

 private:
  Status finished(bool& done) const {
    const CUresult result = d_.cuStreamQuery_(stream_);
    done = result == CUDA_SUCCESS;
    return result == CUDA_ERROR_NOT_READY ? "" : call(result, "cuStreamQuery");
  }
  Status call(CUresult result, const char* what) const { return d_.check(result, what); }
  Status prepare_convolutions() {
    return convolutions_ ? "" : make_convolutions(stream_, convolutions_);
  }
  Status prepare_products() { return products_ ? "" : make_products(products_); }

  const Driver& d_ = driver();
  CUdevice device_;
  CUcontext context_;
  CUstream stream_, copies_;
  DeviceInfo info_;
  std::unique_ptr<Products> products_;
  std::unique_ptr<Convolutions> convolutions_;
  std::set<uint64_t> large_;  // functions that were given more shared memory
};

}  // namespace

Status open_device(int index, std::unique_ptr<Device>& out) {
  const Driver& d = driver();
  CUdevice device;
  DeviceInfo info;
  if (Status s = device_info(index, device, info); !s.empty()) return s;
  if (info.major < 8)
    return "device " + std::to_string(index) + " (" + info.name + ") has compute capability " +
           std::to_string(info.major) + "." + std::to_string(info.minor) +
           "; at least 8.0 (Ampere) is needed";
  CUcontext context = nullptr;
  if (Status s = d.check(d.cuDevicePrimaryCtxRetain_(&context, device), "cuDevicePrimaryCtxRetain");
      !s.empty())
    return s;
  CUstream stream = nullptr, copies = nullptr;
  Status s = d.check(d.cuCtxSetCurrent_(context), "cuCtxSetCurrent");
  for (CUstream* one : {&stream, &copies})
    if (s.empty()) s = d.check(d.cuStreamCreate_(one, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  if (!s.empty()) {
    if (stream) d.cuStreamDestroy_(stream);
    d.cuDevicePrimaryCtxRelease_(device);
    return s;
  }
  out = std::make_unique<DriverDevice>(device, context, stream, copies, info);
  return "";
}

}  // namespace corten::cuda
