#include "models/llama/llama.h"

#include "models/config_fields.h"

namespace corten::llama {

Block::Block(const layers::DecoderConfig& c, int64_t layer)
    : self_attn_(c, layer),
      mlp_(c),
      input_layernorm_(c.hidden_size, c.rms_norm_eps, c.norm_offset),
      post_attention_layernorm_(c.hidden_size, c.rms_norm_eps, c.norm_offset) {
  register_module("self_attn", self_attn_);
  register_module("mlp", mlp_);
  register_module("input_layernorm", input_layernorm_);
  register_module("post_attention_layernorm", post_attention_layernorm_);
}

Tensor Block::operator()(const Tensor& x_BTC, const layers::DecoderCall& call) {
  return run({x_BTC}, [&](const std::vector<Tensor>& in) {
    Tensor h_BTC = in[0] + self_attn_(input_layernorm_(in[0]), call);
    return h_BTC + mlp_(post_attention_layernorm_(h_BTC));
  });
}

std::unique_ptr<layers::Block> make_block(const layers::DecoderConfig& config, int64_t layer) {
  return std::make_unique<Block>(config, layer);
}

namespace {

layers::DecoderConfig read(const Json& json, std::string_view source) {
  layers::DecoderConfig config;
  layers::read_decoder_fields(config, json, source);
  FieldReader fields(json, source);
  fields("attention_bias", config.query_key_value_bias);
  config.output_bias = config.query_key_value_bias;
  fields("mlp_bias", config.mlp_bias);
  layers::finish_json(config, json, kFamily.model_type, kFamily.architecture);
  config.json.set("attention_bias", config.query_key_value_bias).set("mlp_bias", config.mlp_bias);
  return config;
}

}  // namespace

const layers::DecoderFamily kFamily = {.model_type = "llama",
                                       .architecture = "LlamaForCausalLM",
                                       .norms_per_layer = 2,
                                       .read = read,
                                       .make_block = make_block};

}  // namespace corten::llama
