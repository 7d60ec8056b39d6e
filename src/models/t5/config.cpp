#include "models/t5/config.h"

#include "models/config_fields.h"
#include "models/layers/activation.h"

namespace corten::t5 {
namespace {

template <typename C, typename Visit>
void visit_fields(C& c, Visit&& visit) {
  visit("vocab_size", c.vocab_size);
  visit("d_model", c.d_model);
  visit("d_kv", c.d_kv);
  visit("d_ff", c.d_ff);
  visit("num_layers", c.num_layers);
  visit("num_decoder_layers", c.num_decoder_layers);
  visit("num_heads", c.num_heads);
  visit("relative_attention_num_buckets", c.relative_attention_num_buckets);
  visit("relative_attention_max_distance", c.relative_attention_max_distance);
  visit("dropout_rate", c.dropout_rate);
  visit("layer_norm_epsilon", c.layer_norm_epsilon);
  visit("initializer_factor", c.initializer_factor);
  visit("feed_forward_proj", c.feed_forward_proj);
  visit("tie_word_embeddings", c.tie_word_embeddings);
  visit("pad_token_id", c.pad_token_id);
  visit("eos_token_id", c.eos_token_id);
}

/// transformers reads these sizes under both names.
Json without_aliases(const Json& json) {
  Json out = json;
  for (const auto& [alias, key] : {std::pair{"hidden_size", "d_model"},
                                   {"num_attention_heads", "num_heads"},
                                   {"num_hidden_layers", "num_layers"},
                                   {"head_dim", "d_kv"}})
    if (const Json* value = json.find(alias)) {
      out.erase(alias);
      if (!json.contains(key)) out.set(key, *value);
    }
  return out;
}

void read_feed_forward(Config& c, const Json& json, std::string_view source) {
  constexpr std::string_view kGated = "gated-";
  const std::string_view name = c.feed_forward_proj;
  c.is_gated = name.starts_with(kGated);
  c.activation = c.is_gated ? name.substr(kGated.size()) : name;
  if (c.is_gated && c.activation == "gelu") c.activation = "gelu_new";
  // Written by transformers as what follows from the former, and what it goes by where it differs.
  FieldReader read(json, source);
  read("is_gated_act", c.is_gated);
  read("dense_act_fn", c.activation);
  layers::check_activation(
      source, json.contains("dense_act_fn") ? "dense_act_fn" : "feed_forward_proj", c.activation);
}

void check_sizes(const Config& c, std::string_view source) {
  check_field(source, "vocab_size", c.vocab_size, 1, kManyTokens);
  check_field(source, "d_model", c.d_model, 1, 1 << 20);
  check_field(source, "d_kv", c.d_kv, 1, 1 << 14);
  check_field(source, "d_ff", c.d_ff, 1, kManyTokens);
  check_field(source, "num_layers", c.num_layers, 1, 4096);
  check_field(source, "num_decoder_layers", c.decoder_layers(), 1, 4096);
  check_field(source, "num_heads", c.num_heads, 1, 1 << 16);
  check_field(source, "relative_attention_num_buckets", c.relative_attention_num_buckets, 4,
              1 << 20);
  // Half of the buckets are for distances one by one, the others reach beyond them.
  check_field(source, "relative_attention_max_distance", c.relative_attention_max_distance,
              c.relative_attention_num_buckets / 2 + 1, 1 << 20);
  check_probability(source, "dropout_rate", c.dropout_rate);
  if (!(c.layer_norm_epsilon >= 0) || !(c.initializer_factor >= 0))
    usage_error("{}: \"layer_norm_epsilon\" {} or \"initializer_factor\" {} is negative", source,
                c.layer_norm_epsilon, c.initializer_factor);
  for (const auto& [key, id] : {std::pair{"pad_token_id", c.pad_token_id},
                                {"decoder_start_token_id", c.decoder_start_token_id}})
    if (id) check_field(source, key, *id, 0, c.vocab_size - 1);
}

}  // namespace

Config read_config(const Json& given, std::string_view source) {
  if (!given.is_object())
    usage_error("{}: expected an object, found {}", source, given.type_name());
  refuse_fields(given, source, {"is_decoder", "quantization_config", "pruned_heads"}, "T5");
  const Json json = without_aliases(given);
  Config c;
  FieldReader read(json, source);
  visit_fields(c, read);
  read("decoder_start_token_id", c.decoder_start_token_id);
  read("bos_token_id", c.bos_token_id);
  if (const Json* value = json.find("scale_decoder_outputs"); value && !value->is_null())
    c.scale_decoder_outputs = value->as_bool(format("{}: \"scale_decoder_outputs\"", source));
  read_feed_forward(c, json, source);
  check_sizes(c, source);

  c.json = Json::object({{"model_type", "t5"}});
  for (const auto& [key, value] : json.items("config"))
    if (key != "model_type") c.json.set(key, value);
  Config full = c;
  full.num_decoder_layers = c.decoder_layers();
  Json fields = Json::object({{"is_encoder_decoder", true}});
  visit_fields(full, FieldWriter(fields));
  for (const auto& [key, value] : fields.items("config"))
    if (!c.json.contains(key)) c.json.set(key, value);
  return c;
}

int64_t Config::num_parameters() const {
  const int64_t attention = 4 * d_model * inner() + d_model;
  const int64_t feed_forward = (is_gated ? 3 : 2) * d_model * d_ff + d_model;
  return vocab_size * d_model + 2 * (relative_attention_num_buckets * num_heads + d_model) +
         num_layers * (attention + feed_forward) +
         decoder_layers() * (2 * attention + feed_forward);
}

double Config::forward_flops(int64_t batch, int64_t tokens, int64_t decoder_tokens) const {
  const auto B = static_cast<double>(batch), S = static_cast<double>(tokens),
             T = static_cast<double>(decoder_tokens);
  const auto C = static_cast<double>(d_model), I = static_cast<double>(inner());
  const double feed_forward = (is_gated ? 3 : 2) * C * static_cast<double>(d_ff);
  const double encoder = 2 * S * (4 * C * I + feed_forward) + 4 * S * S * I;
  // Its own tokens' triangle; of the input keys and values alone.
  const double own = 2 * T * (4 * C * I + feed_forward) + 4 * (T * (T + 1) / 2) * I;
  const double cross = 2 * (2 * T + 2 * S) * C * I + 4 * T * S * I;
  return B * (static_cast<double>(num_layers) * encoder +
              static_cast<double>(decoder_layers()) * (own + cross) +
              2 * T * C * static_cast<double>(vocab_size));
}

}  // namespace corten::t5
