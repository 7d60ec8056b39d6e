// corten bench op: one op, compiled, on random operands.
#include <algorithm>
#include <chrono>
#include <memory>

#include "base/format.h"
#include "base/thread_pool.h"
#include "corten/compile.h"
#include "cuda/load.h"
#include "gemm/peak.h"
#include "train/bandwidth.h"
#include "train/bench_device.h"
#include "train/benched_ops.h"

namespace corten {
namespace {

using Clock = std::chrono::steady_clock;

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

BenchOpResult bench_op(const BenchOpOptions& options) {
  if (options.device == "cuda") {
    const std::unique_ptr<cuda::Device> device = cuda::open_device(0);
    return bench_op_on_device(options, *device);
  }
  if (options.device != "cpu")
    usage_error("measurements need device \"cpu\" or \"cuda\", not \"{}\"", options.device);
  ThreadPool& pool = default_thread_pool();
  pool.set_num_threads(static_cast<int>(options.threads));
  const BenchedOp& op = find_benched_op(options.op);
  const Operands operands = random_operands(op, options);

  CompiledFunction function = compile([&](const Operands& in) { return op.apply(in); });
  Operands results;
  for (int i = 0; i < 3; ++i) results = function(operands);
  const double bytes = tensor_bytes(results) + tensor_bytes(operands);
  // Copies in between: a shared machine slows both down, and their ratio stays.
  CopyBandwidth copy(pool);
  copy.measure();
  BenchOpResult r;
  std::vector<double> times, fractions;
  const Clock::time_point start = Clock::now();
  constexpr size_t kFewest = 7;
  constexpr double kSeconds = 0.7;
  while (times.size() < kFewest ||
         std::chrono::duration<double>(Clock::now() - start).count() < kSeconds) {
    const Clock::time_point begin = Clock::now();
    results = function(operands);
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
    const double rate = copy.measure();
    r.copy_gbytes_per_s = std::max(r.copy_gbytes_per_s, rate * 1e-9);
    fractions.push_back(bytes / (times.back() * 1e-3) / rate);
  }

  r.ms_min = *std::min_element(times.begin(), times.end());
  r.ms_median = median(times);
  r.bandwidth_fraction = median(fractions);
  const double flops = function.info().flops;
  const double seconds = r.ms_median * 1e-3;
  r.gbytes_per_s = bytes / seconds * 1e-9;
  r.gflops_per_s = flops / seconds * 1e-9;
  r.floor_ms = 1e3 * bytes / measure_read_bandwidth(pool);
  if (flops > 0)
    r.floor_ms = std::max(r.floor_ms,
                          1e3 * flops / measure_peak_flops(options.dtype, pool.num_threads(), 1.0));
  r.peak_bytes = bytes + static_cast<double>(function.info().arena_bytes);
  return r;
}

}  // namespace corten
