#include "models/vit/config.h"

#include <charconv>

#include "models/config_fields.h"
#include "models/layers/activation.h"

namespace corten::vit {
namespace {

template <typename C, typename Visit>
void visit_fields(C& c, Visit&& visit) {
  visit("hidden_size", c.hidden_size);
  visit("num_hidden_layers", c.num_hidden_layers);
  visit("num_attention_heads", c.num_attention_heads);
  visit("intermediate_size", c.intermediate_size);
  visit("hidden_act", c.hidden_act);
  visit("hidden_dropout_prob", c.hidden_dropout);
  visit("attention_probs_dropout_prob", c.attention_dropout);
  visit("initializer_range", c.initializer_range);
  visit("layer_norm_eps", c.layer_norm_eps);
  visit("qkv_bias", c.qkv_bias);
  visit("pooler_act", c.pooler_act);
}

void check(const Config& c, std::string_view source) {
  check_field(source, "hidden_size", c.hidden_size, 1, 1 << 20);
  check_field(source, "num_hidden_layers", c.num_hidden_layers, 1, 4096);
  check_field(source, "num_attention_heads", c.num_attention_heads, 1, 1 << 16);
  check_field(source, "intermediate_size", c.intermediate_size, 1, kManyTokens);
  if (c.head_dim) check_field(source, "head_dim", *c.head_dim, 1, 1 << 16);
  if (c.pooler_output_size)
    check_field(source, "pooler_output_size", *c.pooler_output_size, 1, 1 << 20);
  if (!c.head_dim && c.hidden_size % c.num_attention_heads != 0)
    usage_error("{}: \"hidden_size\" {} is no multiple of \"num_attention_heads\" {}", source,
                c.hidden_size, c.num_attention_heads);
  if (c.patches() < 1)
    usage_error("{}: \"image_size\" [{}] is smaller than \"patch_size\" [{}]", source,
                fmt::join(c.image_size, ", "), fmt::join(c.patch_size, ", "));
  check_probability(source, "hidden_dropout_prob", c.hidden_dropout);
  check_probability(source, "attention_probs_dropout_prob", c.attention_dropout);
  if (!(c.layer_norm_eps >= 0) || !(c.initializer_range >= 0))
    usage_error("{}: \"layer_norm_eps\" {} or \"initializer_range\" {} is negative", source,
                c.layer_norm_eps, c.initializer_range);
  layers::check_activation(source, "hidden_act", c.hidden_act);
  layers::check_activation(source, "pooler_act", c.pooler_act);
}

/// The number that begins `text`, which loses it; nothing if there is none.
std::optional<int64_t> take_number(std::string_view& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 1) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}
bool take(std::string_view& text, std::string_view start) {
  if (!text.starts_with(start)) return false;
  text.remove_prefix(start.size());
  return true;
}

struct Renaming {
  std::string_view from, to;
};
/// Parts of a layer in timm, and in models of transformers in memory.
constexpr Renaming kLayerParts[] = {
    {"norm1.", "layernorm_before."},
    {"norm2.", "layernorm_after."},
    {"attn.proj.", "attention.output.dense."},
    {"mlp.fc1.", "intermediate.dense."},
    {"mlp.fc2.", "output.dense."},
    {"attention.q_proj.", "attention.attention.query."},
    {"attention.k_proj.", "attention.attention.key."},
    {"attention.v_proj.", "attention.attention.value."},
    {"attention.o_proj.", "attention.output.dense."},
};
constexpr Renaming kOthers[] = {
    {"cls_token", "embeddings.cls_token"},
    {"pos_embed", "embeddings.position_embeddings"},
    {"patch_embed.proj.", "embeddings.patch_embeddings.projection."},
    {"norm.", "layernorm."},
    {"head.", "classifier."},
};

}  // namespace

int64_t Config::parameters() const {
  const int64_t C = hidden_size, A = attention_size(), F = intermediate_size;
  return num_hidden_layers * (4 * C * A + 2 * C * F + F + 6 * C) + (patches() + 1) * C +
         num_channels * patch_size[0] * patch_size[1] * C;
}

std::shared_ptr<layers::ImageConfig> read(const Json& json, std::string_view source) {
  if (!json.is_object()) usage_error("{}: expected an object, found {}", source, json.type_name());
  refuse_fields(json, source, {"quantization_config", "pruned_heads"}, "image");
  auto config = std::make_shared<Config>();
  FieldReader reader(json, source);
  visit_fields(*config, reader);
  reader("head_dim", config->head_dim);
  reader("pooler_output_size", config->pooler_output_size);
  config->image_size = layers::read_size(json, "image_size", 224, source);
  config->patch_size = layers::read_size(json, "patch_size", 16, source);
  check(*config, source);
  Json fields = Json::object();
  visit_fields(*config, FieldWriter(fields));
  fields.set("image_size", Json(std::vector<int64_t>{config->image_size[0], config->image_size[1]}));
  fields.set("patch_size", Json(std::vector<int64_t>{config->patch_size[0], config->patch_size[1]}));
  layers::complete_image_config(*config, json, fields, source, "vit");
  return config;
}

std::optional<Json> from_timm(std::string_view architecture) {
  struct Size {
    std::string_view name;
    int64_t width, layers, heads;
  };
  constexpr Size kSizes[] = {{"tiny", 192, 12, 3},
                             {"small", 384, 12, 6},
                             {"base", 768, 12, 12},
                             {"large", 1024, 24, 16},
                             {"huge", 1280, 32, 16}};
  if (!take(architecture, "vit_") && !take(architecture, "deit_")) return std::nullopt;
  for (const Size& size : kSizes) {
    std::string_view rest = architecture;
    if (!take(rest, size.name) || !take(rest, "_patch")) continue;
    const auto patch = take_number(rest);
    const bool is_next = take(rest, "_");
    const auto image = take_number(rest);
    if (!patch || !is_next || !image || !rest.empty()) return std::nullopt;
    return Json::object({{"hidden_size", size.width},
                         {"num_hidden_layers", size.layers},
                         {"num_attention_heads", size.heads},
                         {"intermediate_size", 4 * size.width},
                         {"hidden_act", "gelu"},
                         {"layer_norm_eps", 1e-6},
                         {"image_size", *image},
                         {"patch_size", *patch}});
  }
  return std::nullopt;
}

std::vector<layers::StoredPart> parts(std::string_view stored) {
  std::string_view rest = stored;
  if (take(rest, "blocks.") || take(rest, "layers.") || take(rest, "encoder.layer.")) {
    const size_t dot = rest.find('.');
    if (dot == std::string_view::npos) return {{std::string(stored)}};
    const std::string layer = "encoder.layer." + std::string(rest.substr(0, dot + 1));
    rest.remove_prefix(dot + 1);
    if (std::string_view what = rest; take(what, "attn.qkv.")) {
      std::vector<layers::StoredPart> out;
      for (const char* name : {"query.", "key.", "value."})
        out.push_back({layer + "attention.attention." + name + std::string(what),
                       static_cast<int64_t>(out.size()), 3});
      return out;
    }
    for (const auto& [from, to] : kLayerParts)
      if (std::string_view what = rest; take(what, from))
        return {{layer + std::string(to) + std::string(what)}};
    return {{layer + std::string(rest)}};
  }
  for (const auto& [from, to] : kOthers)
    if (std::string_view what = stored; take(what, from))
      return {{std::string(to) + std::string(what)}};
  return {{std::string(stored)}};
}

}  // namespace corten::vit
