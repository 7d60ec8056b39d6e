// Communication among devices, as the plug-in offers it: NCCL behind statuses.
#pragma once

#include <span>

#include "comm/call.h"
#include "cuda/plugin.h"

namespace corten::cuda {

/// One rank of a group, on the stream of one device. Calls come from the device's thread, but for
/// abort(). A call that fails ends the group: the others return the same status from then on.
class Collectives {
 public:
  virtual ~Collectives() = default;
  virtual std::string version() const = 0;  ///< "NCCL 2.28.9"
  /// Asks for a collective, or for sends and receives that go on at the same time, behind what the
  /// stream has to do. No barriers, and nothing without elements.
  virtual Status run(std::span<const comm::Call> together) = 0;
  /// Waits for the stream, for as long as the group's timeout.
  virtual Status synchronize() = 0;
  /// Ends the group; a call that waits returns `reason`. From any thread.
  virtual void abort(const std::string& reason) = 0;
};

}  // namespace corten::cuda
