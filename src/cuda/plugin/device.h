#pragma once

#include <memory>

#include "cuda/plugin.h"
#include "cuda/plugin/driver.h"

namespace corten::cuda {

/// `driver` must outlive the device.
Status open_device(const Driver& driver, int index, std::unique_ptr<Device>& out);

}  // namespace corten::cuda
