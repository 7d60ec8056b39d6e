#include "train/trained_model.h"

#include <algorithm>
#include <filesystem>
#include <limits>

#include "base/file.h"
#include "base/format.h"
#include "base/json.h"
#include "corten/ops.h"
#include "corten/vision.h"
#include "models/auto_model.h"
#include "models/auto_seq2seq.h"
#include "models/model_folder.h"
#include "train/eval_seq2seq.h"
#include "train/labelled_text.h"
#include "train/model_setup.h"

namespace corten {
namespace {

/// Ids with padding below 0 as what a model reads, whose padding is `id`.
struct Padded {
  explicit Padded(const Tensor& given, int64_t id = 0) {
    const Tensor is_token = given >= 0.0;
    Tensor padding = zeros_like(given);
    if (id != 0) padding = padding + static_cast<double>(id);
    ids = where(is_token, given, padding);
    mask = is_token.to(DType::i64);
  }
  Tensor ids, mask;
};

Tensor classify(SequenceClassifier& model, const Tensor& given) {
  // Decoders look for the last token that is no padding; encoders look at the first token.
  const Padded in(given, model.pad_token_id().value_or(0));
  return model({.ids = in.ids, .attention_mask = in.mask});
}
Tensor classes_of(const Tensor& targets) {
  return targets.slice(1, 0, 1).reshape({targets.size(0)});
}

Objective objective_of(CausalLM& model) {
  return next_tokens(model);
}

Objective objective_of(SequenceClassifier& model) {
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
              }};
}

Objective objective_of(Seq2SeqLM& model) {
  const Json config = Json::parse(model.config_json(), "config.json");
  const auto loss = [&model](const Tensor& ids, const Tensor& targets) {
    const Padded in(ids);
    return model.loss({.ids = in.ids, .attention_mask = in.mask}, targets, Reduction::sum);
  };
  return {.model = &model,
          .model_type = config.at("model_type").as_string("model_type"),
          .loss = loss,
          .evaluation = [loss](const Tensor& ids,
                               const Tensor& targets) { return std::vector{loss(ids, targets)}; }};
}

/// Decoders need a token for padding, which tells where a text ends; those that have none get the
/// tokenizer's, or else the one that ends texts.
void choose_padding(Json& json, const std::string& folder, const TokenizerInfo& tokenizer) {
  const Json* type = json.find("model_type");
  if (!type || !type->is_string() || !is_decoder_type(type->as_string())) return;
  if (const Json* padding = json.find("pad_token_id"); padding && padding->is_int()) return;
  std::optional<int64_t> id;
  if (tokenizer.tokenizer) id = tokenizer.tokenizer->special_id("pad");
  if (!id && tokenizer.end_of_text >= 0) id = tokenizer.end_of_text;
  if (!id)
    usage_error(
        "{} has no \"pad_token_id\", and its tokenizer no token for padding: set one in "
        "config.json",
        folder);
  json.set("pad_token_id", *id);
}

std::string classifier_config_json(const Config& config, const TokenizerInfo& tokenizer,
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
  choose_padding(json, config.model.path, tokenizer);
  return json.dump(2);
}

/// Usage error that says what can be done with a folder's model if it continues no text.
void check_is_decoder(const std::string& folder) {
  if (folder.empty() || !file_exists(join_path(folder, "config.json"))) return;
  const Json json = read_config_json(folder);
  const Json* type = json.is_object() ? json.find("model_type") : nullptr;
  if (!type || !type->is_string()) return;
  const auto is_one_of = [&](const std::vector<std::string>& names) {
    return std::ranges::find(names, type->as_string()) != names.end();
  };
  if (is_one_of(image_model_types()))
    usage_error(
        "{}: model_type \"{}\" is an image model, and runs train models of text: train it in "
        "C++, with AutoModelForImageClassification",
        folder, type->as_string());
  if (is_one_of(encoder_model_types()))
    usage_error(
        "{}: model_type \"{}\" is an encoder, which continues no text: set model.task = "
        "\"sequence-classification\"",
        folder, type->as_string());
}

}  // namespace

Task task_of(const Config& config) {
  if (config.is_classification()) return Task::sequence_classification;
  const ModelConfig& model = config.model;
  const bool seq2seq = is_seq2seq_type(model.model_type) ||
                       (!model.path.empty() && file_exists(join_path(model.path, "config.json")) &&
                        holds_seq2seq(model.path));
  if (config.names_seq2seq() && !seq2seq)
    usage_error("model.task = \"{}\" needs an encoder-decoder, which {} is not", model.task,
                !model.path.empty()     ? model.path
                : !model.preset.empty() ? model.preset
                                        : model.model_type);
  if (!seq2seq) {
    check_is_decoder(model.path);
    return Task::causal_lm;
  }
  if (!model.task.empty() && !config.names_seq2seq())
    usage_error("model.task = \"{}\" needs a decoder, which {} is not: an encoder-decoder learns "
                "\"seq2seq-lm\"",
                model.task, model.path.empty() ? model.model_type : model.path);
  if (!config.data.shards.empty())
    usage_error("data.shards = \"{}\" hold no pairs of source and target: set data.text",
                config.data.shards);
  return Task::seq2seq_lm;
}

