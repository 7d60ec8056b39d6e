#include "base/cpu.h"

#include <cpuid.h>
#include <sched.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/cpuid.h"
#include "base/format.h"

namespace corten {
namespace {

bool has(const CpuFeatures& f, Isa isa) {
  const bool avx2 = f.avx2 && f.fma && f.f16c;
  const bool avx512 = avx2 && f.avx512f && f.avx512bw && f.avx512dq && f.avx512vl;
  if (isa == Isa::avx2) return avx2;
  if (isa == Isa::avx512) return avx512;
  const bool avx512bf16 = avx512 && f.avx512_bf16;
  if (isa == Isa::avx512bf16) return avx512bf16;
  return avx512bf16 && f.amx_tile && f.amx_bf16;
}

std::string brand() {
  uint32_t words[12] = {};
  if (__get_cpuid_max(0x80000000u, nullptr) < 0x80000004u) return "unknown";
  for (uint32_t i = 0; i < 3; ++i) {
    uint32_t* w = words + 4 * i;
    __get_cpuid(0x80000002u + i, w, w + 1, w + 2, w + 3);
  }
  char text[sizeof(words) + 1] = {};
  std::memcpy(text, words, sizeof(words));
  std::string s = text;
  const size_t first = s.find_first_not_of(' ');
  if (first == std::string::npos) return "unknown";
  return s.substr(first, s.find_last_not_of(' ') - first + 1);
}

size_t cache_bytes(int sysconf_name, size_t fallback) {
  const long bytes = sysconf(sysconf_name);
  return bytes > 0 ? static_cast<size_t>(bytes) : fallback;
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
  const unsigned n = std::thread::hardware_concurrency();
  return n > 0 ? static_cast<int>(n) : 1;
}

}  // namespace

std::string_view name(Isa isa) noexcept {
  switch (isa) {
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::avx512bf16: return "avx512bf16";
    case Isa::amx: return "amx";
  }
  return "?";
}

const CpuFeatures& cpu_features() noexcept {
  static const CpuFeatures features = read_cpuid();
  return features;
}

Isa best_isa(const CpuFeatures& features) {
  for (Isa isa : {Isa::amx, Isa::avx512bf16, Isa::avx512, Isa::avx2})
    if (has(features, isa)) return isa;
  resource_error(
      "this processor is too old: Corten needs AVX2, FMA and F16C (found: AVX2 {}, FMA {}, F16C {})",
      features.avx2 ? "yes" : "no", features.fma ? "yes" : "no", features.f16c ? "yes" : "no");
}

Isa choose_isa(std::string_view request, const CpuFeatures& features) {
  const Isa best = best_isa(features);
  if (request.empty()) return best;
  for (Isa isa : kIsas) {
    if (request != name(isa)) continue;
    if (!has(features, isa))
      usage_error("CORTEN_ISA={}: this machine lacks it; the best it has is {}", request,
                  name(best));
    return isa;
  }
  usage_error("CORTEN_ISA={}: unknown instruction set; use avx2, avx512, avx512bf16 or amx", request);
}

Isa cpu_isa() {
  static const Isa isa = [] {
    const char* request = std::getenv("CORTEN_ISA");
    return choose_isa(request ? request : "", cpu_features());
  }();
  return isa;
}

const CpuInfo& cpu_info() {
  static const CpuInfo info = [] {
    CpuInfo i;
    i.model = brand();
    i.l1d_bytes = cache_bytes(_SC_LEVEL1_DCACHE_SIZE, i.l1d_bytes);
    i.l2_bytes = cache_bytes(_SC_LEVEL2_CACHE_SIZE, i.l2_bytes);
    i.l3_bytes = cache_bytes(_SC_LEVEL3_CACHE_SIZE, i.l3_bytes);
    i.cores = usable_cores();
    return i;
  }();
  return info;
}

}  // namespace corten
