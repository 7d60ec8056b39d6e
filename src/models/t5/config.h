// T5's fields of config.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace corten::t5 {

/// Defaults are those of transformers' T5Config.
struct Config {
  int64_t vocab_size = 32128, d_model = 512, d_kv = 64, d_ff = 2048;
  int64_t num_layers = 6, num_heads = 8;
  std::optional<int64_t> num_decoder_layers;  ///< unset: num_layers
  int64_t relative_attention_num_buckets = 32, relative_attention_max_distance = 128;
  double dropout_rate = 0.1, layer_norm_epsilon = 1e-6, initializer_factor = 1;
  /// An activation, or "gated-" and one; "gated-gelu" means the tanh approximation.
  std::string feed_forward_proj = "relu";
  bool tie_word_embeddings = true;
  /// Whether states are scaled by d_model^-0.5 before the head; unset: where that is tied, as
  /// transformers 4 has it. transformers 5 ties all heads that do not differ and writes this.
  std::optional<bool> scale_decoder_outputs;
  std::optional<int64_t> pad_token_id = 0, decoder_start_token_id, bos_token_id;
  std::vector<int64_t> eos_token_id = {1};

  std::string activation = "relu";  ///< of the feed-forward layers
  bool is_gated = false;
  Json json = Json::object();  ///< the whole config, with the fields above filled in

  bool scales_outputs() const { return scale_decoder_outputs.value_or(tie_word_embeddings); }
  int64_t decoder_layers() const { return num_decoder_layers.value_or(num_layers); }
  int64_t inner() const { return num_heads * d_kv; }
  /// Of embeddings and layers, without a head.
  int64_t num_parameters() const;
  /// Of the products of `batch` inputs of `tokens` tokens and outputs of `decoder_tokens`, with a
  /// head.
  double forward_flops(int64_t batch, int64_t tokens, int64_t decoder_tokens) const;
};

/// Usage error "source: ..." with the values for wrong types, impossible sizes and features that
/// are missing here.
Config read_config(const Json& json, std::string_view source);

}  // namespace corten::t5
