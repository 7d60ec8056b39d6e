// Devices that tensors lie on: this machine's processor ("cpu") and NVIDIA GPUs ("cuda:0").
//
// Operations run where their operands lie. Work for a GPU is asked for and goes on beside the program: whatever needs a value
// on the host waits for it.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <utility>

namespace corten {

enum class DeviceType : uint8_t { cpu, cuda };

/// A device by name. Naming one does not ask for it.
struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;  ///< of those that CUDA_VISIBLE_DEVICES leaves; 0 for "cpu"

  constexpr Device() = default;
  constexpr Device(DeviceType type, int index = 0) : type(type), index(index) {}
  /// "cpu", "cuda" (the first one) or "cuda:1". Usage error for anything else.
  Device(std::string_view text);
  Device(const char* text) : Device(std::string_view(text)) {}
  Device(const std::string& text) : Device(std::string_view(text)) {}

  bool is_cpu() const { return type == DeviceType::cpu; }
  bool is_cuda() const { return type == DeviceType::cuda; }
  std::string to_string() const;  ///< "cpu", "cuda:0"
  bool operator==(const Device&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Device& device);

struct DeviceProperties {
  std::string name;
  int major = 0, minor = 0;  ///< compute capability
  int64_t total_memory = 0;  ///< bytes
  int multi_processor_count = 0;
  int64_t l2_cache_size = 0;  ///< bytes
};

}  // namespace corten

/// The names of torch.cuda; statistics of memory: corten/memory.h. Resource error where there is no such device, saying what
/// is missing; usage error for a device that is no GPU.
namespace corten::cuda {

bool is_available();  ///< there is a device, with all that is needed to use it
int device_count();   ///< 0 if none is available
DeviceProperties get_device_properties(const corten::Device& device = DeviceType::cuda);
/// Waits for everything that was asked of the device, and raises what went wrong there: an index out of range.
void synchronize(const corten::Device& device = DeviceType::cuda);
/// Bytes {free, total} of the device's memory, by its driver: blocks that are kept for reuse are not free.
std::pair<int64_t, int64_t> mem_get_info(const corten::Device& device = DeviceType::cuda);

}  // namespace corten::cuda
