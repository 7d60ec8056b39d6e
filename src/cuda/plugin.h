// The boundary between Corten and its CUDA plug-in (libcorten_cuda.so, src/cuda/plugin): everything
// that needs NVIDIA's libraries is behind it. The plug-in loads them when they are first used, so
// that it can say which one is missing.
//
// No exception crosses the boundary: calls that can fail return a Status, "" or one line that says
// what is wrong and what to do about it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace corten::cuda {

/// Of this header: a plug-in of another version is refused.
inline constexpr int kPluginVersion = 7;
inline constexpr const char* kPluginEntry = "corten_cuda_plugin";

using Status = std::string;

/// How the status of a call begins that the device has not enough memory for.
inline constexpr const char* kOutOfMemory = "the device is out of memory";

/// NVRTC.
struct CompilerInfo {
  Status missing;  ///< "" if there is one
  int major = 0, minor = 0;
  std::string library;             ///< path
  std::string build;               ///< what tells it from others of its version
  std::vector<int> architectures;  ///< that it compiles for: 80, 90, ...
};

/// What ptxas says of a kernel.
struct KernelResources {
  std::string name;
  int registers = 0;  ///< per thread
  int shared_bytes = 0, stack_bytes = 0, spill_store_bytes = 0, spill_load_bytes = 0;
};

/// Of a product, at most.
inline constexpr int64_t kMaxWorkspace = int64_t{32} << 20;

/// Of shared memory that a block may ask for: on sm_90 and sm_100, and where least (sm_86, sm_89,
/// sm_120).
inline constexpr int kMaxSharedBytes = 227 << 10, kMinSharedBytes = 99 << 10;

struct DeviceInfo {
  std::string name;
  int major = 0, minor = 0;  ///< compute capability
  uint64_t memory_bytes = 0;
  int multiprocessors = 0;
  int64_t l2_bytes = 0;
  int64_t workspace_bytes = kMaxWorkspace;  ///< that a product takes at most
  int shared_bytes = kMaxSharedBytes;       ///< that a block may ask for at most
  /// Whether tensor cores multiply 8-bit floats.
  bool has_float8() const { return major * 10 + minor >= 89; }
};

/// The driver and its devices.
struct DriverInfo {
  Status missing;   ///< "" if there is a device that can be used
  int version = 0;  ///< 13000 is 13.0
  std::vector<DeviceInfo> devices;
};

enum class ProductType : uint8_t { f32, tf32, bf16, f16, f64, e4m3, e5m2 };
inline bool has_8_bits(ProductType type) { return type >= ProductType::e4m3; }

/// c[m, n] = a[m, k] b[k, n] (+ bias[n]) for `batch` matrices, row-major. Leading dimensions and
/// batch strides are in elements; a transposed operand is stored as its transpose. With 8 bits it is
/// scale_a scale_b a b, of which b is transposed.
struct Product {
  ProductType type = ProductType::f32;  ///< of the operands; sums are f32 (f64)
  ProductType type_b = ProductType::e4m3, type_c = ProductType::bf16;  ///< b's and c's if a has 8 bits
  bool wide_result = false;             ///< bf16 and f16: c is f32
  bool transpose_a = false, transpose_b = false;
  int64_t m = 0, n = 0, k = 0, batch = 1;
  int64_t lda = 0, ldb = 0, ldc = 0, stride_a = 0, stride_b = 0, stride_c = 0;
  bool bias = false;        ///< of c's type; the algorithm is the one without
  bool accumulate = false;  ///< added to what c holds
  int alignment = 16;  ///< bytes that all addresses are multiples of
  bool operator==(const Product&) const = default;
};
struct ProductAddresses {
  uint64_t a = 0, b = 0, c = 0;
  uint64_t bias = 0;                  ///< where there is one
  uint64_t scale_a = 0, scale_b = 0;  ///< f32, of operands of 8 bits
  uint64_t workspace = 0;
};
/// The algorithm of a product or a convolution: opaque bytes that can be stored, valid for one device
/// model and library version.
struct ProductPlan {
  std::string algorithm;
  int64_t workspace_bytes = 0;
};

/// A convolution in two dimensions, or one of its gradients, of contiguous operands: images x
/// [images, channels, size], a kernel w [filters, channels / groups, kernel], results y
/// [images, filters, out]. Rows come before columns.
struct Convolution {
  enum class Kind : uint8_t {
    forward,         ///< y of x and w
    data_gradient,   ///< x's, of y's and w
    weight_gradient  ///< w's, of x and y's
  } kind = Kind::forward;
  ProductType type = ProductType::f32;  ///< of all operands, not f64; sums are f32
  int64_t images = 0, channels = 0, size[2] = {1, 1};
  int64_t filters = 0, groups = 1, kernel[2] = {1, 1};
  int64_t stride[2] = {1, 1}, padding[2] = {0, 0}, dilation[2] = {1, 1};
  int64_t out[2] = {1, 1};
  bool operator==(const Convolution&) const = default;
};

/// Something that the device executed, by its own clock.
struct TracedWork {
  std::string name;
  int64_t start_ns = 0, end_ns = 0;
};