int64_t targets_per_row(const Config& config, Task task) {
  if (task == Task::sequence_classification) return 1;
  if (task == Task::seq2seq_lm && config.data.target_seq > 0) return config.data.target_seq;
  return config.data.seq;
}

TrainedModel::TrainedModel(Task task, const std::string& config_json, const std::string& weights,
                           int64_t seed) {
  if (task == Task::sequence_classification) {
    auto model = AutoModelForSequenceClassification::from_config(config_json);
    if (weights.empty())
      model->initialize(seed);
    else
      drawn_ = model->load_weights(weights, seed, true).initialized;
    model_ = std::move(model);
  } else if (task == Task::seq2seq_lm) {
    auto model = AutoModelForSeq2SeqLM::from_config(config_json);
    if (weights.empty())
      model->initialize(seed);
    else
      load_pretrained(*model, config_json, weights);
    model_ = std::move(model);
  } else {
    auto model = build_model(config_json, weights, seed);
    drawn_ = model->load_report().initialized;
    model_ = std::move(model);
  }
}
TrainedModel::TrainedModel(Task task, const std::string& config_json, const std::string& weights,
                           int64_t seed, std::vector<std::string>& drawn)
    : TrainedModel(task, config_json, weights, seed) {
  drawn.insert(drawn.end(), drawn_.begin(), drawn_.end());
}

nn::Module& TrainedModel::module() const {
  return std::visit([](const auto& model) -> nn::Module& { return *model; }, model_);
}
Objective TrainedModel::objective() const {
  return std::visit([](const auto& model) { return objective_of(*model); }, model_);
}
int64_t TrainedModel::vocab_size() const {
  return std::visit([](const auto& model) { return model->vocab_size(); }, model_);
}
int64_t TrainedModel::max_positions() const {
  if (const auto* decoder = std::get_if<std::unique_ptr<CausalLM>>(&model_))
    return (*decoder)->max_positions();
  if (const auto* classifier = std::get_if<std::unique_ptr<SequenceClassifier>>(&model_))
    return (*classifier)->max_positions();
  return std::numeric_limits<int64_t>::max();  // positions are relative
}
double TrainedModel::forward_flops(int64_t rows, const StepSettings& settings) const {
  if (const auto* decoder = std::get_if<std::unique_ptr<CausalLM>>(&model_))
    return (*decoder)->forward_flops(rows, settings.seq);
  if (const auto* classifier = std::get_if<std::unique_ptr<SequenceClassifier>>(&model_))
    return (*classifier)->forward_flops(rows, settings.seq);
  return std::get<std::unique_ptr<Seq2SeqLM>>(model_)->forward_flops(rows, settings.seq,
                                                                     settings.targets_per_row());
}
void TrainedModel::save_pretrained(const std::string& folder) const {
  std::visit([&](const auto& model) { model->save_pretrained(folder); }, model_);
}
void TrainedModel::load_weights(const std::string& folder) const {
  std::visit(
      [&](const auto& model) {
        model->load_weights(folder);
        if constexpr (requires { model->generation_config_json(); })
          load_generation_config(*model, folder);
      },
      model_);
}

std::vector<std::string> read_class_names(const Config& config, Task task) {
  if (task != Task::sequence_classification) return {};
  return class_names(read_labelled_text(config.data.text).labels,
                     read_config_json(config.model.path));
}

std::string initial_model_config(const Config& config, Task task, const TokenizerInfo& tokenizer,
                                 const std::vector<std::string>& class_names) {
  if (task == Task::sequence_classification)
    return classifier_config_json(config, tokenizer, class_names);
  if (task == Task::seq2seq_lm) return seq2seq_config_json(config, tokenizer);
  return model_config_json(config, tokenizer.vocab_size, tokenizer.end_of_text);
}

std::string initial_weights(const Config& config) {
  return config.model.path.empty() || config.model.init == "random" ? "" : config.model.path;
}

std::optional<LoraConfig> lora_config(const Config& config, Task task) {
  const LoraSection& section = config.lora;
  if (section.r == 0) return std::nullopt;
  LoraConfig out{.r = section.r, .lora_alpha = section.alpha, .lora_dropout = section.dropout};
  if (section.target_modules == std::vector<std::string>{"all-linear"})
    out.target_pattern = "all-linear";
  else
    out.target_modules = section.target_modules;
  out.task_type = task == Task::sequence_classification ? "SEQ_CLS"
                  : task == Task::seq2seq_lm            ? "SEQ_2_SEQ_LM"
                                                        : "CAUSAL_LM";
  out.base_model_name_or_path =
      std::filesystem::weakly_canonical(config.model.path.empty() ? "." : config.model.path)
          .string();
  return out;
}

StepSettings step_settings(const Config& config, Task task) {
  return {.batch = config.train.batch,
          .seq = config.data.seq,
          .target_seq = targets_per_row(config, task),
          .virtual_shards = config.train.virtual_shards,
          .dtype = config.train.dtype,
          .float8 = config.train.float8,
          .compile = config.train.compile,
          .memory_budget = static_cast<int64_t>(config.train.memory_budget_bytes()),
          .optim = config.optim,
          .lora = lora_config(config, task),
          .lora_seed = config.train.seed,
          .cuda = config.train.device == "cuda"};
}

}  // namespace corten
