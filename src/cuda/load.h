// Finds and loads the CUDA plug-in, when something asks for a CUDA device.
#pragma once

#include "cuda/plugin.h"

namespace corten::cuda {

/// The plug-in, loaded by the first call; null if there is none, with the reason in `missing`.
/// Looked for as $CORTEN_CUDA_PLUGIN, beside the program or library that this code is in, in ../lib
/// of it, and on the system's path. Thread-safe.
Plugin* find_plugin(std::string& missing);
/// The same; resource error if there is none.
Plugin& plugin();
/// "" if there is a device that can be used, with a compiler for its kernels; or what is missing,
/// and what to install.
std::string missing_device();
/// Device number `index` of those that CUDA_VISIBLE_DEVICES leaves. Resource error if there is
/// none.
std::unique_ptr<Device> open_device(int index);

}  // namespace corten::cuda
