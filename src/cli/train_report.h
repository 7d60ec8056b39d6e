// The end of a training run, for people and programs.
#pragma once

#include "base/json.h"
#include "train/result_json.h"

namespace corten::cli {

/// Prints `document` (the JSON form of the run) or a summary of `result`, and returns the exit code:
/// 0, 1 for a run that failed, 75 or 130 for one that was stopped.
int report_train(const TrainResult& result, const Json& document, bool json);

}  // namespace corten::cli
