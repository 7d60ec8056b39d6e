#include "train/bench_device.h"

#include <algorithm>
#include <map>

#include "base/format.h"
#include "corten/compile.h"
#include "cuda/peak.h"
#include "train/benched_ops.h"

namespace corten {
namespace {

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

BenchOpResult bench_op_on_device(const BenchOpOptions& options, cuda::Device& device,
                                 cuda::MakeModules make_modules) {
  const BenchedOp& op = find_benched_op(options.op);
  const Operands operands = random_operands(op, options);
  CompiledFunction compiled = compile([&](const Operands& in) { return op.apply(in); });
  runtime::DeviceState state(device, std::move(make_modules));
  runtime::DeviceFunction function(compiled, state);
  const double bytes = tensor_bytes(function(operands)) + tensor_bytes(operands);

  BenchOpResult r;
  std::vector<double> times, fractions;
  constexpr int kRounds = 7, kRuns = 5;
  function.time(2);
  for (int round = 0; round < kRounds; ++round) {
    // A copy in between: clocks and temperatures change, and their ratio stays.
    const double rate = cuda::measure_copy_bandwidth(device, 3);
    r.copy_gbytes_per_s = std::max(r.copy_gbytes_per_s, rate * 1e-9);
    const double ms = median(function.time(kRuns));
    times.push_back(ms);
    fractions.push_back(bytes / (ms * 1e-3) / rate);
  }
  r.ms_median = median(times);
  r.ms_min = *std::min_element(times.begin(), times.end());
  r.bandwidth_fraction = median(fractions);
  const double flops = compiled.info().flops, seconds = r.ms_median * 1e-3;
  r.gbytes_per_s = bytes / seconds * 1e-9;
  r.gflops_per_s = flops / seconds * 1e-9;
  r.floor_ms = bytes / r.copy_gbytes_per_s * 1e-6;
  if (flops > 0)
    r.floor_ms = std::max(r.floor_ms,
                          1e3 * flops / cuda::measure_peak_flops(device, options.dtype, 0.3));
  r.peak_bytes = static_cast<double>(function.bytes() + state.bytes() +
                                     function.info().arena_bytes + function.info().workspace_bytes);
  return r;
}

DeviceStepTimes device_step_times(runtime::DeviceFunction& function, cuda::Device& device,
                                  const cuda::Ceilings& ceilings) {
  DeviceStepTimes out;
  out.step_ms = median(function.time(10));
  out.copy_bytes_per_s = ceilings.bandwidth > 0 ? ceilings.bandwidth
                                                : cuda::measure_copy_bandwidth(device, 10);
  cuda::Ceilings measured = ceilings;
  measured.bandwidth = out.copy_bytes_per_s;
  const cuda::DeviceProfile profile = function.profile();
  out.busy_ms = profile.busy_ms;
  out.wall_ms = profile.wall_ms;
  out.traced = profile.traced;
  out.note = profile.note;
  const cuda::DeviceProgramInfo& info = function.info();
  if (!info.uncaptured.empty())
    out.note += (out.note.empty() ? "" : "; ") + ("launched one by one: " + info.uncaptured);
  out.launches = static_cast<int64_t>(info.launches);
  out.groups = static_cast<int64_t>(info.groups);
  out.products = static_cast<int64_t>(info.products);
  out.make_ms = info.make_ms;
  out.kernels_ms = info.kernels_ms;
  std::map<std::string, double> ms;
  for (size_t s = 0; s < profile.costs.size(); ++s) ms[profile.costs[s].family] += profile.ms[s];
  for (const cuda::FamilyCost& f : cuda::family_costs(profile.costs, measured))
    out.families.push_back({.name = f.family,
                            .steps = f.steps,
                            .launches = f.launches,
                            .bytes = f.bytes,
                            .flops = f.flops,
                            .ms = ms[f.family],
                            .floor_ms = 1e3 * f.floor_seconds});
  std::stable_sort(out.families.begin(), out.families.end(),
                   [](const auto& a, const auto& b) { return a.ms > b.ms; });
  return out;
}

}  // namespace corten
