// The model of a run, a decoder or a classifier, and what it is trained to do.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "corten/encoders.h"
#include "corten/models.h"
#include "train/config.h"
#include "train/train_step.h"

namespace corten {

class TrainedModel {
 public:
  explicit TrainedModel(std::unique_ptr<CausalLM> decoder) : decoder_(std::move(decoder)) {}
  explicit TrainedModel(std::unique_ptr<SequenceClassifier> classifier)
      : classifier_(std::move(classifier)) {}

  nn::Module& module() const;
  /// Targets of a decoder are the next ids; those of a classifier the classes, first in each row,
  /// and its ids below 0 are padding.
  Objective objective(int64_t seq) const;
  int64_t vocab_size() const;
  int64_t max_positions() const;
  std::string config_json() const;
  /// 0 if unknown.
  double forward_flops(int64_t batch, int64_t seq) const;
  void save_pretrained(const std::string& folder) const;
  void load_weights(const std::string& folder) const;

 private:
  std::unique_ptr<CausalLM> decoder_;
  std::unique_ptr<SequenceClassifier> classifier_;
};

/// The config.json of the classifier that `config` asks for.
std::string classifier_config_json(const Config& config,
                                   const std::vector<std::string>& class_names);
/// A classifier with fresh weights, or with those of the folder `weights`, whose head is drawn anew
/// if it is of other classes. What was drawn is added to `drawn`.
std::unique_ptr<SequenceClassifier> build_classifier(const std::string& config_json,
                                                     const std::string& weights, int64_t seed,
                                                     std::vector<std::string>& drawn);
/// The adapters that `config` asks for, whose targets may be open.
std::optional<LoraConfig> lora_config(const Config& config);

}  // namespace corten
