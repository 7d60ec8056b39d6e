#include <array>
#include <cmath>

#include "base/absent.h"
#include "base/file.h"
#include "base/format.h"
#include "base/json_file.h"
#include "base/strings.h"
#include "corten/lora.h"
#include "models/config_fields.h"

namespace corten {
namespace {

constexpr std::string_view kConfigFile = "adapter_config.json";

/// PEFT's TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.
const std::vector<std::pair<std::string_view, std::vector<std::string>>>& default_targets() {
  static const std::vector<std::pair<std::string_view, std::vector<std::string>>> all = {
      {"gpt2", {"c_attn"}},
      {"llama", {"q_proj", "v_proj"}},
      {"mistral", {"q_proj", "v_proj"}},
      {"qwen2", {"q_proj", "v_proj"}},
      {"qwen3", {"q_proj", "v_proj"}},
      {"gemma2", {"q_proj", "v_proj"}},
      {"bert", {"query", "value"}},
      {"roberta", {"query", "value"}},
      {"distilbert", {"q_lin", "v_lin"}},
      {"t5", {"q", "v"}}};
  return all;
}

std::vector<std::string> strings(const Json& json, std::string_view what) {
  std::vector<std::string> out;
  for (const Json& one : json.elements(what)) out.push_back(one.as_string(what));
  return out;
}

class Reader {
 public:
  Reader(const Json& json, std::string_view source) : json_(json), source_(source) {}

  /// The value of a key that is neither missing nor null; it is no other field then.
  const Json* take(std::string_view key) {
    const Json* found = json_.find(key);
    others_.erase(key);
    return found && !found->is_null() ? found : nullptr;
  }
  std::string what(std::string_view key) const { return format("{}: \"{}\"", source_, key); }
  /// Names, or one pattern.
  void names(std::string_view key, std::vector<std::string>& list, std::string& pattern) {
    const Json* value = take(key);
    if (!value) return;
    if (value->is_string())
      pattern = value->as_string();
    else
      list = strings(*value, what(key));
  }
  template <typename T>
  void patterns(std::string_view key, std::vector<std::pair<std::string, T>>& out) {
    const Json* value = take(key);
    if (!value) return;
    for (const auto& [pattern, number] : value->items(what(key)))
      if constexpr (std::is_same_v<T, double>)
        out.emplace_back(pattern, number.as_double(what(key)));
      else
        out.emplace_back(pattern, number.as_int(what(key)));
  }
  const Json& others() const { return others_; }

 private:
  const Json& json_;
  std::string_view source_;
  Json others_ = json_;
};

/// Whole numbers are written as such.
Json number(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) return static_cast<int64_t>(value);
  return value;
}

}  // namespace

