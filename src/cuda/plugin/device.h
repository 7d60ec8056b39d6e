#pragma once

#include <memory>

#include "cuda/plugin.h"

namespace corten::cuda {

Status open_device(int index, std::unique_ptr<Device>& out);

}  // namespace corten::cuda
