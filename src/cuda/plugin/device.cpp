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
  DriverDevice(const Driver& driver, CUdevice device, CUcontext context, CUstream stream,
               CUstream copies, DeviceInfo info)
      : d_(driver),
        device_(device),
        context_(context),
        stream_(stream),
        copies_(copies),
        info_(std::move(info)) {}
  ~DriverDevice() override {
    enter();
    d_.cuStreamSynchronize_(copies_);
    d_.cuStreamSynchronize_(stream_);
    products_.reset();
    convolutions_.reset();
    d_.cuStreamDestroy_(copies_);
    d_.cuStreamDestroy_(stream_);
    // What is current must not be what is gone.
    d_.cuCtxSetCurrent_(nullptr);
    d_.cuDevicePrimaryCtxRelease_(device_);
  }
  const DeviceInfo& info() const override { return info_; }

  Status allocate(int64_t bytes, uint64_t& address) override {
    CUdeviceptr p = 0;
    Status s = call("cuMemAlloc", d_.cuMemAlloc_, &p, static_cast<size_t>(bytes));
    address = p;
    return s;
  }
  Status release(uint64_t address) override { return call("cuMemFree", d_.cuMemFree_, address); }
  Status memory(int64_t& free, int64_t& total) override {
    size_t f = 0, t = 0;
    Status s = call("cuMemGetInfo", d_.cuMemGetInfo_, &f, &t);
    free = static_cast<int64_t>(f);
    total = static_cast<int64_t>(t);
    return s;
  }
  Status allocate_host(int64_t bytes, void*& address) override {
    if (Status s = enter(); !s.empty()) return s;
    const CUresult result =
        d_.cuMemHostAlloc_(&address, static_cast<size_t>(bytes), CU_MEMHOSTALLOC_PORTABLE);
    if (result != CUDA_ERROR_OUT_OF_MEMORY) return d_.check(result, "cuMemHostAlloc");
    return "cuMemHostAlloc: the host has not got " + std::to_string(bytes) +
           " bytes of memory that can be page-locked: see free -h, and ulimit -l in a container";
  }
  Status release_host(void* address) override {
    return call("cuMemFreeHost", d_.cuMemFreeHost_, address);
  }

  Status to_device(uint64_t to, const void* from, int64_t bytes) override {
    return call("cuMemcpyHtoDAsync", d_.cuMemcpyHtoDAsync_, to, from, static_cast<size_t>(bytes),
                stream_);
  }
  Status to_host(void* to, uint64_t from, int64_t bytes) override {
    return call("cuMemcpyDtoHAsync", d_.cuMemcpyDtoHAsync_, to, from, static_cast<size_t>(bytes),
                stream_);
  }
  Status copy(uint64_t to, uint64_t from, int64_t bytes) override {
    return call("cuMemcpyDtoDAsync", d_.cuMemcpyDtoDAsync_, to, from, static_cast<size_t>(bytes),
                stream_);
  }
  Status fill(uint64_t address, uint8_t byte, int64_t bytes) override {
    return call("cuMemsetD8Async", d_.cuMemsetD8Async_, address, byte, static_cast<size_t>(bytes),
                stream_);
  }
  Status synchronize() override {
    Status s = call("cuStreamSynchronize", d_.cuStreamSynchronize_, copies_);
    return s.empty() ? call("cuStreamSynchronize", d_.cuStreamSynchronize_, stream_) : s;
  }

  Status prefetch(uint64_t to, const void* from, int64_t bytes) override {
    return call("cuMemcpyHtoDAsync", d_.cuMemcpyHtoDAsync_, to, from, static_cast<size_t>(bytes),
                copies_);
  }
  Status record_prefetch(uint64_t event) override {
    return call("cuEventRecord", d_.cuEventRecord_, pointer<CUevent>(event), copies_);
  }
  Status wait_event(uint64_t event) override {
    return call("cuStreamWaitEvent", d_.cuStreamWaitEvent_, stream_, pointer<CUevent>(event), 0u);
  }
  Status wait_host(uint64_t event) override {
    return call("cuEventSynchronize", d_.cuEventSynchronize_, pointer<CUevent>(event));
  }

  Status load_module(const std::string& cubin, uint64_t& module) override {
    CUmodule m = nullptr;
    Status s = call("cuModuleLoadData", d_.cuModuleLoadData_, &m, cubin.data());
    module = handle(m);
    return s;
  }
  Status unload_module(uint64_t module) override {
    large_.clear();  // a handle may come again
    return call("cuModuleUnload", d_.cuModuleUnload_, pointer<CUmodule>(module));
  }
  Status find_function(uint64_t module, const std::string& name, uint64_t& function) override {
    CUfunction f = nullptr;
    Status s = call("cuModuleGetFunction", d_.cuModuleGetFunction_, &f, pointer<CUmodule>(module),
                    name.c_str());
    function = handle(f);
    return s;
  }
  Status launch(uint64_t function, int64_t blocks, int threads, void** arguments,
                int shared_bytes) override {
    // More than this is given to functions that say so before.
    constexpr int kSharedByDefault = 48 << 10;
    if (shared_bytes > kSharedByDefault && !large_.count(function)) {
      Status s = call("cuFuncSetAttribute", d_.cuFuncSetAttribute_, pointer<CUfunction>(function),
                      CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared_bytes);
      if (!s.empty()) return s;
      large_.insert(function);
    }
    return call("cuLaunchKernel", d_.cuLaunchKernel_, pointer<CUfunction>(function),
                static_cast<unsigned>(blocks), 1u, 1u, static_cast<unsigned>(threads), 1u, 1u,
                static_cast<unsigned>(shared_bytes), stream_, arguments, nullptr);
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
    return call("cuStreamBeginCapture", d_.cuStreamBeginCapture_, stream_,
                CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  }
  Status end_capture(uint64_t& graph) override {
    CUgraph captured = nullptr;
    CUgraphExec executable = nullptr;
    Status s = call("cuStreamEndCapture", d_.cuStreamEndCapture_, stream_, &captured);
    if (s.empty())
      s = call("cuGraphInstantiate", d_.cuGraphInstantiateWithFlags_, &executable, captured, 0);
    if (captured) d_.cuGraphDestroy_(captured);
    graph = handle(executable);
    return s;
  }
  Status launch_graph(uint64_t graph) override {
    return call("cuGraphLaunch", d_.cuGraphLaunch_, pointer<CUgraphExec>(graph), stream_);
  }
  Status release_graph(uint64_t graph) override {
    return call("cuGraphExecDestroy", d_.cuGraphExecDestroy_, pointer<CUgraphExec>(graph));
  }

  Status create_event(uint64_t& event, bool timed) override {
    CUevent e = nullptr;
    const unsigned flags = timed ? CU_EVENT_DEFAULT : CU_EVENT_DISABLE_TIMING;
    Status s = call("cuEventCreate", d_.cuEventCreate_, &e, flags);
    event = handle(e);
    return s;
  }
  Status record_event(uint64_t event) override {
    return call("cuEventRecord", d_.cuEventRecord_, pointer<CUevent>(event), stream_);
  }
  Status milliseconds(uint64_t from, uint64_t to, float& ms) override {
    Status s = call("cuEventSynchronize", d_.cuEventSynchronize_, pointer<CUevent>(to));
    return s.empty()
               ? call("cuEventElapsedTime", d_.cuEventElapsedTime_, &ms, pointer<CUevent>(from),
                      pointer<CUevent>(to))
               : s;
  }
  Status release_event(uint64_t event) override {
    return call("cuEventDestroy", d_.cuEventDestroy_, pointer<CUevent>(event));
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
    if (Status s = enter(); !s.empty()) return s;
    return cuda::join_group(
        place, {stream_, [this](bool& done) { return finished(done); }, [this] { return enter(); }},
        out);
  }

 private:
  Status finished(bool& done) const {
    if (Status s = enter(); !s.empty()) return s;
    const CUresult result = d_.cuStreamQuery_(stream_);
    done = result == CUDA_SUCCESS;
    return result == CUDA_ERROR_NOT_READY ? "" : d_.check(result, "cuStreamQuery");
  }
  // Makes the context the thread's, which may have used another one since.
  Status enter() const {
    CUcontext now = nullptr;
    if (d_.cuCtxGetCurrent_(&now) == CUDA_SUCCESS && now == context_) return "";
    return d_.check(d_.cuCtxSetCurrent_(context_), "cuCtxSetCurrent");
  }
  template <typename F, typename... Arguments>
  Status call(const char* what, F function, Arguments... arguments) const {
    Status s = enter();
    return s.empty() ? d_.check(function(arguments...), what) : s;
  }
  Status prepare_convolutions() {
    Status s = enter();
    return !s.empty() || convolutions_ ? s : make_convolutions(stream_, convolutions_);
  }
  Status prepare_products() {
    Status s = enter();
    return !s.empty() || products_ ? s : make_products(products_);
  }

  const Driver& d_;
  CUdevice device_;
  CUcontext context_;
  CUstream stream_, copies_;
  DeviceInfo info_;
  std::unique_ptr<Products> products_;
  std::unique_ptr<Convolutions> convolutions_;
  std::set<uint64_t> large_;  // functions that were given more shared memory
};

}  // namespace

