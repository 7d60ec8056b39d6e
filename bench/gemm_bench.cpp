// Rates of matrix products, side by side with the rate of their own inner loop.
//
//   gemm_bench [--dtype bf16|f32|f16] [--out f32|bf16|f16] [--isa NAME] [--threads N]
//              [--seconds S] [--clock wall|cpu] [--layout nn|nt|tn|tt]...
//              [--b f32: B lies there as f32 and is rounded to bf16 as it is read]
//              [--shape M,K,N | --batch B,M,K,N]... [--gpt2 TOKENS]
//
// --gpt2 takes the products of a training step of GPT-2 (124M) on so many tokens: forward (nn), the
// gradients of inputs (nt) and of weights (tn).
//
// Every row is the best of its runs within S seconds (default 2). Rows take turns, and a turn counts
// only if the inner loop ran at its full rate just before: shared machines slow down for seconds on
// end. After 20 times the asked time the bench gives up waiting. `--clock cpu` counts the processor time
// of the process per thread instead, for machines whose cores other programs share.
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/half.h"
#include "base/thread_pool.h"
#include "corten/error.h"
#include "gemm/gemm.h"
#include "gemm/peak.h"

namespace {

using namespace corten;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

void* huge(size_t bytes) {
  bytes = (bytes + (2 << 20)) & ~size_t{(2 << 20) - 1};
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw Error(ErrorKind::Resource, "out of memory");
  madvise(p, bytes, MADV_HUGEPAGE);
  std::memset(p, 0, bytes);
  return p;
}

void* random_values(int64_t count, DType dtype) {
  void* p = huge(static_cast<size_t>(count) * size_of(dtype));
  uint32_t x = 12345;
  for (int64_t i = 0; i < count; ++i) {
    x = x * 1664525u + 1013904223u;
    const float v = static_cast<float>(x >> 8) / (1 << 23) - 1;
    if (dtype == DType::f32) static_cast<float*>(p)[i] = v;
    if (dtype == DType::f64) static_cast<double*>(p)[i] = v;
    if (dtype == DType::bf16) static_cast<uint16_t*>(p)[i] = to_bf16(v);
    if (dtype == DType::f16) static_cast<uint16_t*>(p)[i] = to_f16(v);
  }
  return p;
}

struct Row {
  int64_t batch, m, k, n;
  std::string layout;
  GemmArgs args;
  void* workspace = nullptr;
  double best = 1e30;
};

void prepare(Row& r, DType in, DType b, DType out, int threads, Isa isa) {
  GemmArgs& g = r.args;
  g.m = r.m, g.n = r.n, g.k = r.k;
  g.a_dtype = in;
  g.b_dtype = b;
  g.b_as_bf16 = in == DType::bf16 && b == DType::f32;
  g.c_dtype = out;
  const bool ta = r.layout[0] == 't', tb = r.layout[1] == 't';
  g.a_row_stride = ta ? 1 : r.k, g.a_col_stride = ta ? r.m : 1;
  g.b_row_stride = tb ? 1 : r.n, g.b_col_stride = tb ? r.k : 1;
  g.c_row_stride = r.n;
  g.batch[2] = r.batch;
  g.a_batch_stride[2] = r.m * r.k, g.b_batch_stride[2] = r.k * r.n, g.c_batch_stride[2] = r.m * r.n;
  g.a = random_values(r.batch * r.m * r.k, in);
  g.b = random_values(r.batch * r.k * r.n, b);
  g.c = huge(static_cast<size_t>(r.batch * r.m * r.n) * size_of(out));
  r.workspace = huge(gemm_workspace_bytes(g, threads, isa));
}

std::vector<int64_t> numbers(const char* text) {
  std::vector<int64_t> list;
  for (char* end; *text; text = *end ? end + 1 : end) list.push_back(std::strtoll(text, &end, 10));
  return list;
}

int run(int argc, char** argv) {
  DType in = DType::bf16, out = DType::f32;
  std::optional<DType> b;
  Isa isa = cpu_isa();
  int threads = 1;
  double seconds = 2;
  bool cpu_clock = false;
  std::vector<std::string> layouts;
  std::vector<std::vector<int64_t>> shapes;
  int64_t tokens = 0;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const char* value = argv[i + 1];
    if (flag == "--dtype") in = dtype_from_name(value);
    if (flag == "--b") b = dtype_from_name(value);
    if (flag == "--out") out = dtype_from_name(value);
    if (flag == "--isa") isa = choose_isa(value, cpu_features());
    if (flag == "--threads") threads = std::atoi(value);
    if (flag == "--seconds") seconds = std::atof(value);
    if (flag == "--clock") cpu_clock = std::string(value) == "cpu";
    if (flag == "--layout") layouts.push_back(value);
    if (flag == "--batch") shapes.push_back(numbers(value));
    if (flag == "--gpt2") tokens = std::atoll(value);
    if (flag == "--shape") {
      shapes.push_back(numbers(value));
      shapes.back().insert(shapes.back().begin(), 1);
    }
  }
  if (layouts.empty()) layouts = {"nn", "nt", "tn"};
  if (shapes.empty() && tokens == 0)
    shapes = {{1, 1024, 768, 2304},  {1, 1024, 768, 768},   {1, 1024, 768, 3072},
              {1, 1024, 3072, 768},  {1, 4096, 768, 3072},  {1, 1024, 768, 50257},
              {48, 256, 64, 256},    {48, 256, 256, 64},    {12, 1024, 64, 1024},
              {12, 1024, 1024, 64},  {1, 1, 768, 3072},     {1, 1, 4096, 4096},
              {1, 1, 768, 50257}};
  ThreadPool pool(threads);
  std::vector<Row> rows;
  const auto add = [&](int64_t batch, int64_t m, int64_t k, int64_t n, const std::string& layout) {
    Row r;
    r.batch = batch, r.m = m, r.k = k, r.n = n;
    r.layout = layout;
    prepare(r, in, b.value_or(in), out, threads, isa);
    rows.push_back(r);
  };
  for (const auto& s : shapes)
    for (const std::string& layout : layouts) {
      if (s.size() != 4 || layout.size() != 2)
        throw Error(ErrorKind::Usage, "use --shape M,K,N or --batch B,M,K,N, and --layout nn, nt, tn or tt");
      add(s[0], s[1], s[2], s[3], layout);
    }
  // Width of inputs and outputs of c_attn, c_proj, c_fc, mlp.c_proj and lm_head.
  constexpr int64_t kGpt2[][2] = {{768, 2304}, {768, 768}, {768, 3072}, {3072, 768}, {768, 50257}};
  for (const auto& w : kGpt2) {
    if (tokens == 0) break;
    add(1, tokens, w[0], w[1], "nn");
    add(1, tokens, w[1], w[0], "nt");
    add(1, w[0], tokens, w[1], "tn");
  }
  double peak = measure_peak_flops(in, threads, 0.3, isa), spent = 0;
  const double wanted = seconds * static_cast<double>(rows.size()), give_up = now() + 20 * wanted;
  while (spent < wanted && now() < give_up) {
    for (Row& r : rows) {
      double rate = 0;
      while ((rate = measure_peak_flops(in, threads, 0.005, isa)) < 0.93 * peak && now() < give_up)
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      peak = std::max(peak, rate);
      const double start = now();
      do {
        const double t = cpu_clock ? cpu_seconds() / threads : now();
        gemm(r.args, r.workspace, pool, isa);
        r.best = std::min(r.best, (cpu_clock ? cpu_seconds() / threads : now()) - t);
      } while (now() - start < 0.02);
      spent += now() - start;
    }
  }
  std::printf("%s -> %s, %s, %d threads, inner loop %.0f GFLOP/s\n", std::string(name(in)).c_str(),
              std::string(name(out)).c_str(), std::string(name(isa)).c_str(), threads, peak / 1e9);
  std::printf("%5s %6s %6s %6s  layout %10s %8s %6s %8s\n", "batch", "m", "k", "n", "us", "GFLOP/s",
              "%peak", "GB/s");
  for (const Row& r : rows) {
    const double flops = 2.0 * static_cast<double>(r.batch * r.m * r.k) * static_cast<double>(r.n);
    const double bytes = static_cast<double>(r.batch * (r.m * r.k + r.k * r.n)) * static_cast<double>(size_of(in)) +
                         static_cast<double>(r.batch * r.m * r.n) * static_cast<double>(size_of(out));
    std::printf("%5ld %6ld %6ld %6ld  %6s %10.1f %8.1f %6.1f %8.1f\n", long(r.batch), long(r.m), long(r.k),
                long(r.n), r.layout.c_str(), r.best * 1e6, flops / r.best / 1e9,
                100 * flops / r.best / peak, bytes / r.best / 1e9);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return e.kind() == ErrorKind::Usage ? 2 : 1;
  }
}
