#include "models/layers/decoder_config.h"

#include "models/config_fields.h"
#include "models/layers/activation.h"

namespace corten::layers {
namespace {

template <typename Config, typename Visit>
void visit_fields(Config& c, std::string_view activation, Visit&& visit) {
  visit("vocab_size", c.vocab_size);
  visit("hidden_size", c.hidden_size);
  visit("intermediate_size", c.intermediate_size);
  visit("num_hidden_layers", c.num_hidden_layers);
  visit("num_attention_heads", c.num_attention_heads);
  visit("num_key_value_heads", c.num_key_value_heads);
  visit("head_dim", c.head_dim);
  visit("max_position_embeddings", c.max_position_embeddings);
  visit(activation, c.hidden_act);
  visit("initializer_range", c.initializer_range);
  visit("rms_norm_eps", c.rms_norm_eps);
  visit("attention_dropout", c.attention_dropout);
  visit("tie_word_embeddings", c.tie_word_embeddings);
  visit("bos_token_id", c.bos_token_id);
  visit("eos_token_id", c.eos_token_id);
  visit("pad_token_id", c.pad_token_id);
}

void check_sizes(const DecoderConfig& c, std::string_view source) {
  check_field(source, "vocab_size", c.vocab_size, 1, kManyTokens);
  check_field(source, "hidden_size", c.hidden_size, 1, 1 << 20);
  check_field(source, "intermediate_size", c.intermediate_size, 1, kManyTokens);
  check_field(source, "num_hidden_layers", c.num_hidden_layers, 1, 4096);
  check_field(source, "num_attention_heads", c.num_attention_heads, 1, 1 << 16);
  check_field(source, "num_key_value_heads", c.kv_heads(), 1, c.num_attention_heads);
  check_field(source, "max_position_embeddings", c.max_position_embeddings, 1, kManyTokens);
  if (c.heads() % c.kv_heads() != 0)
    usage_error("{}: \"num_attention_heads\" {} is no multiple of \"num_key_value_heads\" {}",
                source, c.heads(), c.kv_heads());
  if (!c.head_dim && c.hidden_size % c.heads() != 0)
    usage_error(
        "{}: \"hidden_size\" {} is no multiple of \"num_attention_heads\" {}: set "
        "\"head_dim\"",
        source, c.hidden_size, c.heads());
  check_field(source, "head_dim", c.head_size(), 2, 1 << 14);
  if (c.head_size() % 2 != 0)
    usage_error("{}: \"head_dim\" is {}, but rotary embeddings turn pairs: make it even", source,
                c.head_size());
  check_probability(source, "attention_dropout", c.attention_dropout);
  if (!(c.rms_norm_eps >= 0) || !(c.initializer_range >= 0))
    usage_error("{}: \"rms_norm_eps\" {} or \"initializer_range\" {} is negative", source,
                c.rms_norm_eps, c.initializer_range);
}

}  // namespace

void read_decoder_fields(DecoderConfig& config, const Json& json, std::string_view source,
                         std::string_view activation) {
  if (!json.is_object()) usage_error("{}: expected an object, found {}", source, json.type_name());
  refuse_quantized(json, source);
  refuse_fields(
      json, source,
      {"add_cross_attention", "is_encoder_decoder", "pruned_heads", "use_bidirectional_attention"},
      "decoder");
  if (const Json* part = json.find("partial_rotary_factor"); part && !part->is_null())
    if (const double factor = part->as_double(format("{}: \"partial_rotary_factor\"", source));
        factor != 1)
      usage_error(
          "{}: \"partial_rotary_factor\" is {}: turning a part of each head is not "
          "supported",
          source, factor);
  visit_fields(config, activation, FieldReader(json, source));
  check_sizes(config, source);
  check_activation(source, activation, config.hidden_act);
  config.rope = read_rope(json, source, config.max_position_embeddings);
  if (config.rope.type == "dynamic" && config.head_size() < 4)
    usage_error("{}: \"head_dim\" {} is too small for rotary embeddings of type \"dynamic\"",
                source, config.head_size());
}

std::vector<int64_t> read_windows(const DecoderConfig& config, const Json& json,
                                  std::string_view source, std::optional<int64_t> window,
                                  bool (*is_sliding)(int64_t layer, int64_t from), int64_t from) {
  if (window) check_field(source, "sliding_window", *window, 1, kManyTokens);
  std::vector<int64_t> out;
  const Json* types = json.find("layer_types");
  if (!types || types->is_null()) {
    for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer)
      out.push_back(window && is_sliding(layer, from) ? *window : 0);
    return out;
  }
  const std::string what = format("{}: \"layer_types\"", source);
  for (const Json& type : types->elements(what)) {
    const std::string& name = type.as_string(what);
    if (name != "full_attention" && name != "sliding_attention")
      usage_error("{}: \"{}\" is not supported (known: full_attention, sliding_attention)", what,
                  name);
    if (name == "sliding_attention" && !window)
      usage_error("{} has \"sliding_attention\", but \"sliding_window\" is not set", what);
    out.push_back(name == "sliding_attention" ? *window : 0);
  }
  if (static_cast<int64_t>(out.size()) != config.num_hidden_layers)
    usage_error("{} has {} entries, but \"num_hidden_layers\" is {}", what, out.size(),
                config.num_hidden_layers);
  return out;
}

void finish_json(DecoderConfig& config, const Json& json, std::string_view model_type,
                 std::string_view architecture, std::string_view activation) {
  Json out =
      Json::object({{"architectures", Json(std::vector<std::string>{std::string(architecture)})},
                    {"model_type", model_type}});
  for (const auto& [key, value] : json.items("config"))
    if (key != "model_type" && key != "architectures") out.set(key, value);
  DecoderConfig full = config;
  full.num_key_value_heads = config.kv_heads();
  Json fields = Json::object();
  visit_fields(full, activation, FieldWriter(fields));
  for (const auto& [key, value] : fields.items("config"))
    if (!out.contains(key) && !(key == "head_dim" && value.is_null())) out.set(key, value);
  if (!out.contains("rope_parameters") && !out.contains("rope_scaling"))
    write_rope(config.rope, out);
  config.json = std::move(out);
}

int64_t DecoderConfig::num_parameters(int64_t norms_per_layer) const {
  const int64_t C = hidden_size, F = intermediate_size, D = head_size();
  const int64_t Q = heads() * D, K = kv_heads() * D;
  int64_t layer = C * (Q + 2 * K) + Q * C + 3 * C * F + norms_per_layer * C;
  if (query_key_value_bias) layer += Q + 2 * K;
  if (output_bias) layer += C;
  if (mlp_bias) layer += 2 * F + C;
  if (query_key_norm) layer += 2 * D;
  return num_hidden_layers * layer + C + (tie_word_embeddings ? 1 : 2) * vocab_size * C;
}

}  // namespace corten::layers