Status open_device(const Driver& d, int index, std::unique_ptr<Device>& out) {
  CUdevice device;
  DeviceInfo info;
  if (Status s = device_info(d, index, device, info); !s.empty()) return s;
  if (info.major < 8)
    return "device " + std::to_string(index) + " (" + info.name + ") has compute capability " +
           std::to_string(info.major) + "." + std::to_string(info.minor) +
           "; at least 8.0 (Ampere) is needed";
  CUcontext context = nullptr;
  if (Status s = d.check(d.cuDevicePrimaryCtxRetain_(&context, device), "cuDevicePrimaryCtxRetain");
      !s.empty())
    return s;
  CUcontext before = nullptr;
  d.cuCtxGetCurrent_(&before);
  CUstream stream = nullptr, copies = nullptr;
  Status s = d.check(d.cuCtxSetCurrent_(context), "cuCtxSetCurrent");
  for (CUstream* one : {&stream, &copies})
    if (s.empty()) s = d.check(d.cuStreamCreate_(one, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  if (!s.empty()) {
    if (stream) d.cuStreamDestroy_(stream);
    d.cuCtxSetCurrent_(before);
    d.cuDevicePrimaryCtxRelease_(device);
    return s;
  }
  out = std::make_unique<DriverDevice>(d, device, context, stream, copies, info);
  return "";
}

}  // namespace corten::cuda
