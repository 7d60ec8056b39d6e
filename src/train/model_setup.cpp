#include "train/model_setup.h"

#include <algorithm>

#include "base/file.h"
#include "base/format.h"
#include "base/process.h"
#include "base/strings.h"
#include "models/auto_model.h"
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
    const std::string file = join_path(model.path, "config.json");
    json = Json::parse(read_file(file, 16 << 20), file);
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

std::unique_ptr<CausalLM> build_model(const std::string& config_json, const std::string& weights,
                                      int64_t seed) {
  std::unique_ptr<CausalLM> model = make_model(config_json);
  if (weights.empty())
    model->initialize(seed);
  else
    model->load_weights(weights);
  return model;
}

int64_t count_parameters(const std::string& config_json) {
  return model_info(config_json).num_parameters;
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
