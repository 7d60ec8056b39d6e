// Live progress on stderr: a bar that redraws itself on a terminal, a line every few seconds in logs.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "train/trainer.h"

namespace corten::cli {

/// Progress of one training run or of another counted task. Not thread-safe.
class Progress {
 public:
  /// Looks at stderr to choose between the bar and lines.
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Shows a step: loss, learning rate, speed, gradient norm, MFU, time left. The first and the
  /// last one are always shown.
  void step(const StepInfo& info);
  /// An evaluation, as a line that stays.
  void evaluation(const EvalInfo& info);
  /// Shows a counted task without losses: "tokenizing  12.0 MiB of 30.1 MiB".
  void task(std::string_view what, uint64_t done, uint64_t total, std::string_view amounts);
  /// A line that stays above the bar.
  void message(std::string_view line);
  /// Ends the bar's line; later output starts on a fresh one.
  void finish();

  /// Callbacks for train() that report here and poll the signals of base/signals.h.
  TrainCallbacks callbacks();

 private:
  using Clock = std::chrono::steady_clock;
  /// True if enough time went by since the last display.
  bool due(bool always);
  void show(double fraction, const std::string& text);

  bool terminal_;
  bool bar_open_ = false;
  bool shown_ = false;
  Clock::time_point last_{};
};

/// The text of a step as progress lines and bars show it.
std::string format_step(const StepInfo& info);
/// "1.2k", "35.0k", "1.2M": three or four characters for a speed.
std::string format_count(double value);

}  // namespace corten::cli
