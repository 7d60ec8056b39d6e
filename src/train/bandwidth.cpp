#include "train/bandwidth.h"

#include <emmintrin.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/cpu.h"
#include "runtime/allocator.h"

namespace corten {

namespace {
int64_t read_bytes() {
  return std::clamp(2 * static_cast<int64_t>(cpu_info().l3_bytes), int64_t{128} << 20, int64_t{512} << 20);
}
}  // namespace

ReadBandwidth::ReadBandwidth(ThreadPool& pool) : pool_(pool), buffer_(runtime::allocate(read_bytes())) {
  std::memset(buffer_->data(), 1, static_cast<size_t>(read_bytes()));
}

double ReadBandwidth::measure() {
  using Clock = std::chrono::steady_clock;
  constexpr int64_t kLine = 64, kChunk = int64_t{256} << 10, kAhead = 4096;  // bytes
  const char* const data = static_cast<const char*>(buffer_->data());
  const int64_t chunks = read_bytes() / kChunk;
  std::atomic<int64_t> next{0};
  std::atomic<uint64_t> total{0};  // using the sums keeps the compiler from dropping the loads
  const Clock::time_point begin = Clock::now();
  // Chunks are taken in turn, so that all threads read until the end.
  pool_.parallel_for(pool_.num_threads(), [&](int64_t, int) {
    __m128i sum[4] = {};
    for (int64_t c; (c = next.fetch_add(1, std::memory_order_relaxed)) < chunks;) {
      const char* const first = data + c * kChunk;
      for (const char* p = first; p < first + kChunk; p += kLine) {
        _mm_prefetch(p + kAhead, _MM_HINT_T0);
        for (int i = 0; i < 4; ++i) sum[i] = _mm_xor_si128(sum[i], _mm_load_si128(reinterpret_cast<const __m128i*>(p) + i));
      }
    }
    const __m128i all = _mm_xor_si128(_mm_xor_si128(sum[0], sum[1]), _mm_xor_si128(sum[2], sum[3]));
    total += static_cast<uint64_t>(_mm_cvtsi128_si64(all)) + 1;
  });
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  return total == 0 ? 0 : static_cast<double>(chunks * kChunk) / seconds;
}

double measure_read_bandwidth(ThreadPool& pool, double seconds) {
  using Clock = std::chrono::steady_clock;
  ReadBandwidth read(pool);
  double best = 0;
  const Clock::time_point start = Clock::now();
  while (std::chrono::duration<double>(Clock::now() - start).count() < seconds) best = std::max(best, read.measure());
  return best;
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
