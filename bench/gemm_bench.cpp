// Rates of matrix products, side by side with the rate of their own inner loop.
//
//   gemm_bench [--dtype bf16|f32|f16] [--out f32|bf16|f16] [--isa NAME] [--threads N]
//              [--seconds S] [--clock wall|cpu] [--layout nn|nt|tn|tt]...
//              [--b f32: B lies there as f32 and is rounded to bf16 as it is read]
//              [--cold] [--shape M,K,N | --batch B,M,K,N]... [--gpt2 TOKENS] [--head ROWS]
//
// --gpt2 takes the products of a training step of GPT-2 (124M) on so many tokens: forward (nn), the
// gradients of inputs (nt) and of weights (tn). --head takes those of its logits on a piece of so many
// rows. Both as the step has them: --b is the dtype of weights, and gradients of weights (tn) are f32,
// which for --head go on from the sums of the piece before.
//
// --cold: no run finds its operands or its result in the caches. They rotate through more memory than
// the caches hold, as between the other steps of a training step.
//
// Every row is the best and the median of its runs within S seconds (default 2). Rows take turns, and a turn counts
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

void fill_random(void* p, size_t bytes, DType dtype) {
  const auto count = static_cast<int64_t>(bytes / size_of(dtype));
  uint32_t x = 12345;
  for (int64_t i = 0; i < count; ++i) {
    x = x * 1664525u + 1013904223u;
    const float v = static_cast<float>(x >> 8) / (1 << 23) - 1;
    if (dtype == DType::f32) static_cast<float*>(p)[i] = v;
    if (dtype == DType::f64) static_cast<double*>(p)[i] = v;
    if (dtype == DType::bf16) static_cast<uint16_t*>(p)[i] = to_bf16(v);
    if (dtype == DType::f16) static_cast<uint16_t*>(p)[i] = to_f16(v);
  }
}

// Memory of one dtype that rows share. Cold runs take the next part of it each time.
class Ring {
 public:
  void reserve(int64_t count, DType dtype) {
    bytes_ = std::max(bytes_, static_cast<size_t>(count) * size_of(dtype));
  }
  void fill(DType dtype, bool cold) {
    if (bytes_ == 0) return;
    if (cold) bytes_ = std::max(kRotation, 2 * bytes_);
    data_ = huge(bytes_);
    fill_random(data_, bytes_, dtype);
    cold_ = cold;
  }
  void* take(int64_t count, DType dtype) {
    if (!cold_) return data_;
    const size_t bytes = static_cast<size_t>(count) * size_of(dtype);
    if (at_ + bytes > bytes_) at_ = 0;
    void* const p = static_cast<char*>(data_) + at_;
    at_ += (bytes + 4095) & ~size_t{4095};
    return p;
  }

 private:
  static constexpr size_t kRotation = size_t{256} << 20;
  void* data_ = nullptr;
  size_t bytes_ = 0, at_ = 0;
  bool cold_ = false;
};

struct Row {
  int64_t batch = 1, m = 0, k = 0, n = 0;
  std::string layout;
  DType a, b, c;
  bool resume = false;
  GemmArgs args{};
  std::vector<double> times{};
};

void prepare(Row& r) {
  GemmArgs& g = r.args;
  g.m = r.m, g.n = r.n, g.k = r.k;
  g.a_dtype = r.a;
  g.b_dtype = r.b;
  g.b_as_bf16 = r.a == DType::bf16 && r.b == DType::f32;
  g.c_dtype = r.c;
  g.resume = r.resume;
  const bool ta = r.layout[0] == 't', tb = r.layout[1] == 't';
  g.a_row_stride = ta ? 1 : r.k, g.a_col_stride = ta ? r.m : 1;
  g.b_row_stride = tb ? 1 : r.n, g.b_col_stride = tb ? r.k : 1;
  g.c_row_stride = r.n;
  g.batch[2] = r.batch;
  g.a_batch_stride[2] = r.m * r.k, g.b_batch_stride[2] = r.k * r.n, g.c_batch_stride[2] = r.m * r.n;
}

