// `corten profile`: some steps of a run, with the time of everything in them and what happens to memory between them.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "corten/memory.h"
#include "diagnose/key_averages.h"
#include "diagnose/step_plan.h"

namespace corten::runtime {
class DeviceState;
}

namespace corten {

struct ProfileOptions {
  int64_t steps = 3;
  std::function<void(const std::string&)> message;
  std::function<void(int64_t step, double ms)> on_step;
  /// What train.device = "cuda" means; empty: the first CUDA device.
  std::function<std::unique_ptr<runtime::DeviceState>()> cuda_device;
};

/// Bytes at the end of a step.
struct StepMemory {
  int64_t step = 0;
  std::vector<std::pair<std::string, int64_t>> owners;  ///< "parameters", ..., "tensor softmax, loss.cpp:12", "resident"
};

/// What an owner has more (or less) of at the end than after the first measured step.
struct Growth {
  std::string owner;
  int64_t first = 0, last = 0;
  int64_t steps_that_grew = 0;
  /// It grew, in most of the steps.
  bool leak = false;
};

struct ProfileResult {
  std::vector<double> step_ms;
  std::vector<float> losses;
  std::vector<runtime::RecordedRange> ranges;
  std::vector<KeyAverage> averages;
  std::vector<StepMemory> memory;
  std::vector<Growth> growth;
  MemorySnapshot snapshot;        ///< of a compiled step, with measured times; of the allocator's history if steps run op by op
  std::optional<StepPlan> plan;   ///< of a compiled step
  double data_ms = 0;             ///< loading of data, all steps
};

/// Trains for two steps to warm up, then for options.steps that are recorded, on the data of the configuration, whose run
/// folder is left alone. Usage error if steps is not positive.
ProfileResult profile_training(const Config& config, const ProfileOptions& options);

/// Growth between the first and the last of `memory`.
std::vector<Growth> growth_report(const std::vector<StepMemory>& memory);
Json to_json(const ProfileResult& result);

}  // namespace corten
