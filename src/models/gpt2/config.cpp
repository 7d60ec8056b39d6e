#include "models/gpt2/config.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/format.h"
#include "models/token_ids.h"

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

constexpr std::array kActivations = {
    "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu", "relu", "silu", "swish", "tanh"};

class Reader {
 public:
  Reader(const Json& json, std::string_view source) : json_(json), source_(source) {}

  void operator()(std::string_view key, int64_t& value) {
    if (const Json* found = find(key)) value = found->as_int(what(key));
  }
  void operator()(std::string_view key, std::optional<int64_t>& value) {
    if (!json_.contains(key)) return;
    value.reset();
    if (const Json* found = find(key)) value = found->as_int(what(key));
  }
  void operator()(std::string_view key, double& value) {
    if (const Json* found = find(key)) value = found->as_double(what(key));
  }
  void operator()(std::string_view key, bool& value) {
    if (const Json* found = find(key)) value = found->as_bool(what(key));
  }
  void operator()(std::string_view key, std::string& value) {
    if (const Json* found = find(key)) value = found->as_string(what(key));
  }
  void operator()(std::string_view key, std::vector<int64_t>& value) {
    if (!json_.contains(key)) return;
    value = token_ids(json_.at(key), what(key));
  }

 private:
  const Json* find(std::string_view key) const {
    const Json* found = json_.find(key);
    return found && !found->is_null() ? found : nullptr;
  }
  std::string what(std::string_view key) const { return format("{}: \"{}\"", source_, key); }

  const Json& json_;
  std::string_view source_;
};

class Writer {
 public:
  explicit Writer(Json& json) : json_(json) {}
  template <typename T>
  void operator()(std::string_view key, const T& value) {
    json_.set(key, Json(value));
  }
  void operator()(std::string_view key, const std::optional<int64_t>& value) {
    json_.set(key, value ? Json(*value) : Json());
  }
  void operator()(std::string_view key, const std::vector<int64_t>& value) {
    json_.set(key, token_ids_json(value));
  }

 private:
  Json& json_;
};

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
  for (const char* key : {"add_cross_attention", "is_encoder_decoder", "quantization_config"})
    if (const Json* value = json.find(key); value && !value->is_null() && *value != Json(false) &&
                                            !(value->is_object() && value->empty()))
      usage_error("{}: \"{}\" is set, which GPT-2 models of Corten do not support", source, key);
  if (const Json* pruned = json.find("pruned_heads"); pruned && !pruned->empty())
    usage_error("{}: \"pruned_heads\" is set: models with heads taken out are not supported",
                source);
  if (const Json* type = json.find("model_type"))
    if (!type->is_string() || type->as_string() != "gpt2")
      usage_error("{}: \"model_type\" is {}, not \"gpt2\"", source, type->dump());
}

void check_values(const GPT2Config& c, std::string_view source) {
  auto range = [&](std::string_view key, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high)
      usage_error("{}: \"{}\" is {}, not between {} and {}", source, key, value, low, high);
  };
  constexpr int64_t kMany = int64_t{1} << 24;  // keeps all products below 2^63
  range("vocab_size", c.vocab_size, 1, kMany);
  range("n_positions", c.n_positions, 1, kMany);
  range("n_embd", c.n_embd, 1, 1 << 20);
  range("n_layer", c.n_layer, 1, 4096);
  range("n_head", c.n_head, 1, c.n_embd);
  range("n_inner", c.inner(), 1, kMany);
  if (c.n_embd % c.n_head != 0)
    usage_error("{}: \"n_embd\" {} is no multiple of \"n_head\" {}", source, c.n_embd, c.n_head);
  auto probability = [&](std::string_view key, double value) {
    if (!(value >= 0 && value <= 1))
      usage_error("{}: \"{}\" is {}, not between 0 and 1", source, key, value);
  };
  probability("resid_pdrop", c.resid_pdrop);
  probability("embd_pdrop", c.embd_pdrop);
  probability("attn_pdrop", c.attn_pdrop);
  if (!(c.layer_norm_epsilon >= 0) || !(c.initializer_range >= 0))
    usage_error("{}: \"layer_norm_epsilon\" {} or \"initializer_range\" {} is negative", source,
                c.layer_norm_epsilon, c.initializer_range);
  if (std::ranges::find(kActivations, c.activation_function) == kActivations.end())
    usage_error("{}: \"activation_function\" \"{}\" is not supported (known: {})", source,
                c.activation_function, fmt::join(kActivations, ", "));
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
  visit_fields(config, Reader(others, source));
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
  visit_fields(config, Writer(out));
  const Json others = Json::parse(config.other_fields, "GPT2Config::other_fields");
  for (const auto& [key, value] : others.items("GPT2Config::other_fields")) out.set(key, value);
  return out;
}

GPT2Config GPT2Config::from_json(std::string_view text, std::string_view source) {
  return gpt2_config(Json::parse(text, source), source);
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