// Operands and results, by dtype.
struct Memory {
  Ring in[kDTypeCount], out[kDTypeCount];
  Ring& of(DType dtype, bool result) { return (result ? out : in)[static_cast<size_t>(dtype)]; }
  void reserve(const Row& r) {
    of(r.a, false).reserve(r.batch * r.m * r.k, r.a);
    of(r.b, false).reserve(r.batch * r.k * r.n, r.b);
    of(r.c, true).reserve(r.batch * r.m * r.n, r.c);
  }
  void fill(bool cold) {
    for (int d = 0; d < kDTypeCount; ++d)
      for (Ring* ring : {&in[d], &out[d]}) ring->fill(static_cast<DType>(d), cold);
  }
  void place(Row& r) {
    r.args.a = of(r.a, false).take(r.batch * r.m * r.k, r.a);
    r.args.b = of(r.b, false).take(r.batch * r.k * r.n, r.b);
    r.args.c = of(r.c, true).take(r.batch * r.m * r.n, r.c);
  }
};

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
  bool cpu_clock = false, cold = false;
  std::vector<std::string> layouts;
  std::vector<std::vector<int64_t>> shapes;
  int64_t tokens = 0, head = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--cold") {
      cold = true;
      continue;
    }
    if (++i == argc) throw Error(ErrorKind::Usage, flag + " needs a value");
    const char* value = argv[i];
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
    if (flag == "--head") head = std::atoll(value);
    if (flag == "--shape") {
      shapes.push_back(numbers(value));
      shapes.back().insert(shapes.back().begin(), 1);
    }
  }
  if (layouts.empty()) layouts = {"nn", "nt", "tn"};
  if (shapes.empty() && tokens == 0 && head == 0)
    shapes = {{1, 1024, 768, 2304},  {1, 1024, 768, 768},   {1, 1024, 768, 3072},
              {1, 1024, 3072, 768},  {1, 4096, 768, 3072},  {1, 1024, 768, 50257},
              {48, 256, 64, 256},    {48, 256, 256, 64},    {12, 1024, 64, 1024},
              {12, 1024, 1024, 64},  {1, 1, 768, 3072},     {1, 1, 4096, 4096},
              {1, 1, 768, 50257}};
  ThreadPool pool(threads);
  std::vector<Row> rows;
  for (const auto& s : shapes)
    for (const std::string& layout : layouts) {
      if (s.size() != 4 || layout.size() != 2)
        throw Error(ErrorKind::Usage, "use --shape M,K,N or --batch B,M,K,N, and --layout nn, nt, tn or tt");
      rows.push_back({s[0], s[1], s[2], s[3], layout, in, b.value_or(in), out});
    }
  // Width of inputs and outputs of c_attn, c_proj, c_fc and mlp.c_proj.
  constexpr int64_t kGpt2[][2] = {{768, 2304}, {768, 768}, {768, 3072}, {3072, 768}};
  const auto add_step = [&](int64_t count, int64_t from, int64_t to, bool is_head) {
    // The head's weight is that of the embedding, [to, from].
    rows.push_back({1, count, from, to, is_head ? "nt" : "nn", in, b.value_or(in), out});
    rows.push_back({1, count, to, from, is_head ? "nn" : "nt", in, b.value_or(in), out});
    if (is_head)
      rows.push_back({1, to, count, from, "tn", in, in, DType::f32, true});
    else
      rows.push_back({1, from, count, to, "tn", in, in, DType::f32});
  };
  if (tokens > 0)
    for (const auto& w : kGpt2) add_step(tokens, w[0], w[1], false);
  if (head > 0) add_step(head, 768, 50257, true);
  Memory memory;
  size_t workspace_bytes = 0;
  for (Row& r : rows) {
    prepare(r);
    memory.reserve(r);
    workspace_bytes = std::max(workspace_bytes, gemm_workspace_bytes(r.args, threads, isa));
  }
  memory.fill(cold);
  void* const workspace = huge(workspace_bytes);
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
        memory.place(r);
        const double t = cpu_clock ? cpu_seconds() / threads : now();
        gemm(r.args, workspace, pool, isa);
        r.times.push_back((cpu_clock ? cpu_seconds() / threads : now()) - t);
      } while (now() - start < 0.02);
      spent += now() - start;
    }
  }
  std::printf("%s, %d threads, %s, inner loop of %s: %.0f GFLOP/s\n", std::string(name(isa)).c_str(), threads,
              cold ? "cold" : "warm", std::string(name(in)).c_str(), peak / 1e9);
  std::printf("%5s %6s %6s %6s  layout %-14s %10s %8s %6s %8s %10s %6s\n", "batch", "m", "k", "n", "dtypes", "us", "GFLOP/s",
              "%peak", "GB/s", "median us", "%peak");
  for (Row& r : rows) {
    if (r.times.empty()) continue;
    const auto size = [](DType d) { return static_cast<double>(size_of(d)); };
    const double flops = 2.0 * static_cast<double>(r.batch * r.m * r.k) * static_cast<double>(r.n);
    const double bytes = static_cast<double>(r.batch * r.m * r.k) * size(r.a) +
                         static_cast<double>(r.batch * r.k * r.n) * size(r.b) +
                         static_cast<double>(r.batch * r.m * r.n) * size(r.c) * (r.resume ? 2 : 1);
    std::sort(r.times.begin(), r.times.end());
    const double best = r.times.front(), median = r.times[r.times.size() / 2];
    const std::string dtypes = std::string(name(r.a)) + "," + std::string(name(r.b)) + "," + std::string(name(r.c));
    std::printf("%5ld %6ld %6ld %6ld  %6s %-14s %10.1f %8.1f %6.1f %8.1f %10.1f %6.1f\n", long(r.batch), long(r.m),
                long(r.k), long(r.n), r.layout.c_str(), dtypes.c_str(), best * 1e6, flops / best / 1e9,
                100 * flops / best / peak, bytes / best / 1e9, median * 1e6, 100 * flops / median / peak);
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
