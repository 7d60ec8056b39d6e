// Compiled functions whose calls are executed by a GPU, and their state there.
//
// Tensors stay on the host for everybody else: arguments are copied to the device by each call,
// results from it, through page-locked memory. Calls may be begun before those before them have
// ended: what they take is copied beside their work, and nobody waits before the results are asked
// for. State is copied when it is first used, and again if the host gives it a new value; what
// calls write stays on the device until it is fetched.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "corten/compile.h"
#include "cuda/device_program.h"
#include "runtime/inspect.h"
#include "runtime/tensor_impl.h"

namespace corten::runtime {

class Recorder;

/// The state of all functions on a device, one place for each tensor.
class DeviceState {
 public:
  explicit DeviceState(cuda::Device& device, cuda::MakeModules make_modules = {})
      : device_(device),
        make_modules_(std::move(make_modules)),
        scratch_(std::make_shared<cuda::Scratch>(device)) {}
  ~DeviceState();
  DeviceState(const DeviceState&) = delete;

  cuda::Device& device() const { return device_; }
  const cuda::MakeModules& make_modules() const { return make_modules_; }
  /// The arena of all functions.
  const std::shared_ptr<cuda::Scratch>& scratch() const { return scratch_; }
  /// Where a tensor lies on the device, with the host's value if that is new.
  uint64_t use(const CellPtr& cell);
  /// The device has a newer value.
  void written(const CellPtr& cell);
  /// Gives the host's tensors the values that the device has. Waits.
  void fetch();
  /// Gives the memory of a tensor back, with the value that it has there.
  void forget(const CellPtr& cell);
  int64_t bytes() const { return bytes_; }

 private:
  struct Place {
    CellPtr cell;
    ir::BufferPtr known;  // the host's value that the device has, or had
    uint64_t address = 0;
    int64_t bytes = 0;
    bool newer = false;  // the device's value is newer
  };
  cuda::Device& device_;
  cuda::MakeModules make_modules_;
  std::shared_ptr<cuda::Scratch> scratch_;
  std::map<const Cell*, Place> places_;
  int64_t bytes_ = 0;
};

/// The plan of a recorded function for a device: its arena fits what is free there, `scratch` among
/// it, if it can, and calls keep to a budget of bytes (0: none). Resource error if they cannot.
std::unique_ptr<cuda::DevicePlan> plan_within(const ir::Graph& recorded, int64_t memory_budget,
                                              cuda::Device& device, const cuda::Scratch& scratch);

/// A compiled function on a device. What surrounds its calls (Autocast, gradients) must not change
/// from call to call, nor which tensors its modules hold.
class DeviceFunction {
 public:
  /// `function` and `state` must outlive this.
  DeviceFunction(CompiledFunction& function, DeviceState& state);
  ~DeviceFunction();
  DeviceFunction(const DeviceFunction&) = delete;

  /// Executes the function; waits for the results. The first call with arguments of new types makes
  /// a program. Usage error for what has no implementation for GPUs; resource error if the
  /// function's memory budget, or the device's memory, is too small however much is computed again.
  std::vector<Tensor> operator()(const std::vector<Tensor>& arguments);
  /// Begins a call: nothing waits, and the arguments may change afterwards. While a Recorder lives,
  /// calls wait and the time of every launch is recorded.
  class Call;
  Call begin(const std::vector<Tensor>& arguments);
  /// Waits for a call, and raises what went wrong in it. Calls end in the order in which they
  /// began.
  std::vector<Tensor> end(Call call);
  /// Makes the program for arguments of these types, without executing it.
  void plan(const std::vector<Tensor>& arguments);
  /// Of the program that was made or used last.
  const cuda::DeviceProgramInfo& info() const;
  const cuda::DevicePlan* device_plan() const;  ///< null before the first
  /// Executes what was called last `runs` times more, with the arguments that it had, without
  /// waiting in between: milliseconds of each by the device's clock.
  std::vector<double> time(int runs);
  /// Executes what was called last once more, with the arguments that it had, and waits: where its
  /// time goes.
  cuda::DeviceProfile profile();
  /// Bytes of arguments and results of all programs.
  int64_t bytes() const { return bytes_; }

 private:
  struct Entry;
  struct Slot;
  void ran_again();
  Entry& find(const std::vector<Tensor>& arguments);
  void record(Entry& entry, Recorder& recorder);

  CompiledFunction& function_;
  DeviceState& state_;
  std::map<std::string, std::unique_ptr<Entry>> entries_;
  Entry* last_ = nullptr;
  int64_t bytes_ = 0;
};

/// A call that has begun.
class DeviceFunction::Call {
 private:
  friend class DeviceFunction;
  Entry* entry_ = nullptr;
  Slot* slot_ = nullptr;
};

}  // namespace corten::runtime
