// The model of a run, of any kind that can be trained, and what it is trained to do.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "corten/encoders.h"
#include "corten/models.h"
#include "corten/seq2seq.h"
#include "train/config.h"
#include "train/run_data.h"
#include "train/train_step.h"

namespace corten {

enum class Task {
  causal_lm,                ///< targets are the next ids
  sequence_classification,  ///< one target in a row: its class; ids below 0 are padding
  seq2seq_lm,               ///< targets are the ids of the output; ids below 0 are padding
};
/// The task that `config` names, or that of models of its type; may read the model's config.json.
/// Usage error if the other sections do not fit it.
Task task_of(const Config& config);
/// Targets in a row of a run's batches.
int64_t targets_per_row(const Config& config, Task task);

class TrainedModel {
 public:
  /// With fresh weights, a function of `seed`, or those of the folder `weights`, whose head is drawn
  /// anew if it is of other classes. What was drawn is added to `drawn`.
  TrainedModel(Task task, const std::string& config_json, const std::string& weights, int64_t seed,
               std::vector<std::string>& drawn);
  TrainedModel(Task task, const std::string& config_json) : TrainedModel(task, config_json, "", 0) {}

  nn::Module& module() const;
  /// This must outlive it.
  Objective objective() const;
  int64_t vocab_size() const;
  /// The most tokens of a row.
  int64_t max_positions() const;
  /// Of a micro-batch, or of a batch.
  double forward_flops(int64_t rows, const StepSettings& settings) const;
  void save_pretrained(const std::string& folder) const;
  void load_weights(const std::string& folder) const;

 private:
  TrainedModel(Task task, const std::string& config_json, const std::string& weights, int64_t seed);

  std::variant<std::unique_ptr<CausalLM>, std::unique_ptr<SequenceClassifier>,
               std::unique_ptr<Seq2SeqLM>>
      model_;
  std::vector<std::string> drawn_;
};

/// The names of the classes in a classifier's training text; empty for other tasks.
std::vector<std::string> read_class_names(const Config& config, Task task);
/// The config.json of the model that a run begins with. `class_names` are a classifier's. The
/// tokenizer gives vocabulary and special tokens where the configuration leaves them open.
std::string initial_model_config(const Config& config, Task task, const TokenizerInfo& tokenizer,
                                 const std::vector<std::string>& class_names);
/// Folder of the weights that a run begins with; "" for fresh ones.
std::string initial_weights(const Config& config);

/// The adapters that `config` asks for, whose targets may be open.
std::optional<LoraConfig> lora_config(const Config& config, Task task);
/// The step that `config` asks for.
StepSettings step_settings(const Config& config, Task task);

}  // namespace corten
