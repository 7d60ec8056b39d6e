// Rates of attention, forward and backward, on the processor's clock of this process: other processes do not count.
//
//   attention_bench [--dtype bf16|f32|f16] [--isa avx2|avx512|avx512bf16] [--threads N] [--seconds S] [--full]
//                   [--dropout P] [--only forward|backward] [--shape B,H,T,S,D]...
//
// Causal unless --full. Operands lie as in a projection of [B, T, 3 H D]. GFLOP/s count two products of the visible half
// forward and four backward.
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "attention/attention.h"
#include "base/half.h"
#include "corten/error.h"
#include "gemm/peak.h"

namespace {

using namespace corten;

double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}
double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Huge pages, as the runtime's segments have them.
struct Memory {
  static constexpr size_t kHuge = 2 << 20;
  void* memory;
  explicit Memory(size_t size) {
    const size_t bytes = (size + kHuge - 1) / kHuge * kHuge;
    memory = std::aligned_alloc(kHuge, bytes);
    if (memory) madvise(memory, bytes, MADV_HUGEPAGE);
  }
  ~Memory() { std::free(memory); }
  Memory(const Memory&) = delete;
  void* data() { return memory; }
};

void fill(void* p, int64_t count, DType dtype) {
  uint32_t x = 12345;
  for (int64_t i = 0; i < count; ++i) {
    x = x * 1664525u + 1013904223u;
    const float v = static_cast<float>(x >> 8) / (1 << 23) - 1;
    if (dtype == DType::f32) static_cast<float*>(p)[i] = v;
    if (dtype == DType::bf16) static_cast<uint16_t*>(p)[i] = to_bf16(v);
    if (dtype == DType::f16) static_cast<uint16_t*>(p)[i] = to_f16(v);
  }
}

struct Options {
  DType dtype = DType::bf16;
  Isa isa = cpu_isa();
  int threads = 1;
  double seconds = 2;
  bool causal = true;
  float p = 0;
  std::string only;
};

void measure(const Options& o, int64_t B, int64_t H, int64_t T, int64_t S, int64_t D) {
  const int64_t C = H * D;
  const size_t size = size_of(o.dtype);
  Memory q(B * T * 3 * C * size), kv(B * S * 3 * C * size), g(B * T * C * size), out(B * T * C * size),
      dq(B * T * C * size), dk(B * S * C * size), dv(B * S * C * size), lse(B * H * T * 4);
  fill(q.data(), B * T * 3 * C, o.dtype);
  fill(kv.data(), B * S * 3 * C, o.dtype);
  fill(g.data(), B * T * C, o.dtype);
  const auto tensor = [&](Memory& m, int64_t rows, int64_t width, int64_t offset) {
    return AttentionTensor{static_cast<char*>(m.data()) + offset * static_cast<int64_t>(size), {0, rows * width, D}, width};
  };
  AttentionArgs a;
  a.dtype = o.dtype;
  a.batch[1] = B, a.batch[2] = H;
  a.queries = T, a.keys = S, a.head_size = D;
  a.scale = 0.125f;
  a.causal = o.causal;
  a.p = o.p;
  a.q = tensor(q, T, 3 * C, 0), a.k = tensor(kv, S, 3 * C, C), a.v = tensor(kv, S, 3 * C, 2 * C);
  a.out = tensor(out, T, C, 0), a.g = tensor(g, T, C, 0);
  a.dq = tensor(dq, T, C, 0), a.dk = tensor(dk, S, C, 0), a.dv = tensor(dv, S, C, 0);
  a.lse = static_cast<float*>(lse.data());
  ThreadPool pool(o.threads);
  Memory workspace(std::max(attention_workspace_bytes(a, o.threads, o.isa), attention_gradient_workspace_bytes(a, o.threads, o.isa)));
  const double peak = measure_peak_flops(o.dtype, 1, 0.5) * o.threads;
  const double unit = 4 * static_cast<double>(B * H * D) * attention_pairs(T, S, o.causal);
  for (bool gradient : {false, true}) {
    if (o.only == (gradient ? "forward" : "backward")) continue;
    std::vector<double> cpu, wall;
    const double start = wall_seconds();
    while (cpu.size() < 3 || wall_seconds() - start < o.seconds) {
      const double c = cpu_seconds(), w = wall_seconds();
      gradient ? attention_gradient(a, workspace.data(), pool, o.isa) : attention(a, workspace.data(), pool, o.isa);
      cpu.push_back(cpu_seconds() - c);
      wall.push_back(wall_seconds() - w);
    }
    std::sort(cpu.begin(), cpu.end());
    std::sort(wall.begin(), wall.end());
    const double flops = gradient ? 2 * unit : unit, c = cpu[0];  // other processes take caches
    std::printf("%-8s %s %ldx%ldx%ldx%ldx%d %s: cpu %.2f ms (best), wall %.2f ms (median), %.1f GFLOP/s per thread, %.0f %% of the product's rate\n",
                gradient ? "backward" : "forward", std::string(name(o.isa)).c_str(), B, H, T, S, static_cast<int>(D),
                std::string(name(o.dtype)).c_str(), 1e3 * c, 1e3 * wall[wall.size() / 2], 1e-9 * flops / c,
                100 * flops / c * o.threads / peak);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Options o;
    std::vector<std::vector<int64_t>> shapes;
    for (int i = 1; i < argc; ++i) {
      const std::string option = argv[i];
      const auto value = [&] { return ++i < argc ? std::string(argv[i]) : std::string(); };
      if (option == "--dtype") {
        const std::string text = value();
        o.dtype = text == "f32" ? DType::f32 : text == "f16" ? DType::f16 : DType::bf16;
      } else if (option == "--isa") {
        o.isa = choose_isa(value(), cpu_features());
      } else if (option == "--threads") {
        o.threads = std::atoi(value().c_str());
      } else if (option == "--seconds") {
        o.seconds = std::atof(value().c_str());
      } else if (option == "--full") {
        o.causal = false;
      } else if (option == "--dropout") {
        o.p = static_cast<float>(std::atof(value().c_str()));
      } else if (option == "--only") {
        o.only = value();
      } else if (option == "--shape") {
        std::vector<int64_t> shape;
        std::string text = value();
        for (char* p = text.data(); *p; p += *p == ',') shape.push_back(std::strtol(p, &p, 10));
        if (shape.size() == 5) shapes.push_back(shape);
      } else {
        std::fprintf(stderr, "unknown option %s\n", option.c_str());
        return 2;
      }
    }
    if (shapes.empty()) shapes.push_back({1, 12, 1024, 1024, 64});
    for (const auto& s : shapes) measure(o, s[0], s[1], s[2], s[3], s[4]);
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
