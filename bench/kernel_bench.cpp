// Speed of compiled kernels on one core, and what compiling them costs.
//
//   kernel_bench [filter]
//
// Two sizes: 64 x 768 stays in the L2 cache, 16384 x 1024 does not fit any (67 MB in f32).
// CORTEN_ISA chooses the instruction set, CORTEN_CACHE_DIR the object cache (cold figures need an
// empty one: a temporary folder by default).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include <sys/mman.h>

#include "base/file.h"
#include "codegen/compile.h"
#include "ir/scalar.h"

namespace {

using namespace corten;
using namespace corten::ir;

// Processor time of this thread: other programs on the machine take none of it.
double now() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}
double seconds_since(double start) {
  return now() - start;
}

struct Case {
  std::string name;
  Kernel kernel;
};

Expr rounded(DType dtype, Expr x) {
  return round_to(dtype, x);
}

Case pointwise(const std::string& name, DType dtype, const std::function<Expr(Body&, Expr)>& f) {
  Case c;
  c.name = name + " " + std::string(corten::name(dtype));
  c.kernel.outer_rank = 1;
  c.kernel.operands = {{dtype, false}, {dtype, true}};
  c.kernel.accesses = {{0, InnerStride::one}, {1, InnerStride::one}};
  const Expr x = c.kernel.body.load(DType::f32, 0);
  c.kernel.stores = {{1, rounded(dtype, f(c.kernel.body, x)).id}};
  return c;
}

Expr gelu_tanh(Body&, Expr x) {
  const Expr u = x * (x * x * 0.07135481627159 + 1.5957691216057308);
  return x * (1.0 / (exp(-u) + 1.0));
}
Expr gelu_erf(Body&, Expr x) {
  return x * 0.5 * (erf(x * 0.7071067811865476) + 1.0);
}
Expr silu(Body&, Expr x) {
  return x * (1.0 / (exp(-x) + 1.0));
}
Expr softmax(Body& b, Expr x) {
  const Expr e = exp(x - b.reduce(ScalarOp::reduce_max, x, kRowTree));
  return e * (1.0 / b.reduce(ScalarOp::reduce_sum, e, kRowTree));
}
Expr layer_norm(Body& b, Expr x) {
  const Expr mean = b.reduce(ScalarOp::reduce_sum, x, kRowTree) * (1.0 / 1024);
  const Expr centred = x - mean;
  const Expr variance = b.reduce(ScalarOp::reduce_sum, centred * centred, kRowTree) * (1.0 / 1024);
  return centred * rsqrt(variance + 1e-5);
}
Expr rms_norm(Body& b, Expr x) {
  return x * rsqrt(b.reduce(ScalarOp::reduce_sum, x * x, kRowTree) * (1.0 / 1024) + 1e-5);
}

Case softmax_grad(DType dtype) {  // reads the same tensor twice, as y and as g
  Case c;
  c.name = "softmax_grad " + std::string(corten::name(dtype));
  c.kernel.outer_rank = 1;
  c.kernel.operands = {{dtype, false}, {dtype, true}, {dtype, false}};
  c.kernel.accesses = {{0, InnerStride::one}, {1, InnerStride::one}, {2, InnerStride::one}};
  Body& b = c.kernel.body;
  const Expr y = b.load(DType::f32, 0), g = b.load(DType::f32, 2);
  c.kernel.stores = {
      {1, rounded(dtype, y * (g - b.reduce(ScalarOp::reduce_sum, g * y, kRowTree))).id}};
  return c;
}

Case column_sum(DType dtype) {
  Case c = pointwise("column sum", dtype, [](Body&, Expr x) { return x; });
  c.kernel.form = KernelForm::columns;
  c.kernel.operands[1].dtype = DType::f32;
  c.kernel.stores[0].node =
      c.kernel.body.reduce(ScalarOp::reduce_sum, {&c.kernel.body, 0}, kColumnTree).id;
  return c;
}

void* allocate(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  madvise(p, bytes, MADV_HUGEPAGE);
  return p;
}

