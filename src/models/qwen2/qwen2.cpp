#include "models/qwen2/qwen2.h"

#include "models/config_fields.h"
#include "models/llama/llama.h"

namespace corten::qwen2 {

void read_fields(layers::DecoderConfig& config, const Json& json, std::string_view source) {
  config.vocab_size = 151936;
  config.intermediate_size = 22016;
  if (!json.contains("num_key_value_heads")) config.num_key_value_heads = 32;
  config.max_position_embeddings = 32768;
  config.bos_token_id = {};
  config.eos_token_id = {};
  layers::read_decoder_fields(config, json, source);
  bool slides = false;
  std::optional<int64_t> window = 4096;
  int64_t max_window_layers = 28;
  FieldReader fields(json, source);
  fields("use_sliding_window", slides);
  fields("sliding_window", window);
  fields("max_window_layers", max_window_layers);
  config.windows = layers::read_windows(
      config, json, source, slides ? window : std::nullopt,
      [](int64_t layer, int64_t from) { return layer >= from; }, max_window_layers);
}

void finish_json(layers::DecoderConfig& config, const Json& json,
                 const layers::DecoderFamily& family) {
  layers::finish_json(config, json, family.model_type, family.architecture);
  const auto fill = [&](std::string_view key, const Json& value) {
    if (!config.json.contains(key)) config.json.set(key, value);
  };
  fill("use_sliding_window", false);
  fill("sliding_window", config.json.at("use_sliding_window") == Json(true) ? Json(4096) : Json());
  fill("max_window_layers", 28);
}

namespace {

layers::DecoderConfig read(const Json& json, std::string_view source) {
  layers::DecoderConfig config;
  read_fields(config, json, source);
  config.query_key_value_bias = true;
  finish_json(config, json, kFamily);
  return config;
}

}  // namespace

const layers::DecoderFamily kFamily = {.model_type = "qwen2",
                                       .architecture = "Qwen2ForCausalLM",
                                       .norms_per_layer = 2,
                                       .read = read,
                                       .make_block = llama::make_block};

}  // namespace corten::qwen2
