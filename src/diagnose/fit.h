// What would make a step fit into the memory that there is.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "diagnose/step_plan.h"

namespace corten {

/// One way. Those that are available were planned, and their figures are what a run would need; the others are computed from
/// the owners of the present plan.
struct WayToFit {
  std::string name;                     ///< "smaller batch"
  std::string set;                      ///< "train.batch=4"; empty if it is not available yet
  bool available = true, fits = false;
  int64_t peak_bytes = 0;
  std::optional<double> step_seconds;   ///< predicted; unset where nothing is known
  std::string cost;                     ///< what it costs besides
};

struct FitRequest {
  std::string model_config;
  Task task = Task::causal_lm;
  StepSettings settings;
  double limit_bytes = 0;
  Machine machine;                                  ///< predicts the times
  std::function<Machine(DType)> machine_for;        ///< for another compute type
  int64_t ranks = 8;                                ///< to divide the state among
  std::function<void(const std::string&)> message;  ///< what is being planned; may be empty
};

/// The ways from `plan` to the limit, best first: available before others, those that fit before those that do not, then by
/// time.
std::vector<WayToFit> ways_to_fit(const StepPlan& plan, const FitRequest& request);

}  // namespace corten
