// What the processor can do: instruction sets by CPUID bits, caches and cores.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace corten {

/// Kernel families, each a superset of the one before.
///   avx2:   AVX2, FMA and F16C: the oldest machine that Corten runs on
///   avx512: AVX-512 F, BW, DQ and VL as well
///   avx512bf16: AVX512_BF16 as well
///   amx:    AMX-TILE and AMX-BF16 as well, with the system's permission to use them
enum class Isa { avx2, avx512, avx512bf16, amx };
inline constexpr Isa kIsas[] = {Isa::avx2, Isa::avx512, Isa::avx512bf16, Isa::amx};

/// "avx2", "avx512", "avx512bf16" or "amx".
std::string_view name(Isa isa) noexcept;

/// Instruction-set bits that both the processor (CPUID) and the operating system (XGETBV, and
/// arch_prctl for AMX) support. Virtual machines mask the model number, so nothing is derived from
/// the model.
struct CpuFeatures {
  bool avx2 = false, fma = false, f16c = false;
  bool avx512f = false, avx512bw = false, avx512dq = false, avx512vl = false;
  bool avx512_vnni = false, avx512_bf16 = false, avx512_fp16 = false;
  bool amx_tile = false, amx_bf16 = false, amx_int8 = false;
};

/// The features of this machine. The first call asks the kernel for the process's permission to use
/// AMX tiles; it must come before threads that use them are started (ThreadPool takes care of it).
const CpuFeatures& cpu_features() noexcept;

/// The best family that `features` allow. Resource error below avx2.
Isa best_isa(const CpuFeatures& features);

/// The family `request` names ("" means the best). Usage error if the name is unknown or `features`
/// lack it; Resource error if `features` are below avx2.
Isa choose_isa(std::string_view request, const CpuFeatures& features);

/// The family this process uses: the best one, or the one that the environment variable CORTEN_ISA
/// names. Read once; errors as choose_isa().
Isa cpu_isa();

/// The processor, for reports and for blocking.
struct CpuInfo {
  std::string model;             ///< brand string, "unknown" if there is none
  size_t l1d_bytes = 32 << 10;   ///< per core
  size_t l2_bytes = 1 << 20;     ///< per core
  size_t l3_bytes = 0;           ///< shared; 0 if there is none
  int cores = 1;                 ///< logical processors this process may run on
};
const CpuInfo& cpu_info();

}  // namespace corten