double measure(const codegen::CpuKernel& kernel, const Kernel& k, int64_t rows, int64_t n,
               void** pointers, void* scratch) {
  Launch launch;
  launch.outer[0] = rows;
  launch.inner = n;
  launch.accesses.resize(k.accesses.size());
  for (auto& a : launch.accesses) a.strides[0] = n;
  const bool columns = k.form == KernelForm::columns;
  if (columns) launch.accesses[1].strides[0] = 0;
  KernelFault fault;
  const auto once = [&] {
    kernel.run(launch, pointers, 0, columns ? 1 : rows, 0, n, scratch, &fault);
  };
  once();
  const int repeat = static_cast<int>(std::max<int64_t>(1, 250'000 / (rows * n)));
  double best = 1e30;
  for (int trial = 0; trial < (repeat > 1 ? 500 : 12); ++trial) {
    const auto start = now();
    for (int i = 0; i < repeat; ++i) once();
    best = std::min(best, seconds_since(start) / repeat);
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string filter = argc > 1 ? argv[1] : "";
  std::vector<Case> cases;
  for (DType t : {DType::f32, DType::bf16}) {
    cases.push_back(pointwise("copy", t, [](Body&, Expr x) { return x * 2.0; }));
    cases.push_back(pointwise("gelu_tanh", t, gelu_tanh));
    cases.push_back(pointwise("gelu_erf", t, gelu_erf));
    cases.push_back(pointwise("silu", t, silu));
    cases.push_back(pointwise("softmax", t, softmax));
    cases.push_back(pointwise("layer_norm", t, layer_norm));
    cases.push_back(pointwise("rms_norm", t, rms_norm));
    cases.push_back(softmax_grad(t));
    cases.push_back(column_sum(t));
  }
  std::string folder = "/tmp/corten-kernel-bench";
  remove_folder(folder);
  codegen::ObjectCache objects(folder, 1 << 28);
  const codegen::Target target = codegen::target_for(cpu_isa());
  constexpr int64_t kRows = 16384, kColumns = 1024;
  constexpr size_t kBytes = kRows * kColumns * 4;
  void *in = allocate(kBytes), *out = allocate(kBytes), *scratch = allocate(1 << 24);
  std::printf("%s\n%-18s %9s %9s | %18s | %18s | %18s\n", std::string(name(target.isa)).c_str(), "",
              "compile", "load", "64x768", "16384x1024", "same, streaming");
  std::printf("%-18s %9s %9s | %9s %8s | %9s %8s | %9s %8s\n", "", "ms", "ms", "Gelem/s", "GB/s",
              "Gelem/s", "GB/s", "Gelem/s", "GB/s");
  for (Case& c : cases) {
    if (c.name.find(filter) == std::string::npos) continue;
    const auto cold = now();
    auto kernel = codegen::compile_cpu(c.kernel, target, &objects);
    const double compile_ms = seconds_since(cold) * 1e3;
    const auto warm = now();
    kernel = codegen::compile_cpu(c.kernel, target, &objects);
    const double load_ms = seconds_since(warm) * 1e3;
    Kernel streaming = c.kernel;
    streaming.stores[0].streaming = true;
    const auto streamed = codegen::compile_cpu(streaming, target, &objects);
    const size_t bytes = size_of(c.kernel.operands[0].dtype);
    for (int64_t i = 0; i < kRows * kColumns; ++i) {
      const float x = 3 * std::sin(static_cast<float>(i % 1000003));
      if (bytes == 4) {
        static_cast<float*>(in)[i] = x;
      } else {
        uint32_t bits;
        std::memcpy(&bits, &x, 4);
        static_cast<uint16_t*>(in)[i] = static_cast<uint16_t>(bits >> 16);
      }
    }
    void* pointers[] = {in, out, in};
    const double small = measure(*kernel, c.kernel, 64, 768, pointers, scratch);
    const double large = measure(*kernel, c.kernel, kRows, kColumns, pointers, scratch);
    const double nt = measure(*streamed, c.kernel, kRows, kColumns, pointers, scratch);
    const double moved = c.kernel.form == KernelForm::columns ? static_cast<double>(bytes)
                                                              : 2.0 * static_cast<double>(bytes);
    const double a = 64 * 768 / small * 1e-9, b = kRows * kColumns / large * 1e-9,
                 s = kRows * kColumns / nt * 1e-9;
    std::printf("%-18s %9.2f %9.3f | %9.2f %8.1f | %9.2f %8.1f | %9.2f %8.1f\n", c.name.c_str(),
                compile_ms, load_ms, a, a * moved, b, b * moved, s, s * moved);
  }
  remove_folder(folder);
  return 0;
}
