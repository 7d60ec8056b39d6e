#include "models/gemma2/gemma2.h"

#include <cmath>

#include "models/config_fields.h"

namespace corten::gemma2 {

Block::Block(const layers::DecoderConfig& c, int64_t layer)
    : self_attn_(c, layer),
      mlp_(c),
      input_layernorm_(c.hidden_size, c.rms_norm_eps, c.norm_offset),
      post_attention_layernorm_(c.hidden_size, c.rms_norm_eps, c.norm_offset),
      pre_feedforward_layernorm_(c.hidden_size, c.rms_norm_eps, c.norm_offset),
      post_feedforward_layernorm_(c.hidden_size, c.rms_norm_eps, c.norm_offset) {
  register_module("self_attn", self_attn_);
  register_module("mlp", mlp_);
  register_module("input_layernorm", input_layernorm_);
  register_module("post_attention_layernorm", post_attention_layernorm_);
  register_module("pre_feedforward_layernorm", pre_feedforward_layernorm_);
  register_module("post_feedforward_layernorm", post_feedforward_layernorm_);
}

Tensor Block::operator()(const Tensor& x_BTC, const layers::DecoderCall& call) {
  return run({x_BTC}, [&](const std::vector<Tensor>& in) {
    Tensor h_BTC = in[0] + post_attention_layernorm_(self_attn_(input_layernorm_(in[0]), call));
    return h_BTC + post_feedforward_layernorm_(mlp_(pre_feedforward_layernorm_(h_BTC)));
  });
}

namespace {

void check_cap(std::string_view source, std::string_view key, std::optional<double> cap) {
  if (cap && !(*cap > 0)) usage_error("{}: \"{}\" is {}, not positive", source, key, *cap);
}

layers::DecoderConfig read(const Json& json, std::string_view source) {
  layers::DecoderConfig config;
  config.vocab_size = 256000;
  config.hidden_size = 2304;
  config.intermediate_size = 9216;
  config.num_hidden_layers = 26;
  config.num_attention_heads = 8;
  if (!json.contains("num_key_value_heads")) config.num_key_value_heads = 4;
  if (!json.contains("head_dim")) config.head_dim = 256;
  config.max_position_embeddings = 8192;
  config.hidden_act = "gelu_pytorch_tanh";
  config.tie_word_embeddings = true;
  config.bos_token_id = 2;
  config.eos_token_id = {1};
  layers::read_decoder_fields(config, json, source, "hidden_activation");
  config.norm_offset = 1;
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden_size));
  config.query_pre_attn_scalar = 256;
  config.attn_logit_softcapping = 50;
  config.final_logit_softcapping = 30;
  std::optional<int64_t> window = 4096;
  FieldReader fields(json, source);
  fields("attention_bias", config.query_key_value_bias);
  config.output_bias = config.query_key_value_bias;
  if (json.contains("query_pre_attn_scalar") && !json.at("query_pre_attn_scalar").is_null())
    fields("query_pre_attn_scalar", config.query_pre_attn_scalar);
  fields("attn_logit_softcapping", config.attn_logit_softcapping);
  fields("final_logit_softcapping", config.final_logit_softcapping);
  fields("sliding_window", window);
  if (!(*config.query_pre_attn_scalar > 0))
    usage_error("{}: \"query_pre_attn_scalar\" is {}, not positive", source,
                *config.query_pre_attn_scalar);
  check_cap(source, "attn_logit_softcapping", config.attn_logit_softcapping);
  check_cap(source, "final_logit_softcapping", config.final_logit_softcapping);
  config.windows = layers::read_windows(
      config, json, source, window, [](int64_t layer, int64_t) { return layer % 2 == 0; }, 0);

  layers::finish_json(config, json, kFamily.model_type, kFamily.architecture, "hidden_activation");
  const auto fill = [&](std::string_view key, const Json& value) {
    if (!config.json.contains(key)) config.json.set(key, value);
  };
  fill("attention_bias", config.query_key_value_bias);
  fill("query_pre_attn_scalar", 256);
  fill("attn_logit_softcapping", 50.0);
  fill("final_logit_softcapping", 30.0);
  fill("sliding_window", 4096);
  return config;
}

}  // namespace

const layers::DecoderFamily kFamily = {
    .model_type = "gemma2",
    .architecture = "Gemma2ForCausalLM",
    .norms_per_layer = 4,
    .read = read,
    .make_block = [](const layers::DecoderConfig& config, int64_t layer)
        -> std::unique_ptr<layers::Block> { return std::make_unique<Block>(config, layer); }};

}  // namespace corten::gemma2
