#include "train/bandwidth.h"

#include <emmintrin.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include "base/cpu.h"

namespace corten {

double measure_read_bandwidth(ThreadPool& pool, double seconds) {
  using Clock = std::chrono::steady_clock;
  constexpr int64_t kLanes = 32;  // independent sums, so that loads and not additions are the limit
  const auto cache = static_cast<int64_t>(cpu_info().l3_bytes);
  const int64_t count = std::clamp<int64_t>(2 * cache, int64_t{128} << 20, int64_t{512} << 20) / 8;
  std::vector<uint64_t> buffer(static_cast<size_t>(count));
  std::vector<uint64_t> sums(static_cast<size_t>(pool.num_threads()) * 8);
  const int64_t tasks = 4 * pool.num_threads();
  const auto fill = [&](int64_t task, int) {
    const int64_t first = count * task / tasks, last = count * (task + 1) / tasks;
    for (int64_t i = first; i < last; ++i)
      buffer[static_cast<size_t>(i)] = static_cast<uint64_t>(i);
  };
  pool.parallel_for(tasks, fill);  // pages are taken by the threads that read them
  const auto read = [&](int64_t task, int worker) {
    const int64_t first = count * task / tasks, last = count * (task + 1) / tasks;
    uint64_t lanes[kLanes] = {};
    const uint64_t* data = buffer.data();
    int64_t i = first;
    for (; i + kLanes <= last; i += kLanes)
      for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += data[i + lane];
    for (; i < last; ++i) lanes[0] += data[i];
    uint64_t sum = 0;
    for (uint64_t lane : lanes) sum += lane;
    sums[static_cast<size_t>(worker) * 8] += sum;
  };
  double best = 0;
  const Clock::time_point start = Clock::now();
  while (std::chrono::duration<double>(Clock::now() - start).count() < seconds) {
    const Clock::time_point begin = Clock::now();
    pool.parallel_for(tasks, read);
    const double elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
    best = std::max(best, static_cast<double>(count) * 8 / elapsed);
  }
  // Using the sums keeps the compiler from dropping the loads.
  uint64_t total = 0;
  for (uint64_t sum : sums) total += sum;
  return total == 0 ? 0 : best;
}

namespace {
/// Larger than the caches.
size_t copied_bytes() {
  return std::clamp<size_t>(2 * cpu_info().l3_bytes, size_t{64} << 20, size_t{256} << 20);
}
}  // namespace

CopyBandwidth::CopyBandwidth(ThreadPool& pool)
    : pool_(pool), from_(copied_bytes() + 64, 1), to_(copied_bytes() + 64, 2) {}

double CopyBandwidth::measure() {
  using Clock = std::chrono::steady_clock;
  const auto lines = [](std::vector<char>& v) {
    return reinterpret_cast<__m128i*>((reinterpret_cast<uintptr_t>(v.data()) + 63) / 64 * 64);
  };
  const __m128i* const from = lines(from_);
  __m128i* const to = lines(to_);
  const auto count = static_cast<int64_t>(copied_bytes() / 64), tasks = int64_t{4} * pool_.num_threads();
  const Clock::time_point begin = Clock::now();
  pool_.parallel_for(tasks, [&](int64_t task, int) {
    const int64_t last = count * (task + 1) / tasks;
    for (int64_t i = count * task / tasks; i < last; ++i) {
      const __m128i a = _mm_load_si128(from + 4 * i), b = _mm_load_si128(from + 4 * i + 1);
      const __m128i c = _mm_load_si128(from + 4 * i + 2), d = _mm_load_si128(from + 4 * i + 3);
      _mm_stream_si128(to + 4 * i, a);
      _mm_stream_si128(to + 4 * i + 1, b);
      _mm_stream_si128(to + 4 * i + 2, c);
      _mm_stream_si128(to + 4 * i + 3, d);
    }
    _mm_sfence();
  });
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  return 2.0 * static_cast<double>(copied_bytes()) / seconds;
}

}  // namespace corten
