#include "train/model_setup.h"

#include <algorithm>

#include "base/file.h"
#include "base/format.h"
#include "base/json_file.h"
#include "base/process.h"
#include "base/strings.h"
#include "models/auto_model.h"
#include "models/auto_seq2seq.h"
#include "models/model_folder.h"
#include "models/presets.h"
#include "runtime/allocator.h"

namespace corten {
void check_model_fields(const Json& fields, const std::string& model_type,
                        const std::function<std::string(const std::string& key)>& where) {
  const std::vector<std::string> known = config_field_names(model_type);
  if (known.empty()) return;  // an unknown type is another error
  for (const auto& [name, value] : fields.items())
    if (std::ranges::find(known, name) == known.end()) {
      const std::string key = "model." + name, place = where(key);
      usage_error("{}{}{} is no field of {} models{}", place, place == key ? "" : ": ",
                  place == key ? "" : key, model_type, did_you_mean(name, known));
    }
}

std::string model_config_json(const Config& config, int64_t vocab_size, int64_t end_of_text) {
  const ModelConfig& model = config.model;
  Json json = Json::object();
  if (!model.path.empty()) {
    json = read_config_json(model.path);
  } else if (!model.preset.empty()) {
    json = preset_config(model.preset);
    json.erase("vocab_size");  // of the published checkpoint
  } else {
    json.set("model_type", model.model_type);
  }
  for (const auto& [name, value] : model.fields.items()) json.set(name, value);
  // Where a config keeps it among others, that place counts.
  if (const Json* theta = model.fields.find("rope_theta"))
    for (const char* place : {"rope_parameters", "rope_scaling"})
      if (Json* rope = json.find(place); rope && rope->is_object()) rope->set("rope_theta", *theta);

  const bool given = json.contains("vocab_size");
  const std::string origin = model.path.empty() ? "model" : model.path;
  if (!given && vocab_size > 0) json.set("vocab_size", vocab_size);
  if (!given && vocab_size == 0)
    usage_error("the vocabulary size is unknown: set tokenizer.path or model.vocab_size");
  const ModelInfo info = model_info(json, origin);
  check_model_fields(model.fields, info.model_type, [](const std::string& key) { return key; });
  if (info.vocab_size < vocab_size)
    usage_error("{}: vocab_size = {} is smaller than the tokenizer's {}", origin, info.vocab_size,
                vocab_size);
  if (config.data.seq > info.max_positions)
    usage_error("data.seq = {} exceeds the model's {} = {}", config.data.seq,
                info.model_type == "gpt2" ? "n_positions" : "max_position_embeddings",
                info.max_positions);
  for (const char* name : {"bos_token_id", "eos_token_id"}) {
    if (model.fields.contains(name) || (!model.path.empty() && model.init != "random")) continue;
    json.set(name, end_of_text >= 0 ? Json(end_of_text) : Json());
  }
  return json.dump(2);
}

std::string seq2seq_config_json(const Config& config, const TokenizerInfo& tokenizer) {
  const ModelConfig& model = config.model;
  const bool fresh = model.path.empty() || model.init == "random";
  Json json = Json::object();
  if (model.path.empty())
    json.set("model_type", model.model_type);
  else
    json = fresh ? read_config_json(model.path) : seq2seq_folder_config(model.path);
  for (const auto& [name, value] : model.fields.items()) json.set(name, value);
  const std::string origin = model.path.empty() ? "model" : model.path;
  if (!json.contains("vocab_size")) {
    if (tokenizer.vocab_size == 0)
      usage_error("the vocabulary size is unknown: set tokenizer.path or model.vocab_size");
    json.set("vocab_size", tokenizer.vocab_size);
  }
  const auto fill = [&](const char* name, std::optional<int64_t> id) {
    if (!json.contains(name) && id) json.set(name, *id);
  };
  if (model.path.empty() && tokenizer.tokenizer) {
    std::optional<int64_t> end, padding = tokenizer.tokenizer->special_id("pad");
    if (!padding) padding = tokenizer.tokenizer->token_to_id("<pad>");
    if (tokenizer.end_of_text >= 0) end = tokenizer.end_of_text;
    fill("eos_token_id", end);
    fill("pad_token_id", padding ? padding : end);
  }
  if (fresh)
    if (const Json* padding = json.find("pad_token_id"); padding && padding->is_int())
      fill("decoder_start_token_id", padding->as_int());
  const Seq2SeqInfo info = seq2seq_info(json, origin);
  check_model_fields(model.fields, info.model_type, [](const std::string& key) { return key; });
  if (info.vocab_size < tokenizer.vocab_size)
    usage_error("{}: vocab_size = {} is smaller than the tokenizer's {}", origin, info.vocab_size,
                tokenizer.vocab_size);
  return json.dump(2);
}

Json pretrained_generation_config(const std::string& config_json, const std::string& folder) {
  Json generation =
      read_optional_json(join_path(folder, "generation_config.json")).value_or(Json());
  if (!generation.is_object()) return generation;
  const Json asked = Json::parse(config_json, "config.json"), stored = read_config_json(folder);
  // What the configuration of the run says otherwise than the folder counts here, too.
  for (const char* key :
       {"bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"}) {
    const Json *wanted = asked.find(key), *before = stored.find(key);
    if (wanted && !wanted->is_null() && !(before && *before == *wanted) && generation.contains(key))
      generation.set(key, *wanted);
  }
  return generation;
}

std::unique_ptr<CausalLM> build_model(const std::string& config_json, const std::string& weights,
                                      int64_t seed) {
  std::unique_ptr<CausalLM> model = make_model(config_json);
  if (weights.empty())
    model->initialize(seed);
  else
    load_pretrained(*model, config_json, weights);
  return model;
}

int64_t count_parameters(const std::string& config_json) {
  const Json json = Json::parse(config_json, "config.json");
  const Json* type = json.is_object() ? json.find("model_type") : nullptr;
  if (type && type->is_string() && is_seq2seq_type(type->as_string()))
    return seq2seq_info(json, "config.json").num_parameters;
  return model_info(json, "config.json").num_parameters;
}

void require_training_memory(const std::string& config_json, const Config& config) {
  if (config.is_classification()) return;
  const auto parameters = static_cast<uint64_t>(count_parameters(config_json));
  // Weights of four bytes each, and two moments unless they are frozen.
  require_memory(
      (config.lora.r > 0 ? 4 : 12) * parameters,
      format("the training state of {:.1f} M parameters", static_cast<double>(parameters) * 1e-6),
      "choose a smaller model");
}

void require_memory(uint64_t bytes, const std::string& what, const std::string& hint) {
  // The code itself, the tokenizer and the allocator need some as well.
  const uint64_t margin = (uint64_t{32} << 20) + bytes / 32;
  uint64_t available = available_memory_bytes();
  available -= std::min(available, static_cast<uint64_t>(runtime::untouched_memory()));
  if (bytes + margin <= available) return;
  resource_error("{} needs {} ({} bytes) and {} to spare, but only {} of memory are available: {}",
                 what, format_bytes(bytes), bytes, format_bytes(margin), format_bytes(available),
                 hint);
}

}  // namespace corten
