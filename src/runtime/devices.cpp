#include "runtime/devices.h"

#include <charconv>
#include <map>
#include <mutex>
#include <ostream>

#include "base/format.h"
#include "cuda/load.h"
#include "runtime/eager_device.h"

namespace corten {
namespace runtime {
namespace {

struct Opened {
  std::unique_ptr<cuda::Device> own;  // null: installed
  std::unique_ptr<EagerDevice> eager;
};
struct Registry {
  std::mutex mutex;
  std::map<int, Opened> devices;  // by index
  bool recording = false;
  int64_t max_entries = 0;

  EagerDevice& add(int index, Opened opened) {
    std::lock_guard lock(mutex);
    if (recording) opened.eager->allocator().record(true, max_entries);
    return *devices.try_emplace(index, std::move(opened)).first->second.eager;
  }
};
Registry& registry() {
  static auto* instance = new Registry;  // outlives every static tensor
  return *instance;
}

}  // namespace

ir::Placement placement(const Device& device) {
  if (device.is_cpu()) return {};
  return {ir::DeviceKind::cuda, static_cast<int16_t>(device.index)};
}
Device device(ir::Placement placement) {
  return placement.kind == ir::DeviceKind::cuda ? Device(DeviceType::cuda, placement.index)
                                                : Device();
}

EagerDevice* find_device(ir::Placement placement) {
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  const auto found = r.devices.find(placement.index);
  return found == r.devices.end() ? nullptr : found->second.eager.get();
}
EagerDevice& open_device(ir::Placement placement) {
  if (placement.kind != ir::DeviceKind::cuda)
    internal_error("{} is no device to open", ir::to_string(placement));
  if (EagerDevice* known = find_device(placement)) return *known;
  Opened fresh;
  fresh.own = cuda::open_device(placement.index);
  fresh.eager = std::make_unique<EagerDevice>(*fresh.own, placement);
  return registry().add(placement.index, std::move(fresh));
}
std::vector<EagerDevice*> opened_devices() {
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  std::vector<EagerDevice*> out;
  for (const auto& [index, opened] : r.devices) out.push_back(opened.eager.get());
  return out;
}
void record_device_history(bool enabled, int64_t max_entries) {
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  r.recording = enabled;
  r.max_entries = max_entries;
  for (const auto& [index, opened] : r.devices)
    opened.eager->allocator().record(enabled, max_entries);
}

InstalledDevice::InstalledDevice(int index, cuda::Device& device, cuda::MakeModules make_modules)
    : index_(index) {
  const ir::Placement place{ir::DeviceKind::cuda, static_cast<int16_t>(index)};
  if (find_device(place)) internal_error("{} is in use", ir::to_string(place));
  Opened opened;
  opened.eager = std::make_unique<EagerDevice>(device, place, std::move(make_modules));
  registry().add(index, std::move(opened));
}
InstalledDevice::~InstalledDevice() {
  Opened gone;
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  gone = std::move(r.devices.at(index_));
  r.devices.erase(index_);
}
EagerDevice& InstalledDevice::eager() const {
  return open_device({ir::DeviceKind::cuda, static_cast<int16_t>(index_)});
}

}  // namespace runtime

Device::Device(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view kind = text.substr(0, colon),
                         number = colon == text.npos ? "0" : text.substr(colon + 1);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), index);
  type = kind == "cuda" ? DeviceType::cuda : DeviceType::cpu;
  const bool good = (kind == "cpu" || kind == "cuda") && error == std::errc() &&
                    end == number.data() + number.size() && !number.empty() && index >= 0 &&
                    index <= 999 && (kind == "cuda" || index == 0);
  if (!good) usage_error("\"{}\" is no device: \"cpu\", \"cuda\" and \"cuda:1\" are", text);
}
std::string Device::to_string() const {
  return is_cuda() ? format("cuda:{}", index) : "cpu";
}
std::ostream& operator<<(std::ostream& out, const Device& device) {
  return out << device.to_string();
}

namespace cuda {
namespace {

runtime::EagerDevice& gpu(const corten::Device& device, const char* what) {
  if (!device.is_cuda()) usage_error("[{}] {} is no GPU", what, device.to_string());
  return runtime::open_device(runtime::placement(device));
}

}  // namespace

bool is_available() {
  return !runtime::opened_devices().empty() || missing_device().empty();
}
int device_count() {
  const int opened = static_cast<int>(runtime::opened_devices().size());
  if (!missing_device().empty()) return opened;
  return std::max(opened, static_cast<int>(plugin().driver().devices.size()));
}
DeviceProperties get_device_properties(const corten::Device& device) {
  const DeviceInfo& info = gpu(device, "get_device_properties").device().info();
  return {info.name,
          info.major,
          info.minor,
          static_cast<int64_t>(info.memory_bytes),
          info.multiprocessors,
          info.l2_bytes};
}
void synchronize(const corten::Device& device) {
  gpu(device, "synchronize").check();
}
std::pair<int64_t, int64_t> mem_get_info(const corten::Device& device) {
  std::pair<int64_t, int64_t> out;
  raise(gpu(device, "mem_get_info").device().memory(out.first, out.second));
  return out;
}

}  // namespace cuda
}  // namespace corten
