// Ranks on NVIDIA GPUs: the engine of NCCL, one rank per device.
#pragma once

#include <memory>
#include <string>

#include "comm/comm.h"
#include "cuda/collectives.h"

namespace corten::cuda {

/// Of a group that is to be: made by one rank, handed to all of them by the caller (hexadecimal
/// digits). Its maker's process must live until the group is complete. Resource error if there is
/// no NCCL.
std::string new_group_id();

/// Rank `rank` of a group of `size`; waits until all ranks are here. Memory is the device's, calls
/// are asynchronous on its stream; the device outlives the rank. Reductions are NCCL's: their order
/// depends on topology, sizes and NCCL's version, and NaNs may lose a max.
///
/// Resource error if something takes longer than `timeout_seconds`: NCCL does not know which rank
/// is missing.
std::unique_ptr<comm::Comm> make_device_comm(Device& device, const std::string& id, int rank,
                                             int size, double timeout_seconds = 300);
/// The same on `collectives` that are open.
std::unique_ptr<comm::Comm> make_device_comm(Device& device,
                                             std::unique_ptr<Collectives> collectives, int rank,
                                             int size);

}  // namespace corten::cuda
