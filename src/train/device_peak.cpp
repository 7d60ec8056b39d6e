#include "train/device_peak.h"

#include <algorithm>
#include <cctype>

namespace corten {
namespace {

/// Without sparsity, at the boost clock, in TFLOP/s; 0 where the data sheet gives none.
struct Gpu {
  std::string_view name;  ///< as a part of what the driver reports; the longer of two comes first
  double half, single, float8;
  double memory, bandwidth;  ///< GB, GB/s
};
constexpr Gpu kGpus[] = {
    // "NVIDIA B200 Tensor Core GPU" data sheet (HGX B200: 36 PFLOP/s sparse bf16 for eight).
    {"B200", 2250, 75, 4500, 180, 8000},
    // "NVIDIA H200 Tensor Core GPU" and "NVIDIA H100 Tensor Core GPU" data sheets.
    {"H200", 989.4, 66.9, 1979, 141, 4800},
    {"H100 PCIe", 756.5, 51.2, 1513, 80, 2000},
    {"H100 NVL", 835.5, 60, 1670.5, 94, 3900},
    {"H100", 989.4, 66.9, 1979, 80, 3350},
    // "NVIDIA A100 Tensor Core GPU Architecture" white paper, table 4; memory: the 80 GB SXM board.
    {"A100", 312, 19.5, 0, 80, 2039},
    // "NVIDIA Ada GPU Architecture" white paper; "NVIDIA L40S" and "NVIDIA L4" data sheets.
    {"L40S", 362, 91.6, 733, 48, 864},
    {"L4", 121, 30.3, 242.5, 24, 300},
    // "NVIDIA Blackwell/Ada GPU Architecture" white papers, consumer boards, fp32 accumulation.
    {"RTX 5090", 209.5, 104.8, 419, 32, 1792},
    {"RTX 4090", 165.2, 82.6, 330.3, 24, 1008},
    // "NVIDIA Ampere GA102 GPU Architecture" white paper, appendix A.
    {"RTX 3090", 71, 35.6, 0, 24, 936},
};

/// FLOP per cycle and core, and the highest clock in GHz: no run can exceed their product.
struct Cpu {
  std::string_view name;
  double half, single, clock;
};
constexpr Cpu kCpus[] = {
    // "Software Optimization Guide for the AMD Zen3 / Zen4 Microarchitecture": two 256-bit FMA
    // pipes; Zen 4 adds VDPBF16PS at twice the rate. Clocks: amd.com product pages.
    {"AMD EPYC 7763", 32, 32, 3.5},
    {"AMD EPYC 9654", 64, 32, 3.7},
    // "Intel 64 and IA-32 Architectures Optimization Reference Manual", chapter 20: TDPBF16PS takes
    // 16 cycles for 16 x 16 x 32 products; two 512-bit FMA ports. Clock: ark.intel.com.
    {"Intel(R) Xeon(R) Platinum 8480", 2 * 16 * 16 * 32 / 16.0, 64, 3.8},
};

bool equal_names(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

}  // namespace

std::optional<DeviceFigures> device_figures(std::string_view name) {
  for (const Gpu& gpu : kGpus)
    if (equal_names(gpu.name, name)) return DeviceFigures{gpu.name, 1e9 * gpu.memory, 1e9 * gpu.bandwidth};
  return std::nullopt;
}

std::vector<std::string> device_names() {
  std::vector<std::string> names;
  for (const Gpu& gpu : kGpus) names.emplace_back(gpu.name);
  return names;
}

std::optional<double> theoretical_peak_flops(std::string_view device, DType dtype, int cores) {
  const bool half = dtype == DType::bf16 || dtype == DType::f16;
  if (!half && !is_float8(dtype) && dtype != DType::f32) return std::nullopt;
  for (const Gpu& gpu : kGpus)
    if (device.find(gpu.name) != std::string_view::npos) {
      const double peak = half ? gpu.half : is_float8(dtype) ? gpu.float8 : gpu.single;
      return peak > 0 ? std::optional(1e12 * peak) : std::nullopt;
    }
  if (is_float8(dtype)) return std::nullopt;
  for (const Cpu& cpu : kCpus)
    if (device.find(cpu.name) != std::string_view::npos)
      return 1e9 * cpu.clock * (half ? cpu.half : cpu.single) * cores;
  return std::nullopt;
}

}  // namespace corten
