#include "models/gpt2/config.h"

#include <array>
#include <utility>

#include "base/json_file.h"
#include "models/config_fields.h"
#include "models/layers/activation.h"

namespace corten {
namespace {

/// One loop over the fields serves reading and writing.
template <typename Config, typename Visit>
void visit_fields(Config& c, Visit&& visit) {
  visit("vocab_size", c.vocab_size);
  visit("n_positions", c.n_positions);
  visit("n_embd", c.n_embd);
  visit("n_layer", c.n_layer);
  visit("n_head", c.n_head);
  visit("n_inner", c.n_inner);
  visit("activation_function", c.activation_function);
  visit("resid_pdrop", c.resid_pdrop);
  visit("embd_pdrop", c.embd_pdrop);
  visit("attn_pdrop", c.attn_pdrop);
  visit("layer_norm_epsilon", c.layer_norm_epsilon);
  visit("initializer_range", c.initializer_range);
  visit("scale_attn_weights", c.scale_attn_weights);
  visit("scale_attn_by_inverse_layer_idx", c.scale_attn_by_inverse_layer_idx);
  visit("tie_word_embeddings", c.tie_word_embeddings);
  visit("bos_token_id", c.bos_token_id);
  visit("eos_token_id", c.eos_token_id);
}

/// transformers' general names of some fields.
constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kAliases = {{
    {"hidden_size", "n_embd"},
    {"max_position_embeddings", "n_positions"},
    {"num_attention_heads", "n_head"},
    {"num_hidden_layers", "n_layer"},
}};

/// Usage error for fields of transformers' GPT2Config whose other values change the model in ways
/// that it lacks here.
void check_features(const Json& json, std::string_view source) {
  refuse_quantized(json, source);
  refuse_fields(json, source, {"add_cross_attention", "is_encoder_decoder"}, "GPT-2");
  if (const Json* pruned = json.find("pruned_heads"); pruned && !pruned->empty())
    usage_error("{}: \"pruned_heads\" is set: models with heads taken out are not supported",
                source);
  if (const Json* type = json.find("model_type"))
    if (!type->is_string() || type->as_string() != "gpt2")
      usage_error("{}: \"model_type\" is {}, not \"gpt2\"", source, type->dump());
}

void check_values(const GPT2Config& c, std::string_view source) {
  const auto range = [&](std::string_view key, int64_t value, int64_t low, int64_t high) {
    check_field(source, key, value, low, high);
  };
  range("vocab_size", c.vocab_size, 1, kManyTokens);
  range("n_positions", c.n_positions, 1, kManyTokens);
  range("n_embd", c.n_embd, 1, 1 << 20);
  range("n_layer", c.n_layer, 1, 4096);
  range("n_head", c.n_head, 1, c.n_embd);
  range("n_inner", c.inner(), 1, kManyTokens);
  if (c.n_embd % c.n_head != 0)
    usage_error("{}: \"n_embd\" {} is no multiple of \"n_head\" {}", source, c.n_embd, c.n_head);
  check_probability(source, "resid_pdrop", c.resid_pdrop);
  check_probability(source, "embd_pdrop", c.embd_pdrop);
  check_probability(source, "attn_pdrop", c.attn_pdrop);
  if (!(c.layer_norm_epsilon >= 0) || !(c.initializer_range >= 0))
    usage_error("{}: \"layer_norm_epsilon\" {} or \"initializer_range\" {} is negative", source,
                c.layer_norm_epsilon, c.initializer_range);
  layers::check_activation(source, "activation_function", c.activation_function);
}

}  // namespace

GPT2Config gpt2_config(const Json& json, std::string_view source) {
  if (!json.is_object()) usage_error("{}: expected an object, found {}", source, json.type_name());
  check_features(json, source);
  Json others = json;
  for (const auto& [alias, key] : kAliases)
    if (const Json* value = json.find(alias)) {
      others.erase(alias);
      if (!json.contains(key)) others.set(key, *value);
    }
  GPT2Config config;
  visit_fields(config, FieldReader(others, source));
  check_values(config, source);
  for (const char* key : {"model_type", "architectures"}) others.erase(key);
  visit_fields(config, [&](std::string_view key, const auto&) { others.erase(key); });
  config.other_fields = others.dump();
  return config;
}

Json gpt2_config_json(const GPT2Config& config) {
  check_values(config, "GPT2Config");
  Json out = Json::object({{"architectures", Json(std::vector<std::string>{"GPT2LMHeadModel"})},
                           {"model_type", "gpt2"}});
  visit_fields(config, FieldWriter(out));
  const Json others = Json::parse(config.other_fields, "GPT2Config::other_fields");
  for (const auto& [key, value] : others.items("GPT2Config::other_fields")) out.set(key, value);
  return out;
}

GPT2Config GPT2Config::from_json(std::string_view text, std::string_view source) {
  return gpt2_config(parse_config(text, source), source);
}
int64_t GPT2Config::num_parameters() const {
  const int64_t C = n_embd, F = inner();
  const int64_t attention = 4 * C * C + 4 * C, mlp = 2 * C * F + F + C, norms = 4 * C;
  return (vocab_size + n_positions) * C + n_layer * (attention + mlp + norms) + 2 * C +
         (tie_word_embeddings ? 0 : vocab_size * C);
}
std::string GPT2Config::to_json() const {
  return gpt2_config_json(*this).dump(2) + "\n";
}

}  // namespace corten
