#include "gemm/peak.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <vector>

#include "base/format.h"
#include "base/half.h"
#include "base/thread_pool.h"
#include "gemm/block.h"

namespace corten {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct alignas(4096) Memory {
  unsigned char bytes[gemm_detail::kPeakBytes];
};

// Zeros let the clock rise; values of real operands do not.
template <typename T, typename Convert>
void fill(Memory& memory, Convert convert) {
  std::mt19937 rng(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  T* p = reinterpret_cast<T*>(memory.bytes);
  for (size_t i = 0; i < sizeof(memory.bytes) / sizeof(T); ++i) p[i] = convert(uniform(rng));
}

}  // namespace

double measure_peak_flops(DType dtype, int threads, double seconds, std::optional<Isa> isa) {
  if (!is_floating(dtype)) usage_error("[peak] no arithmetic rate for {}", name(dtype));
  if (threads < 1) usage_error("[peak] needs at least one thread, got {}", threads);
  GemmArgs args;
  args.a_dtype = args.b_dtype = dtype;
  args.c_dtype = dtype == DType::f64 ? DType::f64 : DType::f32;
  const gemm_detail::Family& family = gemm_detail::family_of(args, isa ? *isa : cpu_isa());
  // The float32 families convert 16-bit operands when they pack them.
  const bool bf16 =
      &family == &gemm_detail::kBf16Amx || &family == &gemm_detail::kBf16Avx512;

  ThreadPool pool(threads);
  const auto memories = std::make_unique<Memory[]>(static_cast<size_t>(threads));
  std::vector<double> done(static_cast<size_t>(threads));
  pool.parallel_for(threads, [&](int64_t i, int) {
    Memory& m = memories[static_cast<size_t>(i)];
    if (dtype == DType::f64)
      fill<double>(m, [](float x) { return double{x}; });
    else if (bf16)
      fill<uint16_t>(m, [](float x) { return to_bf16(x); });
    else
      fill<float>(m, [](float x) { return x; });
  });

  constexpr double kBurst = 1e-3;  // seconds: long against starting threads, short against neighbours
  int64_t repeats = 16;
  double best = 0;
  const Clock::time_point begin = Clock::now();
  do {
    const Clock::time_point start = Clock::now();
    pool.parallel_for(threads, [&](int64_t i, int) {
      const size_t at = static_cast<size_t>(i);
      done[at] = family.peak(memories[at].bytes, repeats);
    });
    const double took = seconds_since(start);
    double sum = 0;
    for (double d : done) sum += d;
    best = std::max(best, sum / took);
    if (took < kBurst / 2) repeats *= 2;
  } while (seconds_since(begin) < seconds);
  return best;
}

}  // namespace corten
