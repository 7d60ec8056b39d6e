// Eager ops on a GPU: an op call is a program of one op, as on the CPU, that is planned, compiled
// and remembered, and asked for without waiting for it. Operands and results lie in the device's
// caching allocator.
#pragma once

#include <map>
#include <set>
#include <thread>

#include "cuda/loaded_kernels.h"
#include "runtime/device_allocator.h"
#include "runtime/program_cache.h"

namespace corten::runtime {

class EagerDevice {
 public:
  /// The device must outlive this.
  EagerDevice(cuda::Device& device, ir::Placement placement, cuda::MakeModules make_modules = {});
  ~EagerDevice();
  EagerDevice(const EagerDevice&) = delete;

  ir::Placement placement() const { return placement_; }
  cuda::Device& device() const { return device_; }
  const cuda::MakeModules& make_modules() const { return make_modules_; }
  DeviceAllocator& allocator() const { return *allocator_; }

  /// Executes an op. Operands of the host are uploaded if they are numbers (is_number); usage error
  /// for others, and for those of other devices.
  ir::Values run(const ir::Op& op, const ir::AttrsPtr& attrs, const ir::Values& inputs);
  /// Contiguous copies. upload() waits until the host's memory may go; download() for everything
  /// that was asked for.
  ir::Value upload(const ir::Value& host);
  ir::Value download(const ir::Value& value);
  /// The bytes of all elements are zero.
  ir::Value zeros(const ir::Type& type);
  /// Waits for everything that was asked for. Usage error for an index that was out of range since
  /// the last call.
  void check();

  /// A program that may find something wrong while it runs, which the next check() raises.
  struct Watched {
    std::unique_ptr<cuda::DeviceProgram> program;
    ir::Source source;  // of the newest call
  };
  void watch(const std::shared_ptr<Watched>& program);
  /// Copies a number of the host, behind everything that was asked for, without waiting.
  void put_number(const ir::Value& host, uint64_t to);
  /// The arena of compiled functions.
  const std::shared_ptr<cuda::Scratch>& scratch() const { return scratch_; }

  /// Programs of single ops that are remembered.
  size_t programs() { return cache_.size(); }

 private:
  /// Calls come from one thread, which the driver's context belongs to.
  void check_thread() const;
  ir::BufferPtr number(const ir::Value& host);
  std::shared_ptr<Watched> compile(const ir::Op& op, const ir::AttrsPtr& attrs,
                                   const ir::Values& inputs);
  ir::BufferPtr temporary(int64_t bytes, const char* label);

  cuda::Device& device_;
  const ir::Placement placement_;
  const cuda::MakeModules make_modules_;
  const std::thread::id thread_ = std::this_thread::get_id();
  const std::shared_ptr<DeviceAllocator> allocator_;
  std::shared_ptr<cuda::LoadedKernels> kernels_;
  const std::shared_ptr<cuda::Scratch> scratch_;
  ProgramCache<Watched> cache_;
  std::set<std::shared_ptr<Watched>>
      unchecked_;  // ran since the last check(), and may have something to say

  // Numbers by their bytes, and page-locked memory that they are copied from.
  struct Number {
    DType dtype;
    uint64_t bits;
    auto operator<=>(const Number&) const = default;
  };
  static constexpr size_t kNumbers = 4096;
  std::map<Number, ir::BufferPtr> numbers_;
  std::unique_ptr<cuda::HostMemory> staging_;
  size_t staged_ = 0;
};

/// One element in memory, however many the value has.
bool is_number(const ir::Value& value);
/// A value on another device, without a gradient: itself if it lies there.
ir::Value move_to(const ir::Value& value, ir::Placement placement);

}  // namespace corten::runtime
