// `corten plan`: everything that is known of a run before it starts.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "diagnose/fit.h"
#include "diagnose/recipes.h"
#include "diagnose/step_plan.h"

namespace corten {

struct PlanOptions {
  std::string machine;  ///< of the table of data sheets; empty: this one
  int64_t ranks = 8;    ///< that recipes and sharding divide the state among
  bool measure = false; ///< this machine's figures anew, even if they are known
  bool always_ways = false;  ///< look for ways to need less although the step fits
  std::function<void(const std::string&)> message;
};

struct TrainingPlan {
  StepSettings settings;
  std::string device;
  StepPlan step;
  Machine machine;
  double predicted_seconds = 0;
  double limit_bytes = 0;
  std::string limit;  ///< what sets it: "train.memory_budget", or the machine
  bool fits = true;
  int64_t ranks = 1;
  std::vector<WayToFit> ways;
  std::vector<RecipeBytes> recipes;
};

TrainingPlan plan_training(const Config& config, const PlanOptions& options);
Json to_json(const TrainingPlan& plan);
Json to_json(const std::vector<RecipeBytes>& recipes);

}  // namespace corten
