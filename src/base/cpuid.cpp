#include "base/cpuid.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace corten {
namespace {

bool bit(uint32_t word, int index) { return (word >> index) & 1; }

uint64_t read_xcr0() {
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

// Linux hands out the 8 KiB tile state on request only (Documentation/arch/x86/xstate.rst).
bool request_amx_permission() {
  constexpr long kArchReqXcompPerm = 0x1023;
  constexpr long kXfeatureTileData = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureTileData) == 0;
}

}  // namespace

// Intel SDM volume 2A, CPUID leaves 1 and 7; volume 1, 13.3 for the state bits of XCR0.
CpuFeatures read_cpuid() noexcept {
  CpuFeatures f;
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !bit(c, 27)) return f;  // OSXSAVE
  const uint64_t xcr0 = read_xcr0();
  constexpr uint64_t kAvxState = 0x6, kAvx512State = 0xe6, kAmxState = 0x60000;
  if ((xcr0 & kAvxState) != kAvxState) return f;
  f.fma = bit(c, 12);
  f.f16c = bit(c, 29);
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return f;
  const uint32_t subleaves = a;
  f.avx2 = bit(b, 5);
  if ((xcr0 & kAvx512State) == kAvx512State) {
    f.avx512f = bit(b, 16);
    f.avx512dq = bit(b, 17);
    f.avx512bw = bit(b, 30);
    f.avx512vl = bit(b, 31);
    f.avx512_vnni = bit(c, 11);
    f.avx512_fp16 = bit(d, 23);
  }
  const bool tiles = bit(d, 24), bf16 = bit(d, 22), int8 = bit(d, 25);
  if (f.avx512f && subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
    f.avx512_bf16 = bit(a, 5);
  if (tiles && (xcr0 & kAmxState) == kAmxState && request_amx_permission()) {
    f.amx_tile = true;
    f.amx_bf16 = bf16;
    f.amx_int8 = int8;
  }
  return f;
}

}  // namespace corten
