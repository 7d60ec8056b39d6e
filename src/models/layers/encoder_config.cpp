#include "models/layers/encoder_config.h"

#include "models/config_fields.h"
#include "models/layers/activation.h"
#include "models/layers/labels.h"

namespace corten::layers {
namespace {

template <typename Config, typename Visit>
void visit_fields(Config& c, const EncoderKeys& keys, Visit&& visit) {
  const auto maybe = [&](std::string_view key, auto& field) {
    if (!key.empty()) visit(key, field);
  };
  visit("vocab_size", c.vocab_size);
  visit(keys.hidden_size, c.hidden_size);
  visit(keys.num_hidden_layers, c.num_hidden_layers);
  visit(keys.num_attention_heads, c.num_attention_heads);
  visit(keys.intermediate_size, c.intermediate_size);
  visit("max_position_embeddings", c.max_position_embeddings);
  maybe(keys.type_vocab_size, c.type_vocab_size);
  visit(keys.hidden_act, c.hidden_act);
  visit(keys.hidden_dropout, c.hidden_dropout);
  visit(keys.attention_dropout, c.attention_dropout);
  visit(keys.classifier_dropout, c.classifier_dropout);
  visit("initializer_range", c.initializer_range);
  maybe(keys.layer_norm_eps, c.layer_norm_eps);
  maybe(keys.sinusoidal_positions, c.sinusoidal_positions);
  visit("pad_token_id", c.pad_token_id);
  visit("tie_word_embeddings", c.tie_word_embeddings);
}

void check_sizes(const EncoderConfig& c, const EncoderKeys& keys, std::string_view source) {
  check_field(source, "vocab_size", c.vocab_size, 1, kManyTokens);
  check_field(source, keys.hidden_size, c.hidden_size, 1, 1 << 20);
  check_field(source, keys.num_hidden_layers, c.num_hidden_layers, 1, 4096);
  check_field(source, keys.num_attention_heads, c.num_attention_heads, 1, 1 << 16);
  check_field(source, keys.intermediate_size, c.intermediate_size, 1, kManyTokens);
  check_field(source, "max_position_embeddings", c.max_position_embeddings, 1, kManyTokens);
  if (!keys.type_vocab_size.empty())
    check_field(source, keys.type_vocab_size, c.type_vocab_size, 1, kManyTokens);
  if (c.hidden_size % c.num_attention_heads != 0)
    usage_error("{}: \"{}\" {} is no multiple of \"{}\" {}", source, keys.hidden_size,
                c.hidden_size, keys.num_attention_heads, c.num_attention_heads);
  if (c.pad_token_id) check_field(source, "pad_token_id", *c.pad_token_id, 0, c.vocab_size - 1);
  if (c.positions_from_ids && !c.pad_token_id)
    usage_error("{}: \"pad_token_id\" is null, but positions are counted from it", source);
  if (c.max_positions() < 1)
    usage_error("{}: \"max_position_embeddings\" {} leaves no position after \"pad_token_id\" {}",
                source, c.max_position_embeddings, c.first_position() - 1);
  check_probability(source, keys.hidden_dropout, c.hidden_dropout);
  check_probability(source, keys.attention_dropout, c.attention_dropout);
  check_probability(source, keys.classifier_dropout, c.classifier_dropout.value_or(0));
  if (!(c.layer_norm_eps >= 0) || !(c.initializer_range >= 0))
    usage_error("{}: \"layer_norm_eps\" {} or \"initializer_range\" {} is negative", source,
                c.layer_norm_eps, c.initializer_range);
  check_activation(source, keys.hidden_act, c.hidden_act);
}

/// Names of transformers for what the family calls differently: it reads them under both.
Json without_aliases(const Json& json, const EncoderKeys& keys) {
  const EncoderKeys usual;
  Json out = json;
  for (const auto& [alias, key] : {std::pair{usual.hidden_size, keys.hidden_size},
                                   {usual.num_hidden_layers, keys.num_hidden_layers},
                                   {usual.num_attention_heads, keys.num_attention_heads}})
    if (const Json* value = json.find(alias); value && alias != key) {
      out.erase(alias);
      if (!json.contains(key)) out.set(key, *value);
    }
  return out;
}

}  // namespace

void read_encoder_fields(EncoderConfig& config, const Json& given, std::string_view source,
                         std::string_view model_type, const EncoderKeys& keys) {
  if (!given.is_object())
    usage_error("{}: expected an object, found {}", source, given.type_name());
  refuse_fields(given, source,
                {"is_decoder", "add_cross_attention", "is_encoder_decoder", "quantization_config",
                 "pruned_heads"},
                "encoder");
  std::string positions = "absolute";
  FieldReader(given, source)("position_embedding_type", positions);
  if (positions != "absolute")
    usage_error("{}: \"position_embedding_type\" \"{}\" is not supported (known: absolute)", source,
                positions);
  const Json json = without_aliases(given, keys);
  visit_fields(config, keys, FieldReader(json, source));
  check_sizes(config, keys, source);
  const LabelsConfig labels = read_labels(json, source);
  config.num_labels = labels.num_labels;
  config.problem_type = labels.problem_type;

  config.json = Json::object({{"model_type", model_type}});
  for (const auto& [key, value] : json.items("config"))
    if (key != "model_type") config.json.set(key, value);
  Json fields = Json::object();
  visit_fields(config, keys, FieldWriter(fields));
  for (const auto& [key, value] : fields.items("config"))
    if (!config.json.contains(key)) config.json.set(key, value);
}

void set_num_labels(EncoderConfig& config, int64_t labels) {
  if (labels != config.num_labels) name_labels(config.json, labels);
  config.num_labels = labels;
}

int64_t EncoderConfig::encoder_parameters() const {
  const int64_t C = hidden_size, F = intermediate_size;
  const int64_t layer = 4 * (C * C + C) + C * F + F + F * C + C + 4 * C;
  return (vocab_size + max_position_embeddings + type_vocab_size) * C + 2 * C +
         num_hidden_layers * layer;
}

}  // namespace corten::layers
