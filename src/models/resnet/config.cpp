#include "models/resnet/config.h"

#include <charconv>

#include "models/config_fields.h"
#include "models/layers/activation.h"

namespace corten::resnet {
namespace {

template <typename C, typename Visit>
void visit_fields(C& c, Visit&& visit) {
  visit("embedding_size", c.embedding_size);
  visit("layer_type", c.layer_type);
  visit("hidden_act", c.hidden_act);
  visit("downsample_in_first_stage", c.downsample_in_first_stage);
  visit("downsample_in_bottleneck", c.downsample_in_bottleneck);
}

void read_list(const Json& json, std::string_view key, std::string_view source, int64_t least,
               int64_t most, std::vector<int64_t>& value) {
  if (const Json* found = json.find(key); found && !found->is_null()) {
    const std::string what = format("{}: \"{}\"", source, key);
    value.clear();
    for (const Json& element : found->elements(what)) value.push_back(element.as_int(what));
  }
  for (int64_t element : value) check_field(source, key, element, least, most);
}

void check(const Config& c, std::string_view source) {
  check_field(source, "embedding_size", c.embedding_size, 1, 1 << 16);
  if (c.layer_type != "basic" && c.layer_type != "bottleneck")
    usage_error("{}: \"layer_type\" \"{}\" is not supported (known: basic, bottleneck)", source,
                c.layer_type);
  if (c.depths.empty() || c.depths.size() != c.hidden_sizes.size())
    usage_error("{}: \"depths\" [{}] and \"hidden_sizes\" [{}] must name the same stages", source,
                fmt::join(c.depths, ", "), fmt::join(c.hidden_sizes, ", "));
  layers::check_activation(source, "hidden_act", c.hidden_act);
}

std::optional<int64_t> number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}
/// What stands before the next dot, which `text` loses with it.
std::string_view next(std::string_view& text) {
  const size_t dot = text.find('.');
  const std::string_view out = text.substr(0, dot);
  text.remove_prefix(dot == std::string_view::npos ? text.size() : dot + 1);
  return out;
}

/// A convolution or batch norm of timm within the layer whose name begins with `to`; "" if it is
/// none.
std::string part_of_layer(const std::string& to, std::string_view rest) {
  const std::string_view module = next(rest);
  if (module == "downsample") {
    const std::string_view which = next(rest);
    if (which != "0" && which != "1") return "";
    return to + "shortcut." + (which == "0" ? "convolution." : "normalization.") + std::string(rest);
  }
  const bool is_norm = module.starts_with("bn");
  if (!is_norm && !module.starts_with("conv")) return "";
  const auto index = number(module.substr(is_norm ? 2 : 4));
  if (!index || *index < 1) return "";
  return to + format("layer.{}.{}.", *index - 1, is_norm ? "normalization" : "convolution") +
         std::string(rest);
}

}  // namespace

int64_t Config::parameters() const {
  int64_t total = embedding_size * num_channels * 49, in = embedding_size;
  for (size_t s = 0; s < depths.size(); ++s) {
    const int64_t out = hidden_sizes[s], inner = out / kReduction;
    for (int64_t i = 0; i < depths[s]; ++i, in = out)
      total += bottleneck() ? in * inner + 9 * inner * inner + inner * out : 9 * out * (in + out);
  }
  return total;
}

std::shared_ptr<layers::ImageConfig> read(const Json& json, std::string_view source) {
  if (!json.is_object()) usage_error("{}: expected an object, found {}", source, json.type_name());
  refuse_fields(json, source, {"quantization_config"}, "image");
  auto config = std::make_shared<Config>();
  visit_fields(*config, FieldReader(json, source));
  read_list(json, "depths", source, 1, 4096, config->depths);
  read_list(json, "hidden_sizes", source, config->bottleneck() ? kReduction : 1, 1 << 16,
            config->hidden_sizes);
  check(*config, source);
  Json fields = Json::object();
  visit_fields(*config, FieldWriter(fields));
  fields.set("depths", Json(config->depths));
  fields.set("hidden_sizes", Json(config->hidden_sizes));
  layers::complete_image_config(*config, json, fields, source, "resnet");
  return config;
}

std::optional<Json> from_timm(std::string_view architecture) {
  struct Known {
    std::string_view name;
    bool bottleneck;
    std::vector<int64_t> depths;
  };
  static const std::vector<Known> kKnown = {
      {"resnet18", false, {2, 2, 2, 2}},  {"resnet34", false, {3, 4, 6, 3}},
      {"resnet26", true, {2, 2, 2, 2}},   {"resnet50", true, {3, 4, 6, 3}},
      {"resnet101", true, {3, 4, 23, 3}}, {"resnet152", true, {3, 8, 36, 3}}};
  for (const Known& known : kKnown)
    if (known.name == architecture) {
      std::vector<int64_t> sizes = {64, 128, 256, 512};
      if (known.bottleneck)
        for (int64_t& size : sizes) size *= kReduction;
      return Json::object({{"embedding_size", 64},
                           {"hidden_sizes", Json(sizes)},
                           {"depths", Json(known.depths)},
                           {"layer_type", known.bottleneck ? "bottleneck" : "basic"},
                           {"hidden_act", "relu"}});
    }
  return std::nullopt;
}

std::vector<layers::StoredPart> parts(std::string_view stored) {
  std::string_view rest = stored;
  const std::string_view first = next(rest);
  const std::string stem = "embedder.embedder.";
  std::string name(stored);
  if (first == "conv1") {
    name = stem + "convolution." + std::string(rest);
  } else if (first == "bn1") {
    name = stem + "normalization." + std::string(rest);
  } else if (first == "fc") {
    name = "classifier.1." + std::string(rest);
  } else if (const auto stage = first.starts_with("layer") ? number(first.substr(5)) : std::nullopt;
             stage && *stage >= 1) {
    const auto layer = number(next(rest));
    if (!layer) return {{name}};
    const std::string mapped =
        part_of_layer(format("encoder.stages.{}.layers.{}.", *stage - 1, *layer), rest);
    if (!mapped.empty()) name = mapped;
  }
  return {{name}};
}

}  // namespace corten::resnet
