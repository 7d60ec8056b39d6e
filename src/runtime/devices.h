// The GPUs that this process has opened, and what it takes to put something else in the place of
// one.
#pragma once

#include <vector>

#include "corten/device.h"
#include "cuda/device_program.h"
#include "ir/placement.h"

namespace corten::runtime {

class EagerDevice;

ir::Placement placement(const Device& device);
Device device(ir::Placement placement);

/// The device of a placement, opened by the first call. Resource error if there is none.
EagerDevice& open_device(ir::Placement placement);
/// The same; null if nobody has opened it.
EagerDevice* find_device(ir::Placement placement);
std::vector<EagerDevice*> opened_devices();
/// The history of memory (corten/memory.h) of all devices, those that are opened later too.
void record_device_history(bool enabled, int64_t max_entries);

/// As long as one lives, a device that the caller has is "cuda:<index>" for this process. Tensors
/// there must go before.
class InstalledDevice {
 public:
  InstalledDevice(int index, cuda::Device& device, cuda::MakeModules make_modules = {});
  ~InstalledDevice();
  InstalledDevice(const InstalledDevice&) = delete;
  EagerDevice& eager() const;

 private:
  int index_;
};

}  // namespace corten::runtime
