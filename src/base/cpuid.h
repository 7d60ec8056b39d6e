// What the processor and the system say of instruction sets. A program that links another definition
// of read_cpuid() has another processor: tests do.
#pragma once

#include "base/cpu.h"

namespace corten {

/// CPUID, XGETBV, and the system's permission to use AMX tiles, which this asks for. cpu_features()
/// calls it once.
CpuFeatures read_cpuid() noexcept;

}  // namespace corten
