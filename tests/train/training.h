// A tiny training run: text, configuration, and runs in processes of their own.
#pragma once

#include <string>
#include <vector>

#include "temp_folder.h"
#include "train/trainer.h"

namespace corten::testing {

/// About `bytes` of sentences from a small vocabulary, a function of `seed`.
std::string synthetic_text(size_t bytes, uint64_t seed = 1);

/// A folder with a text and the means to train on it.
class TinyRun {
 public:
  /// Writes the text.
  TinyRun();

  std::string out() const { return folder_ / "run"; }
  std::string text() const { return folder_ / "text.txt"; }
  const TempFolder& folder() const { return folder_; }
  /// "train.steps=4"; later ones win.
  TinyRun& set(std::string text) {
    sets_.push_back(std::move(text));
    return *this;
  }

  ResolvedConfig config(const std::vector<std::string>& sets = {}) const;
  /// Trains in this process. `stop_after` > 0: asks to stop once that step is done.
  TrainResult train(const std::vector<std::string>& sets = {}, TrainOptions options = {},
                    int64_t stop_after = 0);
  TrainResult resume(const std::vector<std::string>& sets = {});
  /// The message of the error that train() raises, with its kind in front ("usage: ..."); "" if it
  /// raises none.
  std::string fault(const std::vector<std::string>& sets = {}, TrainOptions options = {});

  /// Starts (or goes on with) the run in a process of its own and returns its id. `file_limit` > 0:
  /// no file may become larger.
  pid_t spawn(int64_t file_limit = 0) const;
  /// Exit code of a process from spawn(): 0, or that of its error; -signal if one ended it.
  static int wait(pid_t child);

  /// What on_message was called with.
  std::vector<std::string> messages;
  std::vector<EvalInfo> evals;

 private:
  TempFolder folder_;
  std::vector<std::string> sets_;
};

}  // namespace corten::testing
