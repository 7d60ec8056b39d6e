// Quantised products beside bf16 ones of the same shape, one run of each in turn.
//   cmake --build build/release --target quant_bench
//   quant_bench [--threads N] [--rounds N] M N K...
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "base/thread_pool.h"
#include "gemm/gemm.h"
#include "quant/pack_weights.h"
#include "quant/quantized_product.h"

using namespace corten;

namespace {

using Clock = std::chrono::steady_clock;
using Memory = std::unique_ptr<char, void (*)(void*)>;

Memory allocate(size_t bytes) {
  constexpr size_t kHuge = size_t{2} << 20;  // huge pages, as weights have them
  const size_t size = (bytes + kHuge) / kHuge * kHuge;
  Memory m(static_cast<char*>(std::aligned_alloc(kHuge, size)), std::free);
  madvise(m.get(), size, MADV_HUGEPAGE);
  std::fill_n(m.get(), bytes, 0);
  return m;
}
double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}
double seconds(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Weights enough that they come from memory when each is used in turn.
constexpr size_t kCold = size_t{160} << 20;

void bench(int64_t m, int64_t n, int64_t k, int rounds, ThreadPool& pool) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  const auto count = static_cast<size_t>(n * k);
  Memory x = allocate(static_cast<size_t>(m * k) * 2), y = allocate(static_cast<size_t>(m * n) * 2);
  for (int64_t i = 0; i < m * k; ++i)
    reinterpret_cast<uint16_t*>(x.get())[i] = to_bf16(normal(rng));
  std::vector<uint16_t> w(count);
  for (size_t i = 0; i < count; ++i) w[i] = to_bf16(0.02f * normal(rng));
  const int variants = 4;  // bf16, int8, int4 groups of 32 and of 128
  std::vector<Memory> weights, scales;
  std::vector<size_t> copies, bytes;
  std::vector<QuantizedShape> shapes = {{8, 0, n, k}, {8, 0, n, k}, {4, 32, n, k}, {4, 128, n, k}};
  for (int v = 0; v < variants; ++v) {
    const QuantizedShape& s = shapes[static_cast<size_t>(v)];
    const size_t size = v == 0 ? count * 2 : static_cast<size_t>(s.weight_bytes());
    bytes.push_back(size +
                    (v == 0 ? 0 : static_cast<size_t>(s.scale_count()) * size_of(s.scale_dtype())));
    copies.push_back(m > 14 ? 1 : kCold / size + 1);
    weights.push_back(allocate(size * copies.back()));
    scales.push_back(allocate(static_cast<size_t>(s.scale_count()) * 4));
    if (v == 0)
      std::memcpy(weights[0].get(), w.data(), size);
    else
      quantize_weights(s, {w.data(), DType::bf16, k, 1},
                       reinterpret_cast<uint8_t*>(weights.back().get()), scales.back().get(), pool);
    for (size_t c = 1; c < copies.back(); ++c)
      std::memcpy(weights.back().get() + c * size, weights.back().get(), size);
  }
  GemmArgs g;
  g.m = m, g.n = n, g.k = k;
  g.a = x.get(), g.a_row_stride = k, g.a_dtype = g.b_dtype = g.c_dtype = DType::bf16;
  g.b_row_stride = 1, g.b_col_stride = k, g.c = y.get(), g.c_row_stride = n;
  QuantizedArgs q;
  q.m = m, q.x = x.get(), q.x_dtype = q.y_dtype = DType::bf16, q.x_row_stride = k, q.y = y.get(),
  q.y_row_stride = n;
  size_t workspace_bytes = gemm_workspace_bytes(g, pool.num_threads());
  for (const QuantizedShape& s : shapes) {
    q.shape = s;
    workspace_bytes = std::max(workspace_bytes, quantized_workspace_bytes(q, pool.num_threads()));
  }
  Memory workspace = allocate(workspace_bytes);
  std::vector<std::vector<double>> times(variants);
  for (int r = -1; r < rounds; ++r)
    for (size_t v = 0; v < variants; ++v) {
      const size_t turns = m > 14 ? 1 : copies[v];
      const auto start = Clock::now();
      for (size_t c = 0; c < turns; ++c) {
        if (v == 0) {
          g.b = weights[0].get() + c * count * 2;
          gemm(g, workspace.get(), pool);
        } else {
          q.shape = shapes[v];
          q.weight = reinterpret_cast<uint8_t*>(weights[v].get()) +
                     c * static_cast<size_t>(shapes[v].weight_bytes());
          q.scale = scales[v].get();
          quantized_product(q, workspace.get(), pool);
        }
      }
      if (r >= 0) times[v].push_back(seconds(start) / static_cast<double>(turns));
    }
  const char* names[] = {"bf16", "int8", "int4/32", "int4/128"};
  const double base = median(times[0]);
  for (size_t v = 0; v < variants; ++v) {
    const double t = median(times[v]);
    fmt::print(
        "{:>5} x {:>6} x {:>6}  {:<9} {:9.3f} ms  {:8.1f} GFLOP/s  {:6.2f} GB/s of weights  "
        "{:5.2f}x bf16\n",
        m, n, k, names[v], t * 1e3, 2e-9 * static_cast<double>(m * n * k) / t,
        1e-9 * static_cast<double>(bytes[v]) / t, base / t);
  }
}

}  // namespace

int main(int argc, char** argv) {
  int threads = 0, rounds = 7;
  std::vector<int64_t> sizes;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--threads" && i + 1 < argc)
      threads = std::atoi(argv[++i]);
    else if (arg == "--rounds" && i + 1 < argc)
      rounds = std::atoi(argv[++i]);
    else
      sizes.push_back(std::atoll(argv[i]));
  }
  ThreadPool pool(threads);
  for (size_t i = 0; i + 2 < sizes.size(); i += 3)
    bench(sizes[i], sizes[i + 1], sizes[i + 2], rounds, pool);
}
