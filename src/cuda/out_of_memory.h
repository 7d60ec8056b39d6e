// Errors of a device that has not got enough memory: how much there is, and what would help.
#pragma once

#include <string>
#include <vector>

#include "cuda/plugin.h"

namespace corten::cuda {

inline bool is_out_of_memory(const Status& status) { return status.starts_with(kOutOfMemory); }

struct OutOfMemory {
  std::string device;               ///< "cuda:0"
  std::string what;                 ///< needs the memory: "state of a program"
  int64_t asked = 0;                ///< bytes; 0: not known
  int64_t free = 0, total = 0;      ///< of the device
  std::string held;                 ///< what is known of who holds the rest, or ""
  std::vector<std::string> advice;  ///< in order of what costs least
  Status status;                    ///< of the call
};
/// Resource error.
[[noreturn]] void raise(const OutOfMemory& error);

/// Resource error for a call that failed; where the device has not got enough memory, with what it has
/// and what would make a program need less.
void raise(Device& device, const Status& status, const char* what, int64_t asked = 0);

}  // namespace corten::cuda
