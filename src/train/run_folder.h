// The folder of a training run: what lies where, how it comes into being, and its checkpoints.
//
//   run.json          versions, hashes, machine, contract; the run exists once this file does
//   config.toml       the resolved configuration
//   tokenizer         tokenizer.json and what else belongs to it
//   data/train, data/validation   token shards made from text
//   metrics.jsonl     one line per step and evaluation
//   checkpoints/step-00000100     see train/checkpoint.h
//   model             the final weights in Hugging Face layout
//   result.json       of a finished run, as `train --json` printed it
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace corten {

class RunFolder {
 public:
  explicit RunFolder(std::string root);

  const std::string& root() const noexcept { return root_; }
  std::string header() const { return file("run.json"); }
  std::string config() const { return file("config.toml"); }
  std::string tokenizer() const { return file("tokenizer"); }
  std::string data() const { return file("data"); }
  std::string metrics() const { return file("metrics.jsonl"); }
  std::string checkpoints() const { return file("checkpoints"); }
  std::string checkpoint(int64_t step) const;
  std::string model() const { return file("model"); }
  std::string result() const { return file("result.json"); }

  bool holds_run() const;
  /// Steps at which whole checkpoints exist, ascending.
  std::vector<int64_t> checkpoint_steps() const;
  /// Removes what an interrupted process left half-written or half-removed.
  void clean_up() const;
  /// Removes all checkpoints but the newest `keep_last` and that of `best_step` (-1: none).
  void prune_checkpoints(int64_t keep_last, int64_t best_step) const;

 private:
  std::string file(const char* name) const;

  std::string root_;
};

/// The folder with config.json (or adapter_config.json) and weights that `path` stands for: itself,
/// or of a run its final model or else its newest checkpoint. Usage error if there is none.
std::string find_model_folder(const std::string& path);

/// A run that is being set up: files are made in a folder of their own inside the run folder and
/// moved to their places by commit(), the header last, so that a run exists whole or not at all.
class RunSetup {
 public:
  /// Usage error if the folder holds a run, or anything in the places of a run's files.
  explicit RunSetup(const RunFolder& folder);
  RunSetup(const RunSetup&) = delete;
  RunSetup& operator=(const RunSetup&) = delete;
  /// Without commit() everything is removed that was made.
  ~RunSetup();

  /// Where the files are to be made, under the names that they have in the run folder.
  const RunFolder& staging() const noexcept { return staging_; }
  void commit(const Json& header);

 private:
  const RunFolder& folder_;
  RunFolder staging_;
  bool created_ = false, committed_ = false;
};

/// Keeps other processes from training in the same folder while it lives.
class RunLock {
 public:
  /// Usage error if another process holds it. The folder must exist.
  explicit RunLock(const RunFolder& folder);
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;
  ~RunLock();

 private:
  int fd_ = -1;
};

/// metrics.jsonl: lines of JSON, handed to the system one by one.
class MetricsLog {
 public:
  /// Opens the log of a run and drops lines of steps after `last_step` (and a torn last line),
  /// which an interrupted process wrote after its last checkpoint.
  MetricsLog(const std::string& path, int64_t last_step);
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;
  ~MetricsLog();

  /// Appends one line. Resource error if the disk is full.
  void write(const Json& line);

 private:
  std::string path_;
  int fd_ = -1;
};

}  // namespace corten
