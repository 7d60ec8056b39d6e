#include "train/trained_model.h"

#include <filesystem>

#include "base/file.h"
#include "base/format.h"
#include "base/json.h"
#include "models/model_folder.h"

namespace corten {
namespace {

Tensor classify(SequenceClassifier& model, const Tensor& ids) {
  const Tensor is_token = ids >= 0.0;
  return model(
      {.ids = where(is_token, ids, zeros_like(ids)), .attention_mask = is_token.to(DType::i64)});
}
Tensor classes_of(const Tensor& targets) {
  return targets.slice(1, 0, 1).reshape({targets.size(0)});
}

Objective classification(SequenceClassifier& model) {
  const Json config = Json::parse(model.config_json(), "config.json");
  return {.model = &model,
          .model_type = config.at("model_type").as_string("model_type"),
          .loss =
              [&model](const Tensor& ids, const Tensor& targets) {
                return cross_entropy(classify(model, ids), classes_of(targets), Reduction::sum);
              },
          .evaluation =
              [&model](const Tensor& ids, const Tensor& targets) {
                const Tensor logits = classify(model, ids), classes = classes_of(targets);
                const Tensor right = (argmax(logits, 1) == classes).to(DType::i64).sum();
                return std::vector{cross_entropy(logits, classes, Reduction::sum), right};
              },
          .targets_per_row = 1};
}

}  // namespace

nn::Module& TrainedModel::module() const {
  if (decoder_) return *decoder_;
  return *classifier_;
}
Objective TrainedModel::objective(int64_t seq) const {
  return decoder_ ? next_tokens(*decoder_, seq) : classification(*classifier_);
}
int64_t TrainedModel::vocab_size() const {
  return decoder_ ? decoder_->vocab_size() : classifier_->vocab_size();
}
int64_t TrainedModel::max_positions() const {
  return decoder_ ? decoder_->max_positions() : classifier_->max_positions();
}
std::string TrainedModel::config_json() const {
  return decoder_ ? decoder_->config_json() : classifier_->config_json();
}
double TrainedModel::forward_flops(int64_t batch, int64_t seq) const {
  return decoder_ ? decoder_->forward_flops(batch, seq) : 0;
}
void TrainedModel::save_pretrained(const std::string& folder) const {
  decoder_ ? decoder_->save_pretrained(folder) : classifier_->save_pretrained(folder);
}
void TrainedModel::load_weights(const std::string& folder) const {
  if (decoder_)
    decoder_->load_weights(folder);
  else
    classifier_->load_weights(folder);
}

std::string classifier_config_json(const Config& config,
                                   const std::vector<std::string>& class_names) {
  Json json = read_config_json(config.model.path);
  for (const auto& [name, value] : config.model.fields.items()) json.set(name, value);
  Json names = Json::object(), numbers = Json::object();
  for (size_t i = 0; i < class_names.size(); ++i) {
    names.set(std::to_string(i), class_names[i]);
    numbers.set(class_names[i], i);
  }
  json.erase("num_labels");
  json.set("id2label", names);
  json.set("label2id", numbers);
  json.set("problem_type", "single_label_classification");
  return json.dump(2);
}

std::unique_ptr<SequenceClassifier> build_classifier(const std::string& config_json,
                                                     const std::string& weights, int64_t seed,
                                                     std::vector<std::string>& drawn) {
  auto model = AutoModelForSequenceClassification::from_config(config_json);
  if (weights.empty()) {
    model->initialize(seed);
  } else {
    const EncoderLoadReport report = model->load_weights(weights, seed, true);
    drawn.insert(drawn.end(), report.initialized.begin(), report.initialized.end());
  }
  return model;
}

std::optional<LoraConfig> lora_config(const Config& config) {
  const LoraSection& section = config.lora;
  if (section.r == 0) return std::nullopt;
  LoraConfig out{.r = section.r, .lora_alpha = section.alpha, .lora_dropout = section.dropout};
  if (section.target_modules == std::vector<std::string>{"all-linear"})
    out.target_pattern = "all-linear";
  else
    out.target_modules = section.target_modules;
  out.task_type = config.is_classification() ? "SEQ_CLS" : "CAUSAL_LM";
  out.base_model_name_or_path =
      std::filesystem::weakly_canonical(config.model.path.empty() ? "." : config.model.path)
          .string();
  return out;
}

}  // namespace corten
