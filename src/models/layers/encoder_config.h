// What the encoder families have in common, as read from their config.json. A family says in its
// own folder under which keys it holds them and which defaults it has.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace corten::layers {

/// The keys of config.json that differ between families; empty: the family has no such field.
struct EncoderKeys {
  std::string_view hidden_size = "hidden_size", num_hidden_layers = "num_hidden_layers",
                   num_attention_heads = "num_attention_heads",
                   intermediate_size = "intermediate_size", hidden_act = "hidden_act",
                   hidden_dropout = "hidden_dropout_prob",
                   attention_dropout = "attention_probs_dropout_prob",
                   classifier_dropout = "classifier_dropout", type_vocab_size = "type_vocab_size",
                   layer_norm_eps = "layer_norm_eps", sinusoidal_positions = "";
};

struct EncoderConfig {
  // ---- Fields of config.json, with BERT's defaults.
  int64_t vocab_size = 30522, hidden_size = 768, intermediate_size = 3072;
  int64_t num_hidden_layers = 12, num_attention_heads = 12;
  int64_t max_position_embeddings = 512, type_vocab_size = 2;
  std::string hidden_act = "gelu";
  double hidden_dropout = 0.1, attention_dropout = 0.1;
  std::optional<double> classifier_dropout;  ///< unset: hidden_dropout
  double initializer_range = 0.02, layer_norm_eps = 1e-12;
  std::optional<int64_t> pad_token_id = 0;  ///< its embedding gets no gradient from being looked up
  bool tie_word_embeddings = true;
  bool sinusoidal_positions = false;  ///< what position embeddings start from
  int64_t num_labels = 2;
  std::string problem_type;  ///< empty: by the labels

  // ---- What families set.
  /// Positions count the ids that are no padding, from pad_token_id + 1 on (RoBERTa).
  bool positions_from_ids = false;

  Json json = Json::object();  ///< the whole config, with the fields above filled in

  int64_t first_position() const { return positions_from_ids ? *pad_token_id + 1 : 0; }
  int64_t max_positions() const { return max_position_embeddings - first_position(); }
  /// Of embeddings and layers, without pooler and heads.
  int64_t encoder_parameters() const;
};

/// Reads the fields over the defaults in `config` and checks them. Usage error "source: ..." with
/// the values for wrong types, impossible sizes and features that are missing here.
void read_encoder_fields(EncoderConfig& config, const Json& json, std::string_view source,
                         std::string_view model_type, const EncoderKeys& keys = {});
/// Another number of labels, named LABEL_0, LABEL_1, ...
void set_num_labels(EncoderConfig& config, int64_t labels);

}  // namespace corten::layers
