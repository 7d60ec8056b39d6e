// A processor that has AMX, because tiles.h does its instructions.
#define read_cpuid read_real_cpuid
#include "base/cpuid.cpp"
#undef read_cpuid

namespace corten {

CpuFeatures read_cpuid() noexcept {
  CpuFeatures features = read_real_cpuid();
  features.amx_tile = features.amx_bf16 = features.amx_int8 = features.avx512_bf16;
  return features;
}

}  // namespace corten