LoraConfig LoraConfig::from_json(std::string_view text, std::string_view source) {
  const Json json = parse_config(text, source);
  if (!json.is_object()) usage_error("{}: expected an object, found {}", source, json.type_name());
  Reader read(json, source);
  if (const Json* type = read.take("peft_type"); type && *type != Json("LORA"))
    usage_error("{}: \"peft_type\" {} is not supported (known: \"LORA\")", source, type->dump());
  // What else PEFT can do to a layer; false, null and empty mean that it does not.
  refuse_fields(
      json, source,
      {"use_dora", "use_qalora", "use_bdlora", "lora_bias", "layer_replication",
       "target_parameters", "alora_invocation_tokens", "trainable_token_indices", "megatron_config",
       "arrow_config", "kasa_config", "monteclora_config", "velora_config"},
      "LoRA");
  LoraConfig c;
  const auto text_of = [&](std::string_view key, std::string& out) {
    if (const Json* value = read.take(key)) out = value->as_string(read.what(key));
  };
  const auto flag_of = [&](std::string_view key, bool& out) {
    if (const Json* value = read.take(key)) out = value->as_bool(read.what(key));
  };
  if (const Json* value = read.take("r")) c.r = value->as_int(read.what("r"));
  if (const Json* value = read.take("lora_alpha"))
    c.lora_alpha = value->as_double(read.what("lora_alpha"));
  if (const Json* value = read.take("lora_dropout"))
    c.lora_dropout = value->as_double(read.what("lora_dropout"));
  read.names("target_modules", c.target_modules, c.target_pattern);
  read.names("exclude_modules", c.exclude_modules, c.exclude_pattern);
  if (const Json* value = read.take("layers_to_transform"))
    c.layers_to_transform = token_ids(*value, read.what("layers_to_transform"));
  if (const Json* value = read.take("layers_pattern"))
    c.layers_pattern = value->is_string() ? std::vector<std::string>{value->as_string()}
                                          : strings(*value, read.what("layers_pattern"));
  if (const Json* value = read.take("modules_to_save"))
    c.modules_to_save = strings(*value, read.what("modules_to_save"));
  text_of("bias", c.bias);
  flag_of("use_rslora", c.use_rslora);
  flag_of("fan_in_fan_out", c.fan_in_fan_out);
  read.patterns("rank_pattern", c.rank_pattern);
  read.patterns("alpha_pattern", c.alpha_pattern);
  text_of("base_model_name_or_path", c.base_model_name_or_path);
  text_of("task_type", c.task_type);
  c.other_fields = read.others().dump();

  check_field(source, "r", c.r, 1, 1 << 20);
  for (const auto& [pattern, rank] : c.rank_pattern)
    check_field(source, "rank_pattern", rank, 1, 1 << 20);
  check_probability(source, "lora_dropout", c.lora_dropout);
  if (!std::isfinite(c.lora_alpha)) usage_error("{}: \"lora_alpha\" is {}", source, c.lora_alpha);
  if (c.bias != "none" && c.bias != "all" && c.bias != "lora_only")
    usage_error("{}: \"bias\" \"{}\" is not supported (known: none, all, lora_only)", source,
                c.bias);
  return c;
}

LoraConfig LoraConfig::from_pretrained(const std::string& folder) {
  const std::string path = join_path(folder, std::string(kConfigFile));
  if (!file_exists(path)) usage_error("{} holds no adapter: {}", folder, describe_absent(path));
  return from_json(read_file(path, 16 << 20), path);
}

std::string LoraConfig::to_json() const {
  const auto maybe = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  const auto names = [&](const std::vector<std::string>& list, const std::string& pattern) {
    return list.empty() ? maybe(pattern) : Json(list);
  };
  Json ranks = Json::object(), alphas = Json::object();
  for (const auto& [pattern, rank] : rank_pattern) ranks.set(pattern, rank);
  for (const auto& [pattern, alpha] : alpha_pattern) alphas.set(pattern, number(alpha));
  Json out = Json::object(
      {{"peft_type", "LORA"},
       {"task_type", maybe(task_type)},
       {"base_model_name_or_path", maybe(base_model_name_or_path)},
       {"inference_mode", true},
       {"r", r},
       {"lora_alpha", number(lora_alpha)},
       {"lora_dropout", lora_dropout},
       {"target_modules", names(target_modules, target_pattern)},
       {"exclude_modules", names(exclude_modules, exclude_pattern)},
       {"layers_to_transform", layers_to_transform.empty() ? Json() : Json(layers_to_transform)},
       {"layers_pattern", layers_pattern.empty() ? Json() : Json(layers_pattern)},
       {"modules_to_save", modules_to_save.empty() ? Json() : Json(modules_to_save)},
       {"bias", bias},
       {"use_rslora", use_rslora},
       {"fan_in_fan_out", fan_in_fan_out},
       {"rank_pattern", ranks},
       {"alpha_pattern", alphas},
       {"init_lora_weights", true}});
  const Json others = Json::parse(other_fields, "other_fields");
  for (const auto& [key, value] : others.items()) out.set(key, value);
  return out.dump(2) + "\n";
}

void LoraConfig::set_default_targets(std::string_view model_type) {
  for (const auto& [name, targets] : default_targets())
    if (name == model_type) {
      target_modules = targets;
      return;
    }
  usage_error("adapters of {} models need target_modules", model_type);
}

bool holds_adapter(const std::string& folder) {
  return has_file(join_path(folder, std::string(kConfigFile)));
}

}  // namespace corten