/// A rank's place in a group of devices that communicate.
struct GroupPlace {
  std::string id;  ///< the group's, of Plugin::new_group_id()
  int rank = 0, size = 1;
  double timeout_seconds = 0;  ///< of everything that waits for other ranks
};
class Collectives;  // cuda/collectives.h

/// A device that is open: its primary context and one stream, whose work is done in order. Every
/// call makes the context the calling thread's, so that a thread may use several devices in turn;
/// two threads do not use one at a time. Addresses are the device's; nothing waits but what says so.
class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;

  virtual Status allocate(int64_t bytes, uint64_t& address) = 0;
  virtual Status release(uint64_t address) = 0;
  virtual Status memory(int64_t& free, int64_t& total) = 0;
  /// Page-locked host memory, which copies run from and to without waiting.
  virtual Status allocate_host(int64_t bytes, void*& address) = 0;
  virtual Status release_host(void* address) = 0;

  virtual Status to_device(uint64_t to, const void* from, int64_t bytes) = 0;
  virtual Status to_host(void* to, uint64_t from, int64_t bytes) = 0;
  virtual Status copy(uint64_t to, uint64_t from, int64_t bytes) = 0;
  virtual Status fill(uint64_t address, uint8_t byte, int64_t bytes) = 0;
  /// Waits for everything that was asked for.
  virtual Status synchronize() = 0;

  /// A copy to the device beside its other work, on a stream of its own whose copies are done in order.
  /// `from` should be page-locked.
  virtual Status prefetch(uint64_t to, const void* from, int64_t bytes) = 0;
  /// The event comes behind what was prefetched so far.
  virtual Status record_prefetch(uint64_t event) = 0;
  /// What is asked for from now on, but for prefetches, comes behind an event that was recorded.
  virtual Status wait_event(uint64_t event) = 0;
  /// The caller waits for an event that was recorded.
  virtual Status wait_host(uint64_t event) = 0;

  virtual Status load_module(const std::string& cubin, uint64_t& module) = 0;
  virtual Status unload_module(uint64_t module) = 0;
  virtual Status find_function(uint64_t module, const std::string& name, uint64_t& function) = 0;
  /// `arguments[i]` is the address of argument i's value. `shared_bytes`: of shared memory, beyond
  /// what the function has anyway.
  virtual Status launch(uint64_t function, int64_t blocks, int threads, void** arguments,
                        int shared_bytes = 0) = 0;

  /// The library of products and its version: algorithms are not for another one.
  virtual Status product_library(std::string& version) = 0;
  virtual Status plan_product(const Product& product, ProductPlan& plan) = 0;
  virtual Status run_product(const Product& product, const ProductPlan& plan,
                             const ProductAddresses& at) = 0;

  /// The library of convolutions and its version. Algorithms give the same bits in every run.
  virtual Status convolution_library(std::string& version) {
    return "device " + info().name + " has no convolutions";
  }
  virtual Status plan_convolution(const Convolution& convolution, int64_t max_workspace,
                                  ProductPlan& plan) {
    return "device " + info().name + " has no convolutions";
  }
  /// Operands in the order of the kind's description, then the result. All lie at multiples of 16
  /// bytes.
  virtual Status run_convolution(const Convolution& convolution, const ProductPlan& plan,
                                 uint64_t a, uint64_t b, uint64_t c, uint64_t workspace) {
    return "device " + info().name + " has no convolutions";
  }

  /// What is asked for between begin and end becomes a graph instead of being done; copies from and
  /// to the host must not be among it.
  virtual Status begin_capture() = 0;
  /// Ends it in any case; the graph is 0 if something was wrong since it began.
  virtual Status end_capture(uint64_t& graph) = 0;
  virtual Status launch_graph(uint64_t graph) = 0;
  virtual Status release_graph(uint64_t graph) = 0;

  /// Only between timed events are there milliseconds; others cost less.
  virtual Status create_event(uint64_t& event, bool timed = true) = 0;
  virtual Status record_event(uint64_t event) = 0;
  virtual Status milliseconds(uint64_t from, uint64_t to, float& ms) = 0;  ///< waits for `to`
  virtual Status release_event(uint64_t event) = 0;

  /// Kernels, copies and fills between begin and end, those of graphs too, in order of their start.
  /// Both wait. Tracing costs time: what is traced is not what is timed.
  virtual Status begin_trace() = 0;
  virtual Status end_trace(std::vector<TracedWork>& work) = 0;

  /// Waits until all ranks of the group are here.
  virtual Status join_group(const GroupPlace& place, std::unique_ptr<Collectives>& out) {
    return "device " + info().name + " does not communicate with others";
  }
};

class Plugin {
 public:
  virtual ~Plugin() = default;
  virtual CompilerInfo compiler() = 0;
  /// CUDA C++ to a binary for an architecture ("sm_90"). `log`: what the compilers printed.
  /// Thread-safe.
  virtual Status compile(const std::string& text, const std::vector<std::string>& options,
                         std::string& cubin, std::string& log) = 0;
  virtual DriverInfo driver() = 0;
  virtual Status open(int device, std::unique_ptr<Device>& out) = 0;
  virtual Status new_group_id(std::string& id) = 0;
};

/// The plug-in's only symbol: null if it was built for another kPluginVersion.
using PluginEntry = Plugin* (*)(int version);

}  // namespace corten::cuda
