// Training a language model or a classifier from a configuration: the run folder, the loop,
// checkpoints and resume.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/signals.h"
#include "train/config.h"

namespace corten::runtime {
class DeviceState;
}

namespace corten {

struct TrainOptions {
  bool resume = false;          ///< continue the run in config.train.out
  bool plan_only = false;       ///< compile and plan the step, run nothing, write nothing
  bool detect_anomaly = false;  ///< stop at the first op that makes a NaN
  bool eval_first = false;      ///< evaluate the fresh model too (step 0)
  /// What train.device = "cuda" means; empty: the first CUDA device.
  std::function<std::unique_ptr<runtime::DeviceState>()> cuda_device;
};

/// One optimizer step, as it ends.
struct StepInfo {
  int64_t step = 0, steps = 0;  ///< step counts from 1; steps: of the whole run
  double loss = 0;              ///< mean over the step's tokens, nats
  double lr = 0;
  double grad_norm = 0;  ///< before clipping
  double tokens_per_s = 0;
  std::optional<double> mfu;  ///< share of the device's peak; unset if that is unknown
  double eta_s = 0;           ///< seconds until the last step at the present speed
};

/// One evaluation on the validation text.
struct EvalInfo {
  int64_t step = 0;  ///< optimizer steps taken
  double loss = 0;   ///< mean over tokens (of a classifier: over texts), nats
  std::optional<double> accuracy = {};  ///< of a classifier: share of texts that it judged right
  bool best = false;
};

/// What the caller hears of a run. Unset functions are not called. All calls come from the thread
/// that called train().
struct TrainCallbacks {
  std::function<void(const StepInfo&)> on_step;
  std::function<void(const EvalInfo&)> on_eval;
  /// A line for people: what is being done, what was decided, what looks wrong.
  std::function<void(const std::string&)> on_message;
  /// Asked after every step; any other answer than None writes a checkpoint and ends the run.
  std::function<StopSignal()> should_stop;
};

/// A run, finished or stopped. `losses` and `digest` cover steps 1..N of the run, whichever
/// processes executed them.
struct TrainResult {
  std::string run;              ///< run folder
  int64_t first_step = 0;       ///< the first step that this process executed; 0 if none
  int64_t steps = 0;            ///< steps taken in the whole run
  int64_t tokens = 0;           ///< tokens that those steps saw
  double train_loss = 0;        ///< loss of the last step
  std::optional<double> val_loss;  ///< of the last evaluation; unset if there is no validation text
  std::optional<double> val_accuracy;  ///< of a classifier, at the last evaluation
  std::vector<float> losses;
  std::string digest;      ///< losses_digest(losses)
  std::string contract;    ///< level of the numerics contract that the run keeps: "L1"
  std::string checkpoint;  ///< folder of the last checkpoint
  std::string model_dir;   ///< folder in Hugging Face layout with the weights to use
  uint64_t peak_bytes = 0, planned_peak_bytes = 0;
  StopSignal stopped = StopSignal::None;  ///< what ended the run early
  /// Why the run failed (the loss became NaN, ...); empty if it did not.
  std::string failure;
  Json plan;  ///< with plan_only: bytes by owner and time per step; otherwise null
};

/// Trains. Usage error if config.train.out holds a run already (without `resume`), if the
/// configuration of a resumed run differs in keys that change results (all of them are listed), or
/// if a file is missing or broken. A resumed run without a checkpoint starts at step 0 and says so;
/// a finished one returns its result. A run that fails or is stopped returns normally.
TrainResult train(const ResolvedConfig& config, const TrainOptions& options,
                  const TrainCallbacks& callbacks);

}  // namespace corten
