#include "models/qwen3/qwen3.h"

#include "models/config_fields.h"
#include "models/llama/llama.h"
#include "models/qwen2/qwen2.h"

namespace corten::qwen3 {
namespace {

layers::DecoderConfig read(const Json& json, std::string_view source) {
  layers::DecoderConfig config;
  if (!json.contains("head_dim")) config.head_dim = 128;
  qwen2::read_fields(config, json, source);
  FieldReader(json, source)("attention_bias", config.query_key_value_bias);
  config.output_bias = config.query_key_value_bias;
  config.query_key_norm = true;
  qwen2::finish_json(config, json, kFamily);
  config.json.set("attention_bias", config.query_key_value_bias);
  return config;
}

}  // namespace

const layers::DecoderFamily kFamily = {.model_type = "qwen3",
                                       .architecture = "Qwen3ForCausalLM",
                                       .norms_per_layer = 2,
                                       .read = read,
                                       .make_block = llama::make_block};

}  // namespace corten::qwen3
