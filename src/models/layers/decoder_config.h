// What the decoder families have in common, as read from their config.json. A family says in its
// own folder which defaults and features it has.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "corten/models.h"
#include "models/layers/rope_config.h"

namespace corten::layers {

struct DecoderConfig {
  // ---- Fields of config.json, under their names there.
  int64_t vocab_size = 32000, hidden_size = 4096, intermediate_size = 11008;
  int64_t num_hidden_layers = 32, num_attention_heads = 32;
  std::optional<int64_t> num_key_value_heads;  ///< unset: num_attention_heads
  std::optional<int64_t> head_dim;             ///< unset: hidden_size / num_attention_heads
  int64_t max_position_embeddings = 2048;
  std::string hidden_act = "silu";
  double initializer_range = 0.02, rms_norm_eps = 1e-6, attention_dropout = 0;
  bool tie_word_embeddings = false;
  std::optional<int64_t> bos_token_id = 1;
  std::vector<int64_t> eos_token_id = {2};
  std::optional<int64_t> pad_token_id;  ///< its embedding gets no gradient from being looked up
  RopeConfig rope;

  // ---- What families set.
  bool query_key_value_bias = false, output_bias = false, mlp_bias = false;
  bool query_key_norm = false;                  ///< RMS norm of every head's queries and keys
  std::vector<int64_t> windows = {};            ///< of each layer: keys that a query sees; 0: all
  std::optional<double> query_pre_attn_scalar;  ///< scores / sqrt of this; unset: head_dim
  std::optional<double> attn_logit_softcapping, final_logit_softcapping;
  double norm_offset = 0;      ///< norms multiply by weight + this
  double embedding_scale = 1;  ///< embeddings times this

  Json json = Json::object();  ///< the whole config, with the fields above filled in

  int64_t heads() const { return num_attention_heads; }
  int64_t kv_heads() const { return num_key_value_heads.value_or(num_attention_heads); }
  int64_t head_size() const { return head_dim.value_or(hidden_size / num_attention_heads); }
  int64_t window(int64_t layer) const {
    return windows.empty() ? 0 : windows[static_cast<size_t>(layer)];
  }
  int64_t num_parameters(int64_t norms_per_layer) const;
};

/// Reads the fields above over the defaults in `config` and checks them. Usage error "source: ..."
/// with the values for wrong types, impossible sizes and features that are missing here.
/// `activation`: the key under which the family holds hidden_act.
void read_decoder_fields(DecoderConfig& config, const Json& json, std::string_view source,
                         std::string_view activation = "hidden_act");
/// The window of every layer by "layer_types", or where the config has none by `is_sliding`.
std::vector<int64_t> read_windows(const DecoderConfig& config, const Json& json,
                                  std::string_view source, std::optional<int64_t> window,
                                  bool (*is_sliding)(int64_t layer, int64_t from), int64_t from);
/// Fills in config.json: what was read, then the fields that it left to defaults.
void finish_json(DecoderConfig& config, const Json& json, std::string_view model_type,
                 std::string_view architecture, std::string_view activation = "hidden_act");

}  // namespace corten::layers
