// The plan of a training step: bytes by owner, work, and predicted time, known before anything runs.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "corten/memory.h"
#include "diagnose/machine.h"
#include "runtime/program_report.h"
#include "train/config.h"
#include "train/train_step.h"
#include "train/trained_model.h"

namespace corten {

using runtime::Owner;

/// Bytes by owner, and by none: the holes that the planner left at the peak.
struct OwnedBytes {
  std::array<int64_t, runtime::kOwners> owner = {};
  int64_t fragmentation = 0;
  int64_t& operator[](Owner o) { return owner[static_cast<size_t>(o)]; }
  int64_t operator[](Owner o) const { return owner[static_cast<size_t>(o)]; }
  int64_t total() const;
};

/// A tensor that outlives the step.
struct StateReport {
  std::string name;
  Owner owner = Owner::other_state;
  int64_t bytes = 0;
};

/// A step, planned with tensors that have no values.
struct StepPlan {
  int64_t parameters = 0;   ///< number of them
  int64_t trained_parameters = 0;  ///< those of adapters are not among the former
  int64_t peak_bytes = 0;   ///< state, arguments, results and the arena
  OwnedBytes owners;        ///< at the peak; adds up to peak_bytes
  OwnedBytes most;          ///< the most that each owner has at any time
  int32_t peak_step = 0;    ///< kernel or product at which it is reached
  double model_flops = 0;   ///< unpadded products, the causal half of attention, nothing that is recomputed
  ProgramInfo info;
  int64_t workspace_bytes = 0;  ///< of a device's products, besides the arena: at most
  std::vector<StateReport> state;
  runtime::ProgramReport report;

  /// The peak if each owner had only this part of its bytes (1: all).
  int64_t peak_with(const std::array<double, runtime::kOwners>& parts) const;
  double fragmentation() const;  ///< arena bytes / lower bound - 1
  /// Seconds: each kernel takes the longer of its FLOPs at the machine's peak and its bytes at its bandwidth.
  double predicted_seconds(const Machine& machine) const;
  std::vector<double> predicted_step_seconds(const Machine& machine) const;
};

/// Compiles and plans the step; nothing is allocated for the model and nothing runs.
StepPlan plan_step(const std::string& model_config, const StepSettings& settings, Task task = Task::causal_lm);
/// The plan of a step that exists, compiled. `model` is the one that it trains.
StepPlan plan_of(const TrainedModel& model, const TrainStep& step, const StepSettings& settings);

/// The config.json of the model of a configuration. Its tokenizer is read (or trained) only if the model's vocabulary is not
/// known without; the texts of a classifier are, for its classes.
std::string planned_model_config(const Config& config, Task task, const std::function<void(const std::string&)>& message);

/// The memory of one step over time, as PyTorch's tools read it: one segment that holds state, arguments, results and the
/// arena. `seconds` is the time of each kernel, as predicted or measured.
MemorySnapshot memory_timeline(const StepPlan& plan, const std::vector<double>& seconds);

}  // namespace corten
