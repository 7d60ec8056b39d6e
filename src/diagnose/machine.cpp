#include "diagnose/machine.h"

#include <algorithm>
#include <optional>
#include <tuple>

#include "base/cpu.h"
#include "base/file.h"
#include "base/format.h"
#include "base/process.h"
#include "base/strings.h"
#include "base/thread_pool.h"
#include "codegen/object_cache.h"
#include "cuda/load.h"
#include "gemm/peak.h"
#include "train/bandwidth.h"
#include "train/device_peak.h"

namespace corten {
namespace {

/// What was measured on this machine earlier, by key; an unreadable file counts as empty.
Json read_measurements(const std::string& path) {
  try {
    if (file_exists(path)) {
      Json json = Json::parse(read_file(path, 1 << 20), path);
      if (json.is_object()) return json;
    }
  } catch (const Error&) {
  }
  return Json::object();
}

/// Where they are kept, or "".
std::string measurements_path() {
  const std::string folder = codegen::object_cache().folder();
  return folder.empty() ? "" : join_path(parent_path(folder), "machine.json");
}

std::string measurement_key(DType dtype) {
  return format("{}, {}, {} threads, {}", cpu_info().model, corten::name(cpu_isa()), default_thread_pool().num_threads(), corten::name(dtype));
}

void keep(const std::string& path, const std::string& key, double peak_flops, double bandwidth) {
  if (path.empty()) return;
  try {
    create_folders(parent_path(path));
    Json all = read_measurements(path);
    all.set(key, Json::object({{"peak_flops", peak_flops}, {"bandwidth", bandwidth}}));
    write_file_atomic(path, all.dump(2) + "\n");
  } catch (const Error&) {  // it is measured again next time
  }
}

std::optional<std::pair<double, double>> kept(const std::string& path, const std::string& key) {
  if (path.empty()) return std::nullopt;
  const Json all = read_measurements(path);
  const Json* known = all.find(key);
  const Json* peak = known ? known->find("peak_flops") : nullptr;
  const Json* bandwidth = known ? known->find("bandwidth") : nullptr;
  if (!peak || !bandwidth || !peak->is_number() || !bandwidth->is_number()) return std::nullopt;
  if (!(peak->as_double() > 0 && bandwidth->as_double() > 0)) return std::nullopt;
  return std::pair(peak->as_double(), bandwidth->as_double());
}

}  // namespace

Machine this_machine(DType dtype, bool anew) {
  ThreadPool& pool = default_thread_pool();
  Machine m;
  m.name = cpu_info().model;
  m.memory_bytes = static_cast<double>(available_memory_bytes());
  const std::string path = measurements_path(), key = measurement_key(dtype);
  if (const auto known = anew ? std::nullopt : kept(path, key)) {
    std::tie(m.peak_flops, m.bandwidth) = *known;
    m.how = format("measured earlier on {} threads, kept in {}", pool.num_threads(), path);
    return m;
  }
  // Products of f16 run in the f32 family.
  m.peak_flops = measure_peak_flops(dtype, pool.num_threads(), 1.0);
  m.bandwidth = measure_read_bandwidth(pool);
  m.how = format("measured now on {} threads", pool.num_threads());
  keep(path, key, m.peak_flops, m.bandwidth);
  return m;
}

void raise_peak(DType dtype, double peak_flops) {
  const std::string path = measurements_path(), key = measurement_key(dtype);
  if (const auto known = kept(path, key); known && known->first < peak_flops)
    keep(path, key, peak_flops, std::max(known->second, measure_read_bandwidth(default_thread_pool())));
}

Machine machine_by_name(const std::string& name, DType dtype) {
  const auto figures = device_figures(name);
  if (!figures)
    usage_error("unknown machine \"{}\"{} (known: {}; without one, this machine is meant)", name, did_you_mean(name, device_names()),
                fmt::join(device_names(), ", "));
  Machine m;
  m.name = figures->name;
  m.memory_bytes = figures->memory_bytes;
  m.bandwidth = figures->bandwidth;
  m.peak_flops = theoretical_peak_flops(figures->name, dtype, 1).value_or(0);
  m.float8_flops = theoretical_peak_flops(figures->name, DType::f8_e4m3, 1).value_or(0);
  m.how = "data sheet: no program reaches these figures";
  return m;
}

Machine cuda_machine(DType dtype) {
  constexpr const char* kAssumed = "H100";
  std::string missing;
  cuda::Plugin* plugin = cuda::find_plugin(missing);
  const cuda::DriverInfo driver = plugin ? plugin->driver() : cuda::DriverInfo{.missing = missing};
  if (!driver.missing.empty() || driver.devices.empty()) {
    Machine m = machine_by_name(kAssumed, dtype);
    m.how = "data sheet; no CUDA device is here, so that this one (sm_90) is assumed: --machine NAME plans for another";
    return m;
  }
  const cuda::DeviceInfo& device = driver.devices[0];
  for (const std::string& name : device_names()) {
    if (device.name.find(name) == std::string::npos) continue;
    Machine m = machine_by_name(name, dtype);
    m.name = device.name;
    m.memory_bytes = static_cast<double>(device.memory_bytes);
    return m;
  }
  usage_error("the data sheets do not know {}: --machine NAME plans for another (known: {})", device.name, fmt::join(device_names(), ", "));
}

}  // namespace corten
