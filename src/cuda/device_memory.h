// Memory of a device that goes with its owner.
#pragma once

#include <algorithm>
#include <memory>

#include "base/format.h"
#include "cuda/out_of_memory.h"
#include "cuda/plugin.h"

namespace corten::cuda {

/// Resource error for a call that failed.
inline void raise(const Status& status) {
  if (!status.empty()) resource_error("{}", status);
}

class DeviceMemory {
 public:
  /// Nothing for 0 bytes. Resource error if the device has not got as much.
  DeviceMemory(Device& device, int64_t bytes, const char* what = "")
      : device_(device), bytes_(std::max<int64_t>(bytes, 0)) {
    if (bytes <= 0) return;
    raise(device_, device_.allocate(bytes, address_), what, bytes);
  }
  DeviceMemory(const DeviceMemory&) = delete;
  ~DeviceMemory() {
    if (address_) device_.release(address_);
  }
  uint64_t address() const { return address_; }
  int64_t bytes() const { return bytes_; }

 private:
  Device& device_;
  int64_t bytes_;
  uint64_t address_ = 0;
};

/// Page-locked memory of the host, which copies run from and to beside everything else.
class HostMemory {
 public:
  HostMemory(Device& device, int64_t bytes) : device_(device) {
    if (bytes > 0) raise(device_.allocate_host(bytes, address_));
  }
  HostMemory(const HostMemory&) = delete;
  ~HostMemory() {
    if (address_) device_.release_host(address_);
  }
  char* data() const { return static_cast<char*>(address_); }

 private:
  Device& device_;
  void* address_ = nullptr;
};

class Event {
 public:
  explicit Event(Device& device) : device_(device) { raise(device_.create_event(event_, false)); }
  Event(const Event&) = delete;
  ~Event() { device_.release_event(event_); }
  uint64_t get() const { return event_; }

 private:
  Device& device_;
  uint64_t event_ = 0;
};

/// The arena of programs that a device runs one after the other: as large as the largest of them.
/// It moves when it grows.
class Scratch {
 public:
  explicit Scratch(Device& device) : device_(device) {}
  void reserve(int64_t bytes) {
    if (memory_ && memory_->bytes() >= bytes) return;
    raise(device_.synchronize());
    memory_.reset();
    memory_ = std::make_unique<DeviceMemory>(device_, bytes, "the arena of a program");
  }
  uint64_t address() const { return memory_ ? memory_->address() : 0; }
  int64_t bytes() const { return memory_ ? memory_->bytes() : 0; }

 private:
  Device& device_;
  std::unique_ptr<DeviceMemory> memory_;
};

}  // namespace corten::cuda
