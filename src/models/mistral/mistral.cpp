#include "models/mistral/mistral.h"

#include "models/config_fields.h"
#include "models/llama/llama.h"

namespace corten::mistral {
namespace {

layers::DecoderConfig read(const Json& json, std::string_view source) {
  layers::DecoderConfig config;
  config.intermediate_size = 14336;
  if (!json.contains("num_key_value_heads")) config.num_key_value_heads = 8;
  config.max_position_embeddings = 4096 * 32;
  layers::read_decoder_fields(config, json, source);
  std::optional<int64_t> window = 4096;
  FieldReader(json, source)("sliding_window", window);
  if (window) check_field(source, "sliding_window", *window, 1, kManyTokens);
  config.windows.assign(static_cast<size_t>(config.num_hidden_layers), window.value_or(0));
  layers::finish_json(config, json, kFamily.model_type, kFamily.architecture);
  config.json.set("sliding_window", window ? Json(*window) : Json());
  return config;
}

}  // namespace

const layers::DecoderFamily kFamily = {.model_type = "mistral",
                                       .architecture = "MistralForCausalLM",
                                       .norms_per_layer = 2,
                                       .read = read,
                                       .make_block = llama::make_block};

}  // namespace corten::mistral
