// What the operating system says about this process: memory and age.
#pragma once

#include <cstdint>

namespace corten {

/// Bytes of memory that this process occupies now, and the most it ever did (VmRSS and VmHWM of
/// /proc/self/status); 0 if the system does not say.
uint64_t resident_bytes() noexcept;
uint64_t peak_resident_bytes() noexcept;

/// Bytes that this process can still allocate before the system runs out of memory: the smallest of
/// what the machine has available (MemAvailable), what the control groups of this process leave
/// (memory.max), and what its address-space limit leaves (RLIMIT_AS). UINT64_MAX if nothing is
/// known.
uint64_t available_memory_bytes() noexcept;

/// Seconds since the process was started, to 10 ms.
double process_age_seconds() noexcept;

}  // namespace corten
