// A device that is this CPU: memory, kernels (their text as host code, thread by thread) and
// products behind the interface of the CUDA plug-in, so that everything above it runs without a
// GPU.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>

#include "cuda/device_program.h"
#include "gpu/host_gpu.h"

namespace corten::cuda::test {

class CpuDevice final : public Device {
 public:
  CpuDevice();
  ~CpuDevice() override;
  /// Modules for load_module(); their "binary" is a number. Empty if no compiler is here.
  MakeModules modules();

  const DeviceInfo& info() const override { return properties; }
  Status allocate(int64_t bytes, uint64_t& address) override;
  Status release(uint64_t address) override;
  Status memory(int64_t& free, int64_t& total) override;
  Status allocate_host(int64_t bytes, void*& address) override;
  Status release_host(void* address) override;
  Status to_device(uint64_t to, const void* from, int64_t bytes) override;
  Status to_host(void* to, uint64_t from, int64_t bytes) override;
  Status copy(uint64_t to, uint64_t from, int64_t bytes) override;
  Status fill(uint64_t address, uint8_t byte, int64_t bytes) override;
  Status synchronize() override;
  Status prefetch(uint64_t to, const void* from, int64_t bytes) override;
  Status record_prefetch(uint64_t event) override;
  Status wait_event(uint64_t event) override;
  Status wait_host(uint64_t event) override;
  Status load_module(const std::string& cubin, uint64_t& module) override;
  Status unload_module(uint64_t module) override;
  Status find_function(uint64_t module, const std::string& name, uint64_t& function) override;
  Status launch(uint64_t function, int64_t blocks, int threads, void** arguments,
                int shared_bytes) override;
  Status product_library(std::string& version) override {
    version = products;
    return "";
  }
  Status plan_product(const Product& product, ProductPlan& plan) override;
  Status run_product(const Product& product, const ProductPlan& plan,
                     const ProductAddresses& at) override;
  Status convolution_library(std::string& version) override {
    version = products;
    return no_convolutions;
  }
  Status plan_convolution(const Convolution& convolution, int64_t max_workspace,
                          ProductPlan& plan) override;
  Status run_convolution(const Convolution& convolution, const ProductPlan& plan, uint64_t a,
                         uint64_t b, uint64_t c, uint64_t workspace) override;
  Status begin_capture() override;
  Status end_capture(uint64_t& graph) override;
  Status launch_graph(uint64_t graph) override;
  Status release_graph(uint64_t graph) override;
  Status create_event(uint64_t& event, bool timed) override;
  Status record_event(uint64_t event) override;
  Status milliseconds(uint64_t from, uint64_t to, float& ms) override;
  Status release_event(uint64_t event) override;
  Status begin_trace() override;
  Status end_trace(std::vector<TracedWork>& work) override;

  void set_capability(int major, int minor) {
    properties.major = major;
    properties.minor = minor;
  }
  int64_t allocated_bytes() const;
  bool capturing() const { return capturing_; }
  size_t launches = 0, graph_launches = 0, planned_products = 0, planned_convolutions = 0;
  std::string products = "cpu";  ///< the version of the library
  std::string missing;           ///< why there are no modules
  std::string no_convolutions;   ///< why there is no library of them; "": there is one
  std::string no_trace;          ///< the answer of begin_trace(), "": there are traces
  /// Work is done when somebody waits for it, as late as can be: what is read before, or given
  /// another value too early, shows.
  bool lazy = false;
  /// Kernels are compiled when one is executed, all that are known by then together, without
  /// optimisation.
  bool batched = false;
  int64_t memory_bytes = int64_t{4} << 30;  ///< that can be allocated
  DeviceInfo properties{"this CPU", 9, 0, uint64_t{4} << 30, 1, 1 << 20, 64};
  std::string no_capture;  ///< the answer of begin_capture(); "": there are captures
  int fails_in_capture = 0;  ///< this call within a capture, counted from 1, fails; as does its end
  bool tracked = false;  ///< races are looked for, with 8 bytes for each byte of memory

 private:
  struct Function {
    size_t module;
    codegen::gpu::KernelText text;
  };
  using Work = std::function<Status()>;
  using Queue = std::deque<Work>;
  // Now, later, or when a captured graph is launched; under a name in traces.
  Status work(std::string name, Work what);
  Status later(Work what);
  Status ask(Queue& queue, Work what);
  Status drain(Queue& queue, const bool* until = nullptr);
  Status reach(uint64_t event);
  Status compile_pending();

  // Handles of modules, functions, graphs and events have the device's number in their upper half:
  // like those of a GPU's context they mean nothing to another one.
  uint64_t own(uint64_t number) const { return number | context_ << 32; }
  // The number of a handle, or 0 and an error: it is another device's, or none.
  Status number(uint64_t handle, uint64_t count, const char* what, uint64_t& out) const;
  // An error if some of the bytes are not this device's memory.
  Status within(uint64_t address, int64_t bytes, const char* what) const;
  // What every call within a capture does first.
  Status refuses();

  const uint64_t context_;
  std::map<uint64_t, int64_t> memory_;  // address, bytes
  std::vector<std::vector<codegen::gpu::KernelText>> texts_;
  std::vector<std::shared_ptr<codegen::test::HostModule>> modules_;  // null: not compiled yet
  std::vector<Function> functions_;
  std::vector<std::vector<std::function<Status()>>> graphs_;
  std::vector<TracedWork> traced_;
  bool capturing_ = false, tracing_ = false;
  int captured_ = 0;             // calls of this capture
  Status broken_;                // why it gives no graph
  struct Event {
    bool done = true, timed = true;
    Queue* queue = nullptr;  // that it was recorded in
    std::chrono::steady_clock::time_point at;
  };
  Status record(uint64_t event, Queue& queue);
  std::map<uint64_t, Event> events_;
  uint64_t newest_event_ = 0;
  Queue queue_, prefetches_;  // what nobody has waited for yet
};

}  // namespace corten::cuda::test
